<?php

declare(strict_types=1);

namespace Makegood;

/** Decides whether a request is a genuine, fresh repair callback. */
final class CallbackVerifier
{
    public const WINDOW_SECONDS = 300;
    private const DEEPEST_BODY = 64;
    private const TIMESTAMP = 'x-sendpromptly-timestamp';
    private const NONCE = 'x-sendpromptly-nonce';
    private const SIGNATURE = 'x-sendpromptly-signature';
    private const NEXT_SIGNATURE = 'x-sendpromptly-signature-next';

    /** @var list<string> */
    private readonly array $secrets;

    /** @var callable(string): bool */
    private $seenNonce;

    /**
     * @param string|iterable<string>|null $secrets the signing secret, or several during a rotation: a list, or one string
     *     with commas between them. Each is trimmed. A blank one is refused, and so is none at all: anybody can sign with an
     *     empty key.
     * @param callable(string): bool $seenNonce records a nonce and says whether it had been seen, for 10 minutes at least;
     *     asked only when everything else holds
     * @throws ConfigurationError either can never work; no value is quoted
     */
    public function __construct(#[\SensitiveParameter] mixed $secrets, mixed $seenNonce)
    {
        $this->secrets = Settings::secrets($secrets);
        if (!is_callable($seenNonce)) {
            throw new ConfigurationError('seenNonce must be a function of a nonce');
        }
        $this->seenNonce = $seenNonce;
    }

    /**
     * The repair that a callback asks for.
     *
     * @param iterable<mixed, mixed> $headers names in any case, as from getallheaders(), Laravel, PSR-7 or $_SERVER
     * @param string $body the raw request body, before any parsing
     * @param int|null $now unix seconds; the clock's when null
     * @return array<string, mixed>
     * @throws InvalidCallback missing_header, malformed_header, bad_signature, stale_timestamp, malformed_body or
     *     replayed_nonce
     * @throws ConfigurationError `$body` is not raw, `$headers` are none, or `$seenNonce` does not say yes or no
     */
    public function verify(mixed $headers, mixed $body, ?int $now = null): array
    {
        if (!is_string($body)) {
            throw new ConfigurationError('body must be the raw body of the request: read it before any parser does');
        }
        $found = self::callbackHeaders($headers);
        if ($found[self::TIMESTAMP] === null || $found[self::NONCE] === null || $found[self::SIGNATURE] === null) {
            throw new InvalidCallback('missing_header');
        }
        foreach ($found as $value) {
            if ($value !== null && !is_string($value)) {
                throw new InvalidCallback('malformed_header');
            }
        }
        $timestamp = $found[self::TIMESTAMP];
        $nonce = $found[self::NONCE];
        if (!preg_match('/\A[0-9]{1,12}\z/', $timestamp) || !preg_match('/\A[0-9a-f]{32}\z/', $nonce)) {
            throw new InvalidCallback('malformed_header');
        }
        $offered = [$found[self::SIGNATURE], $found[self::NEXT_SIGNATURE] ?? ''];
        if (!$this->isSigned("$timestamp.$nonce.$body", $offered)) {
            throw new InvalidCallback('bad_signature');
        }
        if (abs(($now ?? time()) - (int) $timestamp) > self::WINDOW_SECONDS) {
            throw new InvalidCallback('stale_timestamp');
        }
        $callback = self::callbackBody($body);
        $seen = ($this->seenNonce)($nonce);
        if (!in_array($seen, [true, false, 0, 1], true)) {
            throw new ConfigurationError('seenNonce must return whether the nonce was seen, true or false');
        }
        if ($seen) {
            throw new InvalidCallback('replayed_nonce');
        }
        return $callback;
    }

    /**
     * The four headers: the one string of each, null when it is missing, and something else when it is malformed.
     *
     * @return array<string, mixed>
     */
    private static function callbackHeaders(mixed $headers): array
    {
        if (!is_iterable($headers)) {
            throw new ConfigurationError('headers must map names to values, or be pairs of both');
        }
        $values = [self::TIMESTAMP => [], self::NONCE => [], self::SIGNATURE => [], self::NEXT_SIGNATURE => []];
        foreach ($headers as $name => $value) {
            if (is_int($name) && is_array($value) && array_is_list($value) && count($value) === 2) {
                [$name, $value] = $value;
            }
            $known = is_string($name) ? strtolower($name) : '';
            if (str_starts_with($known, 'http_')) { // as CGI and $_SERVER spell it
                $known = str_replace('_', '-', substr($known, strlen('http_')));
            }
            if (isset($values[$known])) {
                array_push($values[$known], ...(is_array($value) && array_is_list($value) ? $value : [$value]));
            }
        }
        return array_map(static fn (array $given): mixed => match (true) {
            $given === [], $given === [null], $given === [''] => null,
            count($given) === 1 => $given[0],
            default => $given,
        }, $values);
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

    /**
     * A JSON object in UTF-8, no deeper than 64; of a name given twice the last counts, as in every language.
     *
     * @return array<string, mixed>
     */
    private static function callbackBody(string $body): array
    {
        $parsed = json_decode($body, true, self::DEEPEST_BODY + 1);
        if (!is_array($parsed) || ltrim($body, " \t\r\n")[0] !== '{') {
            throw new InvalidCallback('malformed_body'); // PHP reads `[]` and `{}` as the same
        }
        array_walk_recursive($parsed, static function (mixed $value): void {
            if (is_float($value) && is_infinite($value)) {
                throw new InvalidCallback('malformed_body'); // a number that no float can hold
            }
        });
        return $parsed;
    }
}
