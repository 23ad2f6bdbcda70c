<?php

// Call this in the job after the effect is committed, or with `failed` when the job gives up.

require __DIR__ . '/../autoload.php'; // or vendor/autoload.php

$makegood = new Makegood\Client(baseUrl: getenv('MAKEGOOD_URL'), apiKey: getenv('MAKEGOOD_API_KEY'));

$result = $makegood->result(['provider' => 'stripe', 'provider_event_id' => 'evt_1PqX9', 'status' => 'success']);
// Or: ['provider_event_id' => …, 'status' => 'failed', 'error_code' => 'seat_limit', 'error_message' => 'No seat was free.']
echo $result['event_id'], ' is ', $result['state'], "\n";
