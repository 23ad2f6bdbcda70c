// Runs the shared vectors through this client: `node --test tests/`.
import assert from "node:assert/strict";
import dns from "node:dns";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  CallbackVerifier,
  ConfigurationError,
  InvalidCallback,
  Makegood,
  MakegoodError,
  RecentNonces,
  verifyCallback,
} from "makegood-client";

const cases = (name) => JSON.parse(readFileSync(new URL(`../../vectors/${name}`, import.meta.url), "utf8")).cases;
const NAMES = { base_url: ["baseUrl", "MAKEGOOD_URL"], api_key: ["apiKey", "MAKEGOOD_API_KEY"] };
const FRESH = cases("verification.json")[0];

for (const vector of cases("signing.json")) {
  test(`signing: ${vector.name}`, async () => {
    const secrets = [vector.next_secret ?? vector.secret];

    assert.equal(await decide({ ...vector, secrets, now: vector.timestamp, seen_nonces: [] }), "accepted");
  });
}

for (const vector of cases("verification.json")) {
  test(`verification: ${vector.name}`, async () => assert.equal(await decide(vector), vector.verdict));
}

for (const vector of cases("settings.json")) {
  test(`settings: ${vector.name}`, async () => assert.equal(await readSetting(vector), vector.verdict));
}

test("a nonce is new once", () => {
  const nonces = new RecentNonces();

  assert.deepEqual([nonces.seen("a"), nonces.seen("b"), nonces.seen("a")], [false, false, true]);
});

test("a nonce in a list of one is seen the second time", async () => {
  const headers = Object.fromEntries(Object.entries(FRESH.headers).map(([name, value]) => [name, [value]]));
  const verifier = new CallbackVerifier({ secrets: FRESH.secrets, seenNonce: new RecentNonces().seen });

  await verifier.verify({ headers, body: FRESH.body, now: FRESH.now });
  await assert.rejects(verifier.verify({ headers, body: FRESH.body, now: FRESH.now }), { reason: "replayed_nonce" });
});

// What JSON cannot hold: containers and bodies of Node.js, and its values.
const foreignHeaders = { *[Symbol.iterator]() { yield* Object.entries(FRESH.headers); } };
for (const [name, headers] of Object.entries({
  Headers: new Headers(FRESH.headers),
  Map: new Map(Object.entries(FRESH.headers)),
  "Headers of another realm": foreignHeaders,
  "an object without a prototype": Object.assign(Object.create(null), FRESH.headers),
})) {
  test(`headers may be ${name}`, async () => assert.equal(await decide({ ...FRESH, headers }), "accepted"));
}

const repeated = new Headers(FRESH.headers);
repeated.append("X-SendPromptly-Nonce", FRESH.headers["X-SendPromptly-Nonce"]);
const NONCE = "X-SendPromptly-Nonce";
for (const [name, [headers, verdict]] of Object.entries({
  "a nonce repeated in Headers": [repeated, "malformed_header"],
  "a nonce that is half a surrogate pair": [{ ...FRESH.headers, [NONCE]: "\ud800" }, "malformed_header"],
  "a signature of halves": [{ ...FRESH.headers, "X-SendPromptly-Signature": "\ud800".repeat(64) }, "bad_signature"],
  "a nonce that is undefined": [{ ...FRESH.headers, [NONCE]: undefined }, "missing_header"],
  "a nonce that is a symbol": [{ ...FRESH.headers, [NONCE]: Symbol("x") }, "malformed_header"],
  "a nonce that is a BigInt": [{ ...FRESH.headers, [NONCE]: 1n }, "malformed_header"],
  "a nonce that is NaN": [{ ...FRESH.headers, [NONCE]: NaN }, "malformed_header"],
  "a nonce that is bytes": [{ ...FRESH.headers, [NONCE]: Buffer.from(FRESH.headers[NONCE]) }, "malformed_header"],
  "a nonce that is a String": [{ ...FRESH.headers, [NONCE]: new String(FRESH.headers[NONCE]) }, "malformed_header"],
  "a nonce that cannot be text": [{ ...FRESH.headers, [NONCE]: Object.create(null) }, "malformed_header"],
  "headers that are undefined": [undefined, "configuration_error"],
  "a flat list": [["X-SendPromptly-Nonce", "x"], "configuration_error"],
})) {
  test(`${name}: ${verdict}`, async () => assert.equal(await decide({ ...FRESH, headers }), verdict));
}

const bytes = new TextEncoder().encode(FRESH.body);
const within = new Uint8Array([0, ...bytes, 0]).subarray(1, bytes.length + 1);
for (const [name, body] of Object.entries({
  string: FRESH.body,
  Uint8Array: bytes,
  "a part of another array": within,
  ArrayBuffer: bytes.buffer.slice(0, bytes.length),
  DataView: new DataView(within.buffer, 1, bytes.length),
})) {
  test(`the body may be ${name}`, async () => {
    const { headers, secrets, now } = FRESH;

    const callback = await verifyCallback({ headers, body, secrets, now, seenNonce: () => false });

    assert.deepEqual(callback, JSON.parse(FRESH.body));
  });
}

test("a parsed body is named as the cause", async () => {
  const { headers, secrets, now } = FRESH;

  const call = verifyCallback({ headers, body: undefined, secrets, now, seenNonce: () => false });

  await assert.rejects(call, { name: "ConfigurationError", message: /express\.raw/ });
});

for (const secrets of [undefined, new String(FRESH.secrets[0]), { 0: FRESH.secrets[0] }, new Map(), Buffer.from("whsec_x"), 17n]) {
  test(`secrets of ${Object.prototype.toString.call(secrets)} are refused when the verifier is made`, () => {
    assert.throws(() => new CallbackVerifier({ secrets, seenNonce: () => false }), ConfigurationError);
  });
}

for (const answer of [undefined, null, "", "yes", 2, {}]) {
  test(`a nonce check that answers ${JSON.stringify(answer)} is refused`, async () => {
    const { headers, body, secrets, now } = FRESH;

    const call = verifyCallback({ headers, body, secrets, now, seenNonce: async () => answer });

    await assert.rejects(call, ConfigurationError);
  });
}

test("no nonce check is refused when the verifier is made", () => {
  assert.throws(() => new CallbackVerifier({ secrets: FRESH.secrets }), ConfigurationError);
});

test("a time that is not a number makes everything stale", async () => {
  assert.equal(await decide({ ...FRESH, now: NaN }), "stale_timestamp");
});

const throwing = () => {
  throw new RangeError("an object of the app's");
};
const getter = (name) => Object.defineProperty({ status: "failed" }, name, { enumerable: true, get: throwing });
for (const [name, value] of Object.entries({
  "that cannot be text": Object.create(null),
  "whose toString throws": { toString: throwing },
  "that is a symbol": Symbol("x"),
  "that is a BigInt": 1n,
  "that is a revoked proxy": revoked(),
})) {
  test(`a failed result with prose ${name} is sent`, async () => {
    assert.equal(await outcome({ status: "failed", error_message: value }), "network_error");
  });
}

test("a failed result whose prose is a getter that throws is sent", async () => {
  assert.equal(await outcome(getter("error_message")), "network_error");
});

for (const [name, fields] of Object.entries({
  undefined: undefined,
  "an empty list": [],
  "a function": () => ({}),
  "a symbol": Symbol("x"),
  "a getter that throws": getter("event_id"),
  "a getter deeper down": { payload: getter("a") },
  "a toJSON that throws": { payload: { toJSON: throwing } },
  "a revoked proxy": revoked(),
  "a ring": ring(),
})) {
  test(`fields of ${name} are a validation error`, async () => {
    assert.deepEqual([await outcome(fields), await outcome(fields, "receipt")], ["validation_error", "validation_error"]);
  });
}

function revoked() {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function ring() {
  const fields = {};
  fields.payload = fields;
  return fields;
}

// Nothing listens on port 1, so that fields which can be sent find no server.
async function outcome(fields, call = "result") {
  const makegood = new Makegood({ baseUrl: "http://127.0.0.1:1", apiKey: "sk_test_1", attempts: 1 });
  try {
    await makegood[call](fields);
  } catch (error) {
    if (!(error instanceof MakegoodError)) throw error;
    assert.equal(error.retryable, error.code === "network_error");
    return error.code;
  }
  return "sent";
}

test("calls and their retries share one look-up of a name that hangs", async (context) => {
  const alive = setInterval(() => {}, 1000); // a look-up that is under way does this, and the one below is none
  context.after(() => clearInterval(alive));
  const answers = [];
  context.mock.method(dns, "lookup", (hostname, options, callback) => answers.push([hostname, callback]));
  const makegood = new Makegood({ baseUrl: "http://makegood.example", apiKey: "sk_test_1", timeoutMs: 2000 });
  const call = async () => assert.rejects(makegood.receipt({}), { code: "network_error", retryable: true });

  await Promise.all(Array.from({ length: 10 }, call));

  assert.deepEqual(answers.map(([hostname]) => hostname), ["makegood.example"]);
  answers[0][1](Object.assign(new Error("no such name"), { code: "ENOTFOUND" }));
  const later = call();
  await new Promise(setImmediate);
  assert.equal(answers.length, 2); // the name is looked up again once the first look-up is over
  await later;
});

async function decide({ headers, body, body_base64: encoded, secrets, now, seen_nonces: seen, ...vector }) {
  const raw = encoded !== undefined ? Buffer.from(encoded, "base64") : typeof body === "string" ? Buffer.from(body) : body;
  const asked = [];
  const seenNonce = async (nonce) => asked.push(nonce) > 0 && seen.includes(nonce);
  try {
    const parsed = await verifyCallback({ headers, body: raw, secrets, seenNonce, now });
    assert.deepEqual(parsed, vector.callback ?? JSON.parse(raw));
    assert.equal(asked.length, 1);
    return "accepted";
  } catch (error) {
    if (!(error instanceof InvalidCallback || error instanceof ConfigurationError)) throw error;
    assert.equal(asked.length, error.reason === "replayed_nonce" ? 1 : 0);
    return error.reason ?? "configuration_error";
  }
}

// Nothing listens on port 1, so that a client whose settings are good finds no server.
async function readSetting({ setting, value }) {
  const [option, variable] = NAMES[setting];
  try {
    const makegood = new Makegood({ baseUrl: "http://127.0.0.1:1", apiKey: "sk_test_1", attempts: 1, [option]: value });
    if (setting === "api_key") await makegood.receipt({});
  } catch (error) {
    if (error instanceof MakegoodError) return error.code === "network_error" ? "taken" : error.code;
    if (!(error instanceof ConfigurationError)) throw error;
    assert.ok(error.message.includes(variable), error.message);
    if (typeof value === "string" && value.trim().length > 8) assert.ok(!error.message.includes(value.trim()));
    return "refused";
  }
  return "taken";
}
