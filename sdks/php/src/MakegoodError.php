<?php

declare(strict_types=1);

namespace Makegood;

/** The call failed; `errorCode` is the service's error code, or `network_error` when no answer came (`status` null). */
final class MakegoodError extends \RuntimeException
{
    public function __construct(
        public readonly ?int $status,
        public readonly string $errorCode,
        public readonly string $detail,
        public readonly ?string $requestId,
        public readonly bool $retryable,
        public readonly ?int $retryAfterSeconds = null,
    ) {
        parent::__construct("$errorCode: $detail");
    }
}
