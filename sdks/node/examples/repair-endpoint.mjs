// The repair endpoint: verify, answer 2xx, apply the effect again, report its result with the `replay_id`.
import { createServer } from "node:http";
import { CallbackVerifier, InvalidCallback, Makegood, RecentNonces } from "makegood-client";

const makegood = new Makegood({ baseUrl: process.env.MAKEGOOD_URL, apiKey: process.env.MAKEGOOD_API_KEY });
const verifier = new CallbackVerifier({
  // One secret; during a rotation the old and the new one, separated by a comma. A blank one is refused here.
  secrets: process.env.MAKEGOOD_SIGNING_SECRET,
  seenNonce: new RecentNonces().seen, // with several processes, use a shared store instead
});

const server = createServer(async (request, response) => {
  if (request.method !== "POST" || request.url !== "/makegood/repair") return void response.writeHead(404).end();
  try {
    const body = await readBody(request);
    const callback = await verifier.verify({ headers: request.headers, body });
    response.writeHead(202).end(); // in production: enqueue it durably before responding
    if (callback.test) return; // a test call: there is nothing to apply
    await applyAndReport(callback);
  } catch (error) {
    if (error instanceof InvalidCallback) return void response.writeHead(401).end(error.reason);
    console.error(error);
    if (!response.headersSent) response.writeHead(500).end();
  }
});
server.listen(Number(process.env.PORT ?? 4000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/makegood/repair`);
});

async function applyAndReport(callback) {
  let outcome = { status: "success" };
  try {
    // The job and its repairs share the key: a job that died may have applied the effect.
    const isNew = await unlockAccess(callback.internal_reference, { oncePer: callback.effect_key });
    if (!isNew) outcome.already_applied = true;
  } catch (error) {
    outcome = { status: "failed", error_code: error.name, error_message: error.message };
  }
  await makegood.result({ event_id: callback.event_id, replay_id: callback.replay_id, ...outcome });
}

// Your own effect. Store `oncePer` in its transaction. Do nothing and return false when it is there already.
async function unlockAccess(order, { oncePer }) {
  console.log("unlocked", order, "for", oncePer);
  return true;
}

async function readBody(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks); // the raw bytes: what was signed
}
