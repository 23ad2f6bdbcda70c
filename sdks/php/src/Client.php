<?php

declare(strict_types=1);

namespace Makegood;

/** Reports receipts and results, each up to `attempts` times under the same idempotency key. Needs no extension but openssl. */
final class Client
{
    private const LONGEST_WAIT_SECONDS = 5;

    public function __construct(
        private readonly string $baseUrl,
        private readonly string $apiKey,
        private readonly int $attempts = 3,
        private readonly int $timeoutSeconds = 10,
    ) {
        if (!preg_match('#\Ahttps?://#', $baseUrl)) {
            throw new \InvalidArgumentException('baseUrl must start with https:// or http://');
        }
        if (preg_match('/[\x00-\x20]/', $apiKey) || $apiKey === '') {
            throw new \InvalidArgumentException('apiKey is missing or malformed');
        }
    }

    /**
     * Say that the work of a payment event is accepted, before its effect runs.
     *
     * @param array<string, mixed> $fields an empty `payload` must be `new \stdClass()`
     * @return array<string, mixed>
     * @throws MakegoodError it is not on record; `retryable` says whether the same call may succeed later
     */
    public function receipt(array $fields, ?string $idempotencyKey = null): array
    {
        return $this->post('/api/v1/receipt', $fields, $idempotencyKey);
    }

    /**
     * Say that the effect was applied (`status` `success`) or was not (`failed`).
     *
     * @param array<string, mixed> $fields
     * @return array<string, mixed>
     * @throws MakegoodError it is not on record; `retryable` says whether the same call may succeed later
     */
    public function result(array $fields, ?string $idempotencyKey = null): array
    {
        return $this->post('/api/v1/result', $fields, $idempotencyKey);
    }

    /**
     * @param array<string, mixed> $fields
     * @return array<string, mixed>
     */
    private function post(string $path, array $fields, ?string $idempotencyKey): array
    {
        $body = json_encode($fields, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE);
        // The key of a call is its content, unless the caller has a better one: a repeat is then recognised by itself.
        $key = $idempotencyKey ?? hash('sha256', $body);
        for ($attempt = 1; ; $attempt++) {
            try {
                return $this->postOnce($path, $body, $key);
            } catch (MakegoodError $error) {
                if (!$error->retryable || $attempt >= $this->attempts) {
                    throw $error;
                }
                $waitSeconds = min($error->retryAfterSeconds ?? 0.2 * 2 ** $attempt, self::LONGEST_WAIT_SECONDS);
                usleep((int) ($waitSeconds * 1_000_000));
            }
        }
    }

    /** @return array<string, mixed> */
    private function postOnce(string $path, string $body, string $key): array
    {
        if (preg_match('/[\x00-\x1f\x7f]/', $key)) {
            throw new \InvalidArgumentException('an idempotency key is printable');
        }
        $context = stream_context_create(['http' => [
            'method' => 'POST',
            'header' => [
                "Authorization: Bearer {$this->apiKey}",
                "Idempotency-Key: $key",
                'Content-Type: application/json',
                'Accept: application/json',
                'Connection: close',
            ],
            'content' => $body,
            'protocol_version' => 1.1,
            'timeout' => $this->timeoutSeconds,
            'follow_location' => 0,
            'ignore_errors' => true,
        ]]);
        $stream = @fopen(rtrim($this->baseUrl, '/') . $path, 'r', false, $context);
        if ($stream === false) {
            throw self::networkError(error_get_last()['message'] ?? 'the service cannot be reached');
        }
        try {
            $text = stream_get_contents($stream);
            $about = stream_get_meta_data($stream);
        } finally {
            fclose($stream);
        }
        if ($text === false || $about['timed_out']) {
            throw self::networkError('the answer did not come in time');
        }
        return self::read($about['wrapper_data'], $text);
    }

    /**
     * @param list<string> $lines the status line and the headers
     * @return array<string, mixed>
     */
    private static function read(array $lines, string $text): array
    {
        $status = (int) (explode(' ', $lines[0] ?? '')[1] ?? 0);
        $headers = [];
        foreach (array_slice($lines, 1) as $line) {
            [$name, $value] = array_pad(explode(':', $line, 2), 2, '');
            $headers[strtolower($name)] = trim($value);
        }
        $parsed = json_decode($text, true);
        if ($status >= 200 && $status <= 299 && is_array($parsed)) {
            return $parsed;
        }
        $problem = is_array($parsed) ? $parsed : []; // not an array: a proxy's page in between
        $retryAfter = $headers['retry-after'] ?? '';
        throw new MakegoodError(
            status: $status,
            errorCode: (string) ($problem['code'] ?? 'unexpected_answer'),
            detail: (string) ($problem['detail'] ?? "status $status"),
            requestId: $headers['request-id'] ?? null,
            retryable: (bool) ($problem['retryable'] ?? ($status === 429 || $status >= 500)),
            retryAfterSeconds: preg_match('/\A[0-9]{1,6}\z/', $retryAfter) ? (int) $retryAfter : null,
        );
    }

    private static function networkError(string $detail): MakegoodError
    {
        return new MakegoodError(
            status: null,
            errorCode: 'network_error',
            detail: $detail,
            requestId: null,
            retryable: true,
        );
    }
}
