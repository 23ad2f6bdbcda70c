<?php

// For projects without Composer: require this file.

declare(strict_types=1);

spl_autoload_register(static function (string $class): void {
    $file = __DIR__ . '/src/' . substr($class, strlen('Makegood\\')) . '.php';
    if (str_starts_with($class, 'Makegood\\') && is_file($file)) {
        require $file;
    }
});
