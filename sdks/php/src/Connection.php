<?php

declare(strict_types=1);

namespace Makegood;

/**
 * One POST and its final answer, over a connection of its own. `$endsAt` (of `microtime(true)`) bounds everything together:
 * connecting, TLS, sending, and the whole answer. The look-up of the host's name is bounded by the system's resolver.
 *
 * @internal
 */
final class Connection
{
    private const LONGEST_ANSWER = 1 << 20;
    private const LONGEST_HEAD = 1 << 16;
    private const PIECE = 1 << 16;

    /** @var resource */
    private $stream;
    private string $received = '';
    private bool $isOver = false;

    /** @throws \RuntimeException there is no connection */
    public function __construct(string $url, private readonly float $endsAt)
    {
        $parts = parse_url($url);
        $isSecure = strtolower($parts['scheme']) === 'https';
        $port = $parts['port'] ?? ($isSecure ? 443 : 80);
        $context = stream_context_create(['ssl' => ['peer_name' => trim($parts['host'], '[]')]]);
        $stream = @stream_socket_client(
            "tcp://{$parts['host']}:$port",
            $number,
            $message,
            $this->secondsLeft(),
            STREAM_CLIENT_CONNECT,
            $context,
        );
        if ($stream === false) {
            throw new \RuntimeException($message ?: 'no connection to the service');
        }
        $this->stream = $stream;
        stream_set_blocking($stream, false);
        if ($isSecure) {
            $this->startTls();
        }
    }

    public function __destruct()
    {
        if (is_resource($this->stream ?? null)) {
            fclose($this->stream);
        }
    }

    /**
     * @return array{int, array<string, list<string>>, string, bool} the status, the headers by lowercase name, the body, and
     *     whether it is all that was sent; a body without an end of its own may always be cut off
     * @throws \RuntimeException no final answer came in time
     */
    public function post(string $request): array
    {
        $this->send($request);
        for ($interim = 0; $interim < 20; $interim++) {
            [$status, $headers] = $this->readHead();
            if ($status < 100 || $status > 199) {
                return [$status, $headers, ...$this->readBody($status, $headers)];
            }
            if ($status === 101) {
                throw new \RuntimeException('the server switched protocols');
            }
        }
        throw new \RuntimeException('too many interim answers');
    }

    /** `tls://` would give the handshake the whole time once more. */
    private function startTls(): void
    {
        error_clear_last();
        while (($isSecure = @stream_socket_enable_crypto($this->stream, true, STREAM_CRYPTO_METHOD_TLS_CLIENT)) === 0) {
            $this->waitUntil(isWritable: false);
        }
        if ($isSecure === false) {
            throw new \RuntimeException(error_get_last()['message'] ?? 'no TLS connection to the service');
        }
    }

    /** Ends early when the connection does, or a head is there that is too long: an answer may have come before the end. */
    private function send(string $request): void
    {
        $wasStuck = false;
        while ($request !== '' && !$this->isOver && strlen($this->received) <= self::LONGEST_HEAD) {
            $sent = @fwrite($this->stream, substr($request, 0, self::PIECE));
            if ($sent === false) {
                return;
            }
            $request = substr($request, $sent);
            if ($sent === 0) {
                // Over TLS a broken connection takes nothing and still counts as writable; only reading shows its end.
                $wasStuck ? $this->waitUntil(isWritable: false, atMost: 0.05) : $this->waitUntil(isWritable: true);
            }
            $wasStuck = $sent === 0;
            $this->readAvailable(); // before the next write, whose failure would end the TLS session and lose the answer
        }
    }

    /** @return array{int, array<string, list<string>>} */
    private function readHead(): array
    {
        while (!preg_match('/\A(.*?)\r?\n\r?\n/s', $this->received, $match)) {
            if ($this->isOver || strlen($this->received) > self::LONGEST_HEAD) {
                throw new \RuntimeException('the answer was cut off or is not HTTP');
            }
            $this->readMore();
        }
        $this->received = substr($this->received, strlen($match[0]));
        $lines = preg_split('/\r?\n/', $match[1]);
        if (!preg_match('{\AHTTP/1\.[01] ([0-9]{3})(?: |\z)}', $lines[0], $line)) {
            throw new \RuntimeException('the answer is not HTTP');
        }
        $headers = [];
        foreach (array_slice($lines, 1) as $text) {
            [$name, $value] = array_pad(explode(':', $text, 2), 2, '');
            $headers[strtolower(trim($name))][] = trim($value);
        }
        return [(int) $line[1], $headers];
    }

    /**
     * @param array<string, list<string>> $headers
     * @return array{string, bool}
     */
    private function readBody(int $status, array $headers): array
    {
        if ($status === 204 || $status === 304) {
            return ['', true];
        }
        if (isset($headers['transfer-encoding'])) {
            return $this->readChunks();
        }
        $lengths = array_unique($headers['content-length'] ?? []);
        if ($lengths === []) {
            $this->readUntil(self::LONGEST_ANSWER + 1);
            $isTooLong = strlen($this->received) > self::LONGEST_ANSWER;
            return [$this->received, $isTooLong || is_array(json_decode($this->received, true))];
        }
        if (count($lengths) > 1 || !preg_match('/\A[0-9]{1,15}\z/', $lengths[0])) {
            return ['', false];
        }
        $length = (int) $lengths[0];
        $this->readUntil(min($length, self::LONGEST_ANSWER + 1));
        return [substr($this->received, 0, $length), strlen($this->received) >= min($length, self::LONGEST_ANSWER + 1)];
    }

    /** @return array{string, bool} */
    private function readChunks(): array
    {
        $body = '';
        while (strlen($body) <= self::LONGEST_ANSWER) {
            while (!preg_match('/\A([0-9A-Fa-f]{1,8})[^\r\n]*\r?\n/', $this->received, $match)) {
                if ($this->isOver || strlen($this->received) > 1024 || !$this->isReadOn()) {
                    return [$body, false];
                }
            }
            $size = (int) hexdec($match[1]);
            if ($size === 0) {
                return [$body, true];
            }
            $start = strlen($match[0]);
            $this->readUntil(min($start + $size + 2, self::LONGEST_ANSWER + $start));
            if (strlen($this->received) < $start + $size) {
                return [$body, strlen($this->received) >= self::LONGEST_ANSWER];
            }
            $body .= substr($this->received, $start, $size);
            $this->received = (string) preg_replace('/\A\r?\n/', '', substr($this->received, $start + $size));
        }
        return [$body, true];
    }

    private function readUntil(int $bytes): void
    {
        while (strlen($this->received) < $bytes && !$this->isOver && $this->isReadOn()) {
            continue;
        }
    }

    /** Whether more may come; a body that does not end in time is cut off. */
    private function isReadOn(): bool
    {
        try {
            $this->readMore();
            return true;
        } catch (\RuntimeException) {
            return false;
        }
    }

    private function readMore(): void
    {
        $this->secondsLeft();
        if (!$this->readAvailable() && !$this->isOver) {
            $this->waitUntil(isWritable: false);
        }
    }

    /** Whether more was there. */
    private function readAvailable(): bool
    {
        $more = @fread($this->stream, 65536);
        if ($more !== false && $more !== '') {
            $this->received .= $more;
            return true;
        }
        $this->isOver = $more === false || feof($this->stream);
        return false;
    }

    private function waitUntil(bool $isWritable, float $atMost = INF): void
    {
        $left = min($this->secondsLeft(), $atMost);
        [$read, $write, $except] = [$isWritable ? null : [$this->stream], $isWritable ? [$this->stream] : null, null];
        @stream_select($read, $write, $except, (int) $left, (int) (1_000_000 * ($left - (int) $left)));
    }

    private function secondsLeft(): float
    {
        $left = $this->endsAt - microtime(true);
        if ($left <= 0) {
            throw new \RuntimeException('the answer did not come in time');
        }
        return $left;
    }
}
