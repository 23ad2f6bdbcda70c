// Makes the calls that standard input lists, with the Node.js client; prints what came of each.
import { readFileSync } from "node:fs";
import { Makegood, MakegoodError } from "../../sdks/node/index.js";

async function make({ base_url: baseUrl, api_key: apiKey = "sk_test_1", call, fields, idempotency_key: idempotencyKey, attempts, timeout_seconds: seconds }) {
  const makegood = new Makegood({ baseUrl, apiKey, attempts, timeoutMs: seconds && seconds * 1000 });
  try {
    return { verdict: "accepted", answer: await makegood[call](fields, { idempotencyKey }) };
  } catch (error) {
    if (!(error instanceof MakegoodError)) throw error;
    const { status, code: verdict, detail, requestId: request_id, retryable, retryAfterSeconds: retry_after } = error;
    return { verdict, status, detail, request_id, retryable, retry_after, text: error.message };
  }
}

console.log(JSON.stringify(await Promise.all(JSON.parse(readFileSync(0, "utf8")).map(make))));
