<?php

declare(strict_types=1);

namespace Makegood;

/** Decides whether a request is a genuine, fresh repair callback. */
final class CallbackVerifier
{
    public const WINDOW_SECONDS = 300;

    /**
     * @param list<string> $secrets the signing secret, or the old and the new one during a rotation
     * @param callable(string): bool $seenNonce records a nonce and says whether it had been seen, for 10 minutes at least;
     *     asked only when the signature holds
     */
    public function __construct(private readonly array $secrets, private $seenNonce)
    {
    }

    /**
     * The repair that a callback asks for.
     *
     * @param array<string, string|list<string>> $headers names in any case, as from getallheaders() or Laravel
     * @param string $body the raw request body, before any parsing
     * @param int|null $now unix seconds; the clock's when null
     * @return array<string, mixed>
     * @throws InvalidCallback missing_header, malformed_header, bad_signature, stale_timestamp or replayed_nonce
     */
    public function verify(array $headers, string $body, ?int $now = null): array
    {
        $found = [];
        foreach ($headers as $name => $value) {
            $found[strtolower((string) $name)] = (string) (is_array($value) ? reset($value) : $value);
        }
        $timestamp = $found['x-sendpromptly-timestamp'] ?? '';
        $nonce = $found['x-sendpromptly-nonce'] ?? '';
        $signature = $found['x-sendpromptly-signature'] ?? '';
        if ($timestamp === '' || $nonce === '' || $signature === '') {
            throw new InvalidCallback('missing_header');
        }
        if (!preg_match('/\A[0-9]{1,12}\z/', $timestamp) || !preg_match('/\A[0-9a-f]{32}\z/', $nonce)) {
            throw new InvalidCallback('malformed_header');
        }
        $offered = [$signature, $found['x-sendpromptly-signature-next'] ?? ''];
        if (!$this->isSigned("$timestamp.$nonce.$body", $offered)) {
            throw new InvalidCallback('bad_signature');
        }
        if (abs(($now ?? time()) - (int) $timestamp) > self::WINDOW_SECONDS) {
            throw new InvalidCallback('stale_timestamp');
        }
        if (($this->seenNonce)($nonce)) {
            throw new InvalidCallback('replayed_nonce');
        }
        return json_decode($body, true, 64, JSON_THROW_ON_ERROR);
    }

    /** @param list<string> $offered */
    private function isSigned(string $signed, array $offered): bool
    {
        $matches = false;
        foreach ($this->secrets as $secret) {
            $expected = hash_hmac('sha256', $signed, $secret);
            foreach ($offered as $signature) {
                $matches = hash_equals($expected, $signature) || $matches;
            }
        }
        return $matches;
    }
}
