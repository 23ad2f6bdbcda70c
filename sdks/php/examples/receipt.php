<?php

// Call this in the webhook handler after the signature is verified and the event is stored.
// Send the receipt first, then enqueue the job: a result must not overtake its receipt.

require __DIR__ . '/../autoload.php'; // or vendor/autoload.php

$makegood = new Makegood\Client(baseUrl: getenv('MAKEGOOD_URL'), apiKey: getenv('MAKEGOOD_API_KEY'));

$receipt = $makegood->receipt([
    'provider' => 'stripe',
    'provider_event_id' => 'evt_1PqX9',
    'event_type' => 'checkout.session.completed',
    'effect_type' => 'access_unlock',
    'internal_reference' => 'order_1001',
    'occurred_at' => '2026-11-23T10:00:00Z',
]);
echo $receipt['event_id'], ' must have a result by ', $receipt['timeout_at'], "\n";
