<?php

// Makes the calls that standard input lists, with the PHP client; prints what came of each.

declare(strict_types=1);

use Makegood\Client;
use Makegood\MakegoodError;

require __DIR__ . '/../../sdks/php/autoload.php';

function make(array $call): array
{
    $bounds = [];
    foreach (['attempts' => 'attempts', 'timeout_seconds' => 'timeoutSeconds'] as $name => $option) {
        if (isset($call[$name])) {
            $bounds[$option] = $call[$name];
        }
    }
    $makegood = new Client(...['baseUrl' => $call['base_url'], 'apiKey' => $call['api_key'] ?? 'sk_test_1', ...$bounds]);
    try {
        $answer = $makegood->{$call['call']}($call['fields'], $call['idempotency_key'] ?? null);
    } catch (MakegoodError $error) {
        return [
            'verdict' => $error->errorCode,
            'status' => $error->status,
            'detail' => $error->detail,
            'request_id' => $error->requestId,
            'retryable' => $error->retryable,
            'retry_after' => $error->retryAfterSeconds,
            'text' => $error->getMessage(),
        ];
    }
    return ['verdict' => 'accepted', 'answer' => $answer];
}

$calls = json_decode(stream_get_contents(STDIN), true, 512, JSON_THROW_ON_ERROR);
echo json_encode(array_map('make', $calls), JSON_THROW_ON_ERROR);
