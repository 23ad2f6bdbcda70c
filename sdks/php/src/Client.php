<?php

declare(strict_types=1);

namespace Makegood;

/** Reports receipts and results, each up to `attempts` times under the same idempotency key. Needs no extension but openssl. */
final class Client
{
    private const LONGEST_DETAIL = 500;
    private const PROSE = ['error_code' => 255, 'error_message' => 2048];
    /** The value of every larger number of seconds, however many digits it has. */
    private const LONGEST_RETRY_AFTER_SECONDS = 1e9;
    private const HTTP_DATE =
        '/\A[A-Z][a-z]{2}, [0-9]{2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT\z/';

    private readonly string $baseUrl;
    private readonly string $apiKey;

    /**
     * @param string|null $baseUrl as from MAKEGOOD_URL
     * @param string|null $apiKey as from MAKEGOOD_API_KEY
     * @param float $timeoutSeconds bounds a whole call: every attempt, and the waits between them
     * @throws ConfigurationError a setting can never work; the message names it and never quotes it
     */
    public function __construct(
        #[\SensitiveParameter] mixed $baseUrl,
        #[\SensitiveParameter] mixed $apiKey,
        private readonly int $attempts = 3,
        private readonly float $timeoutSeconds = 10,
    ) {
        $this->baseUrl = Settings::baseUrl($baseUrl);
        $this->apiKey = Settings::credential($apiKey, 'apiKey (MAKEGOOD_API_KEY)');
        if ($attempts < 1) {
            throw new ConfigurationError('attempts must be a whole number of at least 1');
        }
        if (!($timeoutSeconds > 0 && $timeoutSeconds <= 86400)) {
            throw new ConfigurationError('timeoutSeconds must be more than 0 and at most 86400');
        }
    }

    /**
     * Say that the work of a payment event is accepted, before its effect runs.
     *
     * @param array<string, mixed> $fields an empty `payload` must be `new \stdClass()`
     * @return array<string, mixed>
     * @throws MakegoodError it is not on record; `retryable` says whether the same call may succeed later
     */
    public function receipt(mixed $fields, ?string $idempotencyKey = null): array
    {
        return $this->post('/api/v1/receipt', self::checkedFields($fields), $idempotencyKey);
    }

    /**
     * Say that the effect was applied (`status` `success`) or was not (`failed`).
     *
     * @param array<string, mixed> $fields `error_code` and `error_message` are cut to 255 and 2,048 characters
     * @return array<string, mixed>
     * @throws MakegoodError it is not on record; `retryable` says whether the same call may succeed later
     */
    public function result(mixed $fields, ?string $idempotencyKey = null): array
    {
        return $this->post('/api/v1/result', self::withShortProse(self::checkedFields($fields)), $idempotencyKey);
    }

    /**
     * @param array<string, mixed> $fields
     * @return array<string, mixed>
     */
    private function post(string $path, array $fields, ?string $idempotencyKey): array
    {
        $endsAt = microtime(true) + $this->timeoutSeconds;
        $body = self::jsonBody($fields);
        $key = self::usableKey($idempotencyKey, $body);
        // A result may overtake its receipt; only a provider's id can name a receipt that is still on its way.
        $mayBeEarly = str_ends_with($path, '/result') && empty($fields['event_id']);
        for ($attempt = 1; ; $attempt++) {
            $isLast = $attempt >= $this->attempts;
            $now = microtime(true);
            try {
                // A silent connection leaves half of the time to another try.
                return $this->postOnce($path, $body, $key, $isLast ? $endsAt : ($now + $endsAt) / 2, $mayBeEarly);
            } catch (MakegoodError $error) {
                $waitSeconds = self::waitBefore($attempt, $error->retryAfterSeconds);
                if (!$error->retryable || $isLast || $waitSeconds >= $endsAt - microtime(true)) {
                    throw $error;
                }
                usleep((int) ($waitSeconds * 1_000_000));
            }
        }
    }

    /** @return array<string, mixed> */
    private function postOnce(string $path, string $body, string $key, float $endsAt, bool $mayBeEarly): array
    {
        $url = $this->baseUrl . $path;
        $parts = parse_url($url);
        $request = implode("\r\n", [
            "POST {$parts['path']} HTTP/1.1",
            "Host: {$parts['host']}" . (isset($parts['port']) ? ":{$parts['port']}" : ''),
            "Authorization: Bearer {$this->apiKey}",
            "Idempotency-Key: $key",
            'Content-Type: application/json',
            'Accept: application/json',
            'Content-Length: ' . strlen($body),
            'Connection: close',
            '',
            $body,
        ]);
        try {
            [$status, $headers, $text, $isWhole] = (new Connection($url, $endsAt))->post($request);
        } catch (\RuntimeException $failure) {
            throw self::networkError($failure->getMessage());
        }
        $isObject = str_starts_with(ltrim($text, " \t\r\n"), '{');
        $parsed = $isObject ? (json_decode($text, true) ?? []) : [];
        if ($status >= 200 && $status <= 299) {
            if (!$isWhole) {
                throw self::networkError('the answer was cut off');
            }
            if (($parsed['accepted'] ?? null) === true) {
                return $parsed;
            }
            $parsed = [];
        }
        throw self::refusal($status, $headers, $parsed, $mayBeEarly);
    }

    /**
     * The error of an answer. An empty `$problem` is a proxy's page in between.
     *
     * @param array<string, list<string>> $headers
     * @param array<string, mixed> $problem
     */
    private static function refusal(int $status, array $headers, array $problem, bool $mayBeEarly): MakegoodError
    {
        $code = $problem['code'] ?? null;
        $detail = $problem['detail'] ?? null;
        $requestId = $headers['request-id'][0] ?? '';
        return new MakegoodError(
            status: $status,
            errorCode: is_string($code) && preg_match('/\A[a-z0-9_]{1,64}\z/', $code) ? $code : 'unexpected_answer',
            detail: is_string($detail) && $detail !== '' ? self::printable($detail) : "status $status",
            requestId: preg_match('/\A[\x21-\x7e]{1,128}\z/', $requestId) ? $requestId : null,
            retryable: $status === 408
                || $status === 429
                || ($status >= 500 && $status <= 599)
                || ($status === 409 && $code === 'idempotency_in_progress')
                || ($status === 404 && $mayBeEarly),
            retryAfterSeconds: self::retryAfterSeconds(implode(', ', $headers['retry-after'] ?? [])),
        );
    }

    /** Seconds from a `Retry-After` of either form (RFC 9110, 10.2.3); null for anything else. */
    private static function retryAfterSeconds(string $text): ?int
    {
        if (preg_match('/\A[0-9]+\z/', $text)) {
            return (int) min((float) $text, self::LONGEST_RETRY_AFTER_SECONDS);
        }
        $date = preg_match(self::HTTP_DATE, $text) ? strtotime($text) : false;
        $isDay = $date !== false && gmdate('D, d M Y H:i:s \G\M\T', $date) === $text;
        return $isDay ? max(0, $date - time()) : null;
    }

    /** How long to wait before the next attempt; spread, so that a fleet does not retry in step. */
    private static function waitBefore(int $attempt, ?int $retryAfterSeconds): float
    {
        $share = mt_rand() / mt_getrandmax();
        if ($retryAfterSeconds === null) {
            return 0.2 * 2 ** $attempt * (0.5 + $share);
        }
        return $retryAfterSeconds + 0.1 * $share * min($retryAfterSeconds, 10);
    }

    /** @param array<string, mixed> $fields */
    private static function jsonBody(array $fields): string
    {
        // Bytes that are not UTF-8 become U+FFFD.
        $flags = JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE;
        try {
            return json_encode((object) $fields, $flags);
        } catch (\Throwable) { // a JsonSerializable of the app's may throw anything
            throw self::validationError('the fields cannot be written as JSON');
        }
    }

    /** @return array<string, mixed> */
    private static function checkedFields(mixed $fields): array
    {
        // An empty array has no names that could be wrong.
        if (!is_array($fields) || ($fields !== [] && array_is_list($fields))) {
            throw self::validationError('the fields must be an array of names to values');
        }
        return $fields;
    }

    private static function validationError(string $detail): MakegoodError
    {
        return new MakegoodError(
            status: null,
            errorCode: 'validation_error',
            detail: $detail,
            requestId: null,
            retryable: false,
        );
    }

    /**
     * The caller's key, or the content's digest: a repeat is then recognised by itself. A key that no header can carry is
     * sent as its own digest: the same key is still the same.
     */
    private static function usableKey(?string $key, string $body): string
    {
        if ($key === null || $key === '') {
            return hash('sha256', $body);
        }
        return preg_match('/\A[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?\z/', $key) ? $key : hash('sha256', $key);
    }

    /**
     * A failed result is never lost for its prose: whatever it is, it becomes text that fits.
     *
     * @param array<string, mixed> $fields
     * @return array<string, mixed>
     */
    private static function withShortProse(array $fields): array
    {
        foreach (self::PROSE as $name => $longest) {
            $value = $fields[$name] ?? null;
            if ($value === null) {
                continue;
            }
            $fields[$name] = self::cut(self::wellFormed(self::text($value)), $longest);
        }
        return $fields;
    }

    private static function text(mixed $value): string
    {
        try {
            if (is_scalar($value) || $value instanceof \Stringable) {
                return (string) $value;
            }
        } catch (\Throwable) { // an object of the app's whose text cannot be made
        }
        return 'a ' . get_debug_type($value);
    }

    private static function wellFormed(string $text): string
    {
        return json_decode(json_encode($text, JSON_INVALID_UTF8_SUBSTITUTE));
    }

    private static function cut(string $text, int $longest): string
    {
        return preg_match('/\A.{0,' . $longest . '}/su', $text, $match) ? $match[0] : '';
    }

    /** Text from outside as one line that is safe in a log or on a terminal, and not long. */
    private static function printable(string $text): string
    {
        $text = self::wellFormed($text);
        $cut = self::cut($text, self::LONGEST_DETAIL);
        $line = preg_replace(['/[\t\n\r\f\x0b\p{Z}]/u', '/\p{C}/u'], [' ', "\u{fffd}"], $cut);
        return $line . (strlen($cut) < strlen($text) ? '…' : '');
    }

    private static function networkError(string $detail): MakegoodError
    {
        return new MakegoodError(
            status: null,
            errorCode: 'network_error',
            detail: self::printable($detail),
            requestId: null,
            retryable: true,
        );
    }
}
