// The merchant's side of Makegood, in one file with no dependencies: report receipts and results, verify callbacks.

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const WINDOW_SECONDS = 300;
const LONGEST_WAIT_SECONDS = 5;

/** The call failed; `code` is the service's error code, or `network_error` when no answer came (`status` null). */
export class MakegoodError extends Error {
  constructor({ status, code, detail, requestId = null, retryable, retryAfterSeconds = null, cause }) {
    super(`${code}: ${detail}`, { cause });
    this.name = "MakegoodError";
    Object.assign(this, { status, code, detail, requestId, retryable, retryAfterSeconds });
  }
}

/** The request is no genuine, fresh repair callback; `reason` says what is wrong. Answer 401 and do nothing. */
export class InvalidCallback extends Error {
  constructor(reason) {
    super(reason);
    this.name = "InvalidCallback";
    this.reason = reason;
  }
}

/** Reports receipts and results, each up to `attempts` times under the same idempotency key. */
export class Makegood {
  #baseUrl;
  #apiKey;
  #attempts;
  #timeoutMs;

  constructor({ baseUrl, apiKey, attempts = 3, timeoutMs = 10_000 }) {
    if (!/^https?:\/\//.test(baseUrl)) throw new TypeError("baseUrl must start with https:// or http://");
    if (!apiKey) throw new TypeError("apiKey is missing");
    this.#baseUrl = baseUrl.replace(/\/+$/, "");
    this.#apiKey = apiKey;
    this.#attempts = attempts;
    this.#timeoutMs = timeoutMs;
  }

  /** Say that the work of a payment event is accepted, before its effect runs. */
  receipt(fields, { idempotencyKey } = {}) {
    return this.#post("/api/v1/receipt", fields, idempotencyKey);
  }

  /** Say that the effect was applied (`status` `success`) or was not (`failed`). */
  result(fields, { idempotencyKey } = {}) {
    return this.#post("/api/v1/result", fields, idempotencyKey);
  }

  async #post(path, fields, idempotencyKey) {
    const body = JSON.stringify(fields);
    // The key of a call is its content, unless the caller has a better one: a repeat is then recognised by itself.
    const key = idempotencyKey ?? createHash("sha256").update(body).digest("hex");
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#postOnce(path, body, key);
      } catch (error) {
        if (!(error instanceof MakegoodError) || !error.retryable || attempt >= this.#attempts) throw error;
        await sleep(1000 * Math.min(error.retryAfterSeconds ?? 0.2 * 2 ** attempt, LONGEST_WAIT_SECONDS));
      }
    }
  }

  async #postOnce(path, body, key) {
    let response;
    let text;
    try {
      response = await fetch(this.#baseUrl + path, {
        method: "POST",
        headers: {
          Authorization: `Bearer ${this.#apiKey}`,
          "Idempotency-Key": key,
          "Content-Type": "application/json",
          Accept: "application/json",
        },
        body,
        redirect: "manual",
        signal: AbortSignal.timeout(this.#timeoutMs),
      });
      text = await response.text();
    } catch (cause) {
      const detail = String(cause?.cause?.message ?? cause?.message ?? cause);
      throw new MakegoodError({ status: null, code: "network_error", detail, retryable: true, cause });
    }
    const parsed = parseObject(text);
    if (response.ok && parsed !== null) return parsed;
    throw refusal(response, parsed ?? {}); // null: a proxy's page in between
  }
}

/**
 * Remembers nonces for as long as a callback may be repeated, in this process alone. With several processes or machines
 * keep them in a shared store instead, such as Redis: `SET nonce 1 NX EX 600`.
 */
export class RecentNonces {
  #forgetAt = new Map();

  /** Whether the nonce was seen before; it counts as seen from now on. */
  seen = (nonce) => {
    const now = performance.now();
    for (const [old, forgetAt] of this.#forgetAt) if (forgetAt < now) this.#forgetAt.delete(old);
    if (this.#forgetAt.has(nonce)) return true;
    this.#forgetAt.set(nonce, now + 2000 * WINDOW_SECONDS);
    return false;
  };
}

/**
 * The repair that a callback asks for. `body` is the raw request body (Buffer or string), before any parsing; `secrets`
 * holds the signing secret, or the old and the new one during a rotation; `seenNonce` records a nonce and says (or promises
 * to say) whether it had been seen, and is asked only when the signature holds; `now` is in unix seconds.
 * Throws InvalidCallback: `missing_header`, `malformed_header`, `bad_signature`, `stale_timestamp`, `replayed_nonce`.
 */
export async function verifyCallback({ headers, body, secrets, seenNonce, now = Date.now() / 1000 }) {
  const entries = headers instanceof Headers ? [...headers] : Object.entries(headers);
  const found = Object.fromEntries(entries.map(([name, value]) => [name.toLowerCase(), value]));
  const timestamp = found["x-sendpromptly-timestamp"];
  const nonce = found["x-sendpromptly-nonce"];
  const signature = found["x-sendpromptly-signature"];
  if (!timestamp || !nonce || !signature) throw new InvalidCallback("missing_header");
  if (!/^[0-9]{1,12}$/.test(timestamp) || !/^[0-9a-f]{32}$/.test(nonce)) throw new InvalidCallback("malformed_header");
  const offered = [signature, found["x-sendpromptly-signature-next"] ?? ""];
  if (!isSigned({ timestamp, nonce, body, offered, secrets })) throw new InvalidCallback("bad_signature");
  if (Math.abs(now - Number(timestamp)) > WINDOW_SECONDS) throw new InvalidCallback("stale_timestamp");
  if (await seenNonce(nonce)) throw new InvalidCallback("replayed_nonce");
  return JSON.parse(Buffer.from(body).toString("utf8"));
}

function isSigned({ timestamp, nonce, body, offered, secrets }) {
  let matches = false;
  for (const secret of secrets) {
    const expected = Buffer.from(
      createHmac("sha256", secret).update(`${timestamp}.${nonce}.`).update(body).digest("hex"),
    );
    for (const signature of offered) {
      const theirs = Buffer.from(String(signature));
      // Compared in constant time; the length is no secret.
      matches = (theirs.length === expected.length && timingSafeEqual(theirs, expected)) || matches;
    }
  }
  return matches;
}

function refusal(response, problem) {
  const retryAfter = response.headers.get("retry-after") ?? "";
  return new MakegoodError({
    status: response.status,
    code: problem.code ?? "unexpected_answer",
    detail: problem.detail ?? `status ${response.status}`,
    requestId: response.headers.get("request-id"),
    retryable: problem.retryable ?? (response.status === 429 || response.status >= 500),
    retryAfterSeconds: /^[0-9]{1,6}$/.test(retryAfter) ? Number(retryAfter) : null,
  });
}

function parseObject(text) {
  try {
    const parsed = JSON.parse(text);
    return parsed !== null && typeof parsed === "object" && !Array.isArray(parsed) ? parsed : null;
  } catch {
    return null;
  }
}
