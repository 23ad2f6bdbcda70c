// Runs the shared vectors through this client: `node --test tests/`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { InvalidCallback, RecentNonces, verifyCallback } from "makegood-client";

const cases = (name) => JSON.parse(readFileSync(new URL(`../../vectors/${name}`, import.meta.url), "utf8")).cases;

for (const vector of cases("signing.json")) {
  test(`signing: ${vector.name}`, async () => {
    const secrets = [vector.next_secret ?? vector.secret];

    assert.equal(await decide({ ...vector, secrets, now: vector.timestamp, seen_nonces: [] }), "accepted");
  });
}

for (const vector of cases("verification.json")) {
  test(`verification: ${vector.name}`, async () => assert.equal(await decide(vector), vector.verdict));
}

test("a nonce is new once", () => {
  const nonces = new RecentNonces();

  assert.deepEqual([nonces.seen("a"), nonces.seen("b"), nonces.seen("a")], [false, false, true]);
});

async function decide({ headers, body, secrets, now, seen_nonces: seen }) {
  const asked = [];
  const seenNonce = async (nonce) => asked.push(nonce) > 0 && seen.includes(nonce);
  try {
    const parsed = await verifyCallback({ headers, body: Buffer.from(body), secrets, seenNonce, now });
    assert.deepEqual(parsed, JSON.parse(body));
    assert.equal(asked.length, 1);
    return "accepted";
  } catch (error) {
    if (!(error instanceof InvalidCallback)) throw error;
    assert.equal(asked.length, error.reason === "replayed_nonce" ? 1 : 0);
    return error.reason;
  }
}
