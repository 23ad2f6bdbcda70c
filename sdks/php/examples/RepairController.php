<?php

// The repair endpoint: verify, answer 2xx, apply the effect again, report its result with the `replay_id`.
// In routes/api.php, whose addresses begin with /api: save https://shop.example/api/makegood/repair as the repair URL.
//     Route::post('/makegood/repair', App\Http\Controllers\RepairController::class);
// In config/services.php:
//     'makegood' => [
//         'url' => env('MAKEGOOD_URL'),
//         'api_key' => env('MAKEGOOD_API_KEY'),
//         'signing_secret' => env('MAKEGOOD_SIGNING_SECRET'),
//     ],

namespace App\Http\Controllers;

use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Cache;
use Makegood\CallbackVerifier;
use Makegood\Client;
use Makegood\InvalidCallback;

final class RepairController extends Controller
{
    public function __invoke(Request $request): JsonResponse
    {
        $verifier = new CallbackVerifier(
            // One secret; during a rotation the old and the new one, separated by a comma. A blank or unset one returns a 500.
            secrets: config('services.makegood.signing_secret'),
            seenNonce: fn (string $nonce): bool => !Cache::add("makegood:$nonce", true, 600),
        );
        try {
            $callback = $verifier->verify($request->headers->all(), $request->getContent());
        } catch (InvalidCallback $invalid) {
            return response()->json(['reason' => $invalid->reason], 401);
        }
        if ($callback['test'] ?? false) { // a test call: there is nothing to apply
            return response()->json(['accepted' => true], 202);
        }
        dispatch(static fn () => self::applyAndReport($callback)); // queued durably before the response
        return response()->json(['accepted' => true], 202);
    }

    public static function applyAndReport(array $callback): void
    {
        $makegood = new Client(config('services.makegood.url'), config('services.makegood.api_key'));
        $outcome = ['status' => 'success'];
        try {
            // The job and its repairs share the key: a job that died may have applied the effect.
            if (!self::unlockAccess($callback['internal_reference'], oncePer: $callback['effect_key'])) {
                $outcome['already_applied'] = true;
            }
        } catch (\Throwable $error) {
            $outcome = ['status' => 'failed', 'error_code' => class_basename($error), 'error_message' => $error->getMessage()];
        }
        $makegood->result(['event_id' => $callback['event_id'], 'replay_id' => $callback['replay_id'], ...$outcome]);
    }

    /** Your own effect. Store `$oncePer` in its transaction. Do nothing and return false when it is there already. */
    private static function unlockAccess(string $order, string $oncePer): bool
    {
        logger()->info('unlocked', ['order' => $order, 'effect_key' => $oncePer]);

        return true;
    }
}
