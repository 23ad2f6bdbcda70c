<?php

declare(strict_types=1);

namespace Makegood;

/** A setting or an argument can never work. Answer 500: it is the app's own fault, not the caller's. Quotes no value. */
final class ConfigurationError extends \InvalidArgumentException
{
}
