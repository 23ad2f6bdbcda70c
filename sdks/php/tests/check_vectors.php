<?php

// Runs the shared vectors through this client: `php tests/check_vectors.php`.

declare(strict_types=1);

use Makegood\CallbackVerifier;
use Makegood\Client;
use Makegood\ConfigurationError;
use Makegood\InvalidCallback;
use Makegood\MakegoodError;

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
    $body = isset($case['body_base64']) ? base64_decode($case['body_base64']) : $case['body'];
    try {
        $parsed = (new CallbackVerifier($case['secrets'], $seenNonce))->verify($case['headers'], $body, $case['now']);
    } catch (InvalidCallback $invalid) {
        return $asked === ($invalid->reason === 'replayed_nonce' ? 1 : 0) ? $invalid->reason : 'nonce used up';
    } catch (ConfigurationError) {
        return $asked === 0 ? 'configuration_error' : 'nonce used up';
    }
    $expected = $case['callback'] ?? json_decode($body, true);
    return $asked === 1 && $parsed === $expected ? 'accepted' : 'wrong body or nonce not asked';
}

/** Nothing listens on port 1, so that a client whose settings are good finds no server. */
function readSetting(array $case): string
{
    [$option, $variable] = ['base_url' => ['baseUrl', 'MAKEGOOD_URL'], 'api_key' => ['apiKey', 'MAKEGOOD_API_KEY']][$case['setting']];
    $value = $case['value'];
    try {
        $good = ['baseUrl' => 'http://127.0.0.1:1', 'apiKey' => 'sk_test_1', 'attempts' => 1];
        $makegood = new Client(...[...$good, $option => $value]);
        if ($option === 'apiKey') {
            $makegood->receipt([]);
        }
    } catch (MakegoodError $error) {
        return $error->errorCode === 'network_error' ? 'taken' : $error->errorCode;
    } catch (ConfigurationError $error) {
        $shown = (string) $error; // with its trace
        $isQuoted = is_string($value) && strlen(trim($value)) > 8 && str_contains($shown, trim($value));
        return str_contains($error->getMessage(), $variable) && !$isQuoted ? 'refused' : "refused with $shown";
    }
    return 'taken';
}

/** Nothing listens on port 1, so that fields which can be sent find no server. */
function outcome(mixed $fields): string
{
    try {
        (new Client('http://127.0.0.1:1', 'sk_test_1', attempts: 1))->result($fields);
    } catch (MakegoodError $error) {
        return $error->retryable === ($error->errorCode === 'network_error') ? $error->errorCode : 'wrongly retryable';
    }
    return 'sent';
}

/** What JSON cannot hold, and what a nonce check may answer. */
function checkValues(): array
{
    $fresh = cases('verification.json')[0];
    $with = static fn (mixed $value): array => [...$fresh, 'headers' => [...$fresh['headers'], 'X-SendPromptly-Nonce' => $value]];
    $answers = static function (mixed $answer) use ($fresh): string {
        try {
            (new CallbackVerifier($fresh['secrets'], static fn (): mixed => $answer))
                ->verify($fresh['headers'], $fresh['body'], $fresh['now']);
        } catch (ConfigurationError) {
            return 'configuration_error';
        }
        return 'accepted';
    };
    $nonce = $fresh['headers']['X-SendPromptly-Nonce'];
    $stringable = new class ($nonce) {
        public function __construct(private string $text)
        {
        }

        public function __toString(): string
        {
            return $this->text;
        }
    };
    $throwing = new class () implements JsonSerializable {
        public function __toString(): string
        {
            throw new DomainException("an object of the app's");
        }

        public function jsonSerialize(): mixed
        {
            throw new DomainException("an object of the app's");
        }
    };
    return [
        ['prose whose text throws', outcome(['status' => 'failed', 'error_message' => $throwing]), 'network_error'],
        ['prose that is an object', outcome(['status' => 'failed', 'error_message' => new stdClass()]), 'network_error'],
        ['prose that is a closure', outcome(['status' => 'failed', 'error_code' => static fn () => 1]), 'network_error'],
        ['prose that is not a number', outcome(['status' => 'failed', 'error_code' => NAN]), 'network_error'],
        ['a payload whose JSON throws', outcome(['payload' => $throwing]), 'validation_error'],
        ['a payload that is not a number', outcome(['payload' => NAN]), 'validation_error'],
        ['fields that are an object', outcome(new stdClass()), 'validation_error'],
        ['fields that are iterated', outcome(new ArrayIterator(['event_id' => 'evt_1'])), 'validation_error'],
        ['bytes that are not UTF-8', decide($with("\xff")), 'malformed_header'],
        ['an object with a string form', decide($with($stringable)), 'malformed_header'],
        ['a float', decide($with(NAN)), 'malformed_header'],
        ['headers that are iterated', decide([...$fresh, 'headers' => new ArrayIterator($fresh['headers'])]), 'accepted'],
        ['secrets that are iterated', decide([...$fresh, 'secrets' => new ArrayIterator($fresh['secrets'])]), 'accepted'],
        ['secrets that are an object', decide([...$fresh, 'secrets' => $stringable]), 'configuration_error'],
        ['a nonce check that answers nothing', $answers(null), 'configuration_error'],
        ['a nonce check that answers a text', $answers(''), 'configuration_error'],
        ['a nonce check that answers an object', $answers(new stdClass()), 'configuration_error'],
    ];
}

$cases = cases('verification.json');
foreach (cases('signing.json') as $case) {
    $secrets = [$case['next_secret'] ?? $case['secret']];
    $cases[] = [...$case, 'secrets' => $secrets, 'now' => $case['timestamp'], 'verdict' => 'accepted'];
}
$wrong = 0;
$check = static function (string $name, string $verdict, string $expected) use (&$wrong): void {
    if ($verdict !== $expected) {
        $wrong++;
        echo "$name: $verdict instead of $expected\n";
    }
};
foreach ($cases as $case) {
    $check($case['name'], decide($case), $case['verdict']);
}
$settings = cases('settings.json');
foreach ($settings as $case) {
    $check($case['name'], readSetting($case), $case['verdict']);
}
foreach (checkValues() as $row) {
    $check(...$row);
}
printf("vectors: %d passed, %d failed\n", count($cases) + count($settings) - $wrong, $wrong);
exit($wrong === 0 ? 0 : 1);
