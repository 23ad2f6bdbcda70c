<?php

declare(strict_types=1);

namespace Makegood;

/** The request is no genuine, fresh repair callback; `reason` says what is wrong. Answer 401 and do nothing. */
final class InvalidCallback extends \RuntimeException
{
    public function __construct(public readonly string $reason)
    {
        parent::__construct($reason);
    }
}
