<?php

// Runs the shared vectors through this client: `php tests/check_vectors.php`.

declare(strict_types=1);

use Makegood\CallbackVerifier;
use Makegood\InvalidCallback;

require __DIR__ . '/../autoload.php';

function cases(string $name): array
{
    $text = file_get_contents(__DIR__ . "/../../vectors/$name");
    return json_decode($text, true, 64, JSON_THROW_ON_ERROR)['cases'];
}

function decide(array $case): string
{
    $asked = 0;
    $seenNonce = function (string $nonce) use (&$asked, $case): bool {
        $asked++;
        return in_array($nonce, $case['seen_nonces'] ?? [], true);
    };
    try {
        $parsed = (new CallbackVerifier($case['secrets'], $seenNonce))->verify($case['headers'], $case['body'], $case['now']);
    } catch (InvalidCallback $invalid) {
        return $asked === ($invalid->reason === 'replayed_nonce' ? 1 : 0) ? $invalid->reason : 'nonce used up';
    }
    return $asked === 1 && $parsed === json_decode($case['body'], true) ? 'accepted' : 'wrong body or nonce not asked';
}

$cases = cases('verification.json');
foreach (cases('signing.json') as $case) {
    $secrets = [$case['next_secret'] ?? $case['secret']];
    $cases[] = [...$case, 'secrets' => $secrets, 'now' => $case['timestamp'], 'verdict' => 'accepted'];
}
$wrong = 0;
foreach ($cases as $case) {
    $verdict = decide($case);
    if ($verdict !== $case['verdict']) {
        $wrong++;
        echo "{$case['name']}: $verdict instead of {$case['verdict']}\n";
    }
}
printf("vectors: %d passed, %d failed\n", count($cases) - $wrong, $wrong);
exit($wrong === 0 ? 0 : 1);
