"""A repair endpoint in each language that has one. `$url` and `$key` stand for the reader's own.

They are those of `sdks/*/examples`, shortened. The signing secret is read from the environment.
"""

from collections.abc import Mapping

_NODE = """\
import { createServer } from "node:http";
import { buffer } from "node:stream/consumers";
import { CallbackVerifier, InvalidCallback, Makegood, RecentNonces } from "makegood-client";

const makegood = new Makegood({ baseUrl: "$url", apiKey: "$key" });
const verifier = new CallbackVerifier({
  secrets: process.env.MAKEGOOD_SIGNING_SECRET,
  seenNonce: new RecentNonces().seen,
});

createServer(async (request, response) => {
  try {
    const body = await buffer(request);
    const callback = await verifier.verify({ headers: request.headers, body });
    response.writeHead(202).end();
    if (callback.test) return;
    // Apply the effect here, at most once per callback.effect_key.
    const { event_id, replay_id } = callback;
    await makegood.result({ event_id, replay_id, status: "success" });
  } catch (error) {
    const isInvalid = error instanceof InvalidCallback;
    if (!isInvalid) console.error(error);
    if (!response.headersSent) response.writeHead(isInvalid ? 401 : 500).end();
  }
}).listen(Number(process.env.PORT ?? 4000), "127.0.0.1");
"""

_PHP = """\
<?php // php -S 127.0.0.1:4000 repair.php

require 'vendor/autoload.php';

$verifier = new Makegood\\CallbackVerifier(
    secrets: getenv('MAKEGOOD_SIGNING_SECRET'),
    // One directory for each nonce. In production, use a store that all servers share.
    seenNonce: fn (string $nonce): bool => !@mkdir(sys_get_temp_dir() . "/makegood-$nonce"),
);
try {
    $callback = $verifier->verify(getallheaders(), file_get_contents('php://input'));
} catch (Makegood\\InvalidCallback $invalid) {
    http_response_code(401);
    exit($invalid->reason);
}
http_response_code(202);
if (!($callback['test'] ?? false)) {
    // Apply the effect here, at most once per $callback['effect_key'].
    $makegood = new Makegood\\Client(baseUrl: '$url', apiKey: '$key');
    $named = ['event_id' => $callback['event_id'], 'replay_id' => $callback['replay_id']];
    $makegood->result([...$named, 'status' => 'success']);
}
"""

_LARAVEL = """\
// config/services.php: 'makegood' => ['signing_secret' => env('MAKEGOOD_SIGNING_SECRET')],
// routes/api.php:
use Illuminate\\Http\\Request;
use Illuminate\\Support\\Facades\\{Cache, Route};
use Makegood\\{CallbackVerifier, Client, InvalidCallback};

Route::post('/makegood/repair', function (Request $request) {
    $verifier = new CallbackVerifier(
        secrets: config('services.makegood.signing_secret'),
        seenNonce: fn (string $nonce): bool => !Cache::add("makegood:$nonce", true, 600),
    );
    try {
        $callback = $verifier->verify($request->headers->all(), $request->getContent());
    } catch (InvalidCallback $invalid) {
        return response()->json(['reason' => $invalid->reason], 401);
    }
    if (!($callback['test'] ?? false)) {
        dispatch(static function () use ($callback) {
            // Apply the effect here, at most once per $callback['effect_key'].
            $named = ['event_id' => $callback['event_id'], 'replay_id' => $callback['replay_id']];
            (new Client('$url', '$key'))->result([...$named, 'status' => 'success']);
        });
    }
    return response()->json(['accepted' => true], 202);
});
"""

_PYTHON = """\
# uvicorn repair:app --port 4000
import os

from fastapi import BackgroundTasks, FastAPI, HTTPException, Request
from makegood_client import CallbackVerifier, InvalidCallback, Makegood, RecentNonces

app = FastAPI()
makegood = Makegood(base_url="$url", api_key="$key")
verifier = CallbackVerifier(
    secrets=os.environ["MAKEGOOD_SIGNING_SECRET"],
    seen_nonce=RecentNonces().seen,
)


@app.post("/makegood/repair", status_code=202)
async def repair(request: Request, background: BackgroundTasks):
    try:
        callback = verifier.verify(request.headers, await request.body())
    except InvalidCallback as invalid:
        raise HTTPException(401, invalid.reason) from None
    if not callback.get("test"):
        background.add_task(apply_and_report, callback)
    return {"accepted": True}


def apply_and_report(callback):
    # Apply the effect here, at most once per callback["effect_key"].
    named = {"event_id": callback["event_id"], "replay_id": callback["replay_id"]}
    makegood.result({**named, "status": "success"})
"""

ENDPOINTS: Mapping[str, str] = {
    "node": _NODE,
    "php": _PHP,
    "laravel": _LARAVEL,
    "python": _PYTHON,
}
