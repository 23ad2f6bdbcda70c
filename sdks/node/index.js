// The merchant's side of Makegood, in one file with no dependencies: report receipts and results, verify callbacks.

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import dns from "node:dns";
import http from "node:http";
import https from "node:https";
import { isIPv4, isIPv6 } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { types } from "node:util";

const WINDOW_SECONDS = 300;
const LONGEST_ANSWER = 1 << 20;
const DEEPEST_BODY = 64;
const LONGEST_DETAIL = 500;
const PROSE = { error_code: 255, error_message: 2048 };
const NOT_SHOWN = "text that cannot be shown";
const TIMESTAMP = "x-sendpromptly-timestamp";
const NONCE = "x-sendpromptly-nonce";
const SIGNATURE = "x-sendpromptly-signature";
const NEXT_SIGNATURE = "x-sendpromptly-signature-next";
const URL_SHAPE = /^(https?):\/\/([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(\/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?$/i;
// The value of every larger number of seconds, however many digits it has.
const LONGEST_RETRY_AFTER_SECONDS = 1e9;
const HTTP_DATE =
  /^[A-Z][a-z]{2}, [0-9]{2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT$/;

/** A setting or an argument can never work. Answer 500: it is the app's own fault, not the caller's. Quotes no value. */
export class ConfigurationError extends Error {
  constructor(message) {
    super(message);
    this.name = "ConfigurationError";
  }
}

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

/**
 * Reports receipts and results, each up to `attempts` times under the same idempotency key. `timeoutMs` bounds a whole
 * call: every attempt, and the waits between them. Throws ConfigurationError for a setting that can never work.
 */
export class Makegood {
  #baseUrl;
  #apiKey;
  #attempts;
  #timeoutMs;

  constructor({ baseUrl, apiKey, attempts = 3, timeoutMs = 10_000 } = {}) {
    this.#baseUrl = parsedBaseUrl(baseUrl);
    this.#apiKey = credential(apiKey, "apiKey (MAKEGOOD_API_KEY)");
    if (!Number.isInteger(attempts) || attempts < 1) {
      throw new ConfigurationError("attempts must be a whole number of at least 1");
    }
    if (!(timeoutMs > 0 && timeoutMs <= 86_400_000)) {
      throw new ConfigurationError("timeoutMs must be more than 0 and at most 86400000");
    }
    this.#attempts = attempts;
    this.#timeoutMs = timeoutMs;
  }

  /** Say that the work of a payment event is accepted, before its effect runs. */
  async receipt(fields, { idempotencyKey } = {}) {
    return this.#post("/api/v1/receipt", fields, idempotencyKey);
  }

  /** Say that the effect was applied (`status` `success`) or was not (`failed`); its prose is cut to what is kept. */
  async result(fields, { idempotencyKey } = {}) {
    return this.#post("/api/v1/result", withShortProse(fields), idempotencyKey);
  }

  async #post(path, fields, idempotencyKey) {
    const endsAt = performance.now() + this.#timeoutMs;
    const body = jsonBody(fields);
    const key = usableKey(idempotencyKey, body);
    // A result may overtake its receipt; only a provider's id can name a receipt that is still on its way.
    const mayBeEarly = path.endsWith("/result") && !fields.event_id;
    for (let attempt = 1; ; attempt += 1) {
      const isLast = attempt >= this.#attempts;
      const leftMs = Math.max(endsAt - performance.now(), 1);
      try {
        // A silent connection leaves half of the time to another try.
        return await this.#postOnce({ path, body, key, mayBeEarly, timeoutMs: isLast ? leftMs : leftMs / 2 });
      } catch (error) {
        if (!(error instanceof MakegoodError) || !error.retryable || isLast) throw error;
        const waitMs = waitBefore(attempt, error.retryAfterSeconds);
        if (waitMs >= endsAt - performance.now()) throw error;
        await sleep(waitMs);
      }
    }
  }

  async #postOnce({ path, body, key, mayBeEarly, timeoutMs }) {
    const headers = {
      Authorization: `Bearer ${this.#apiKey}`,
      "Idempotency-Key": key,
      "Content-Type": "application/json",
      "Content-Length": Buffer.byteLength(body),
      Accept: "application/json",
    };
    const signal = AbortSignal.timeout(Math.ceil(timeoutMs));
    let response;
    try {
      response = await send(this.#baseUrl, { path, headers, body, signal });
    } catch (cause) {
      throw networkError(cause);
    }
    let text = "";
    let failure = null;
    try {
      text = await readText(response);
    } catch (cause) {
      failure = cause;
    }
    const status = response.statusCode;
    const parsed = parseObject(text);
    if (status < 200 || status > 299) throw refusal(response, parsed ?? {}, mayBeEarly);
    // A body without an end of its own may always be cut off.
    const hasEnd = status === 204 || "content-length" in response.headers || "transfer-encoding" in response.headers;
    if (parsed === null && !hasEnd && text.length <= LONGEST_ANSWER) failure ??= new Error("the answer was cut off");
    if (failure !== null) throw networkError(failure);
    if (parsed?.accepted === true) return parsed;
    throw refusal(response, {}, mayBeEarly);
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
 * Decides whether a request is a genuine, fresh repair callback. Make it once, when the app starts.
 *
 * `secrets` is the signing secret, or several during a rotation: a list, or one string with commas between them. Each is
 * trimmed. A blank one is refused, and so is none at all: anybody can sign with an empty key. `seenNonce` records a nonce
 * and says (or promises to say) whether it had been seen; it is asked only when everything else holds.
 * Throws ConfigurationError when either can never work.
 */
export class CallbackVerifier {
  #secrets;
  #seenNonce;

  constructor({ secrets, seenNonce } = {}) {
    this.#secrets = signingSecrets(secrets);
    if (typeof seenNonce !== "function") throw new ConfigurationError("seenNonce must be a function of a nonce");
    this.#seenNonce = seenNonce;
  }

  /**
   * The repair that a callback asks for. `body` is the raw request body (bytes or string), before any parsing; `now` is in
   * unix seconds. Throws InvalidCallback: `missing_header`, `malformed_header`, `bad_signature`, `stale_timestamp`,
   * `malformed_body`, `replayed_nonce`; ConfigurationError when `body` is not raw.
   */
  async verify({ headers, body, now = Date.now() / 1000 }) {
    const raw = rawBody(body);
    const found = callbackHeaders(headers);
    if ([TIMESTAMP, NONCE, SIGNATURE].some((name) => found[name] === null)) throw new InvalidCallback("missing_header");
    if (Object.values(found).some((value) => value !== null && typeof value !== "string")) {
      throw new InvalidCallback("malformed_header");
    }
    const { [TIMESTAMP]: timestamp, [NONCE]: nonce } = found;
    if (!/^[0-9]{1,12}$/.test(timestamp) || !/^[0-9a-f]{32}$/.test(nonce)) throw new InvalidCallback("malformed_header");
    const offered = [found[SIGNATURE], found[NEXT_SIGNATURE] ?? ""];
    if (raw === null || !isSigned({ timestamp, nonce, raw, offered, secrets: this.#secrets })) {
      throw new InvalidCallback("bad_signature");
    }
    // Put so that a `now` that is no number is stale too.
    if (!(Math.abs(now - Number(timestamp)) <= WINDOW_SECONDS)) throw new InvalidCallback("stale_timestamp");
    const callback = callbackBody(raw);
    const seenNonce = this.#seenNonce;
    const seen = await seenNonce(nonce);
    if (![true, false, 0, 1].includes(seen)) {
      throw new ConfigurationError("seenNonce must return, or promise, whether the nonce was seen: true or false");
    }
    if (seen) throw new InvalidCallback("replayed_nonce");
    return callback;
  }
}

/** `new CallbackVerifier({ secrets, seenNonce }).verify({ headers, body })`, with the same errors. */
export async function verifyCallback({ headers, body, secrets, seenNonce, now }) {
  return new CallbackVerifier({ secrets, seenNonce }).verify({ headers, body, now });
}

function signingSecrets(secrets) {
  const named = "secrets (MAKEGOOD_SIGNING_SECRET)";
  const given = typeof secrets === "string" ? [secrets] : types.isSet(secrets) ? [...secrets] : secrets;
  if (!Array.isArray(given) || !given.every((secret) => typeof secret === "string")) {
    throw new ConfigurationError(`${named} must be a string or a list of strings: is the variable set?`);
  }
  if (given.length === 0) throw new ConfigurationError(`${named} must hold at least one signing secret`);
  return given.flatMap((secret) => secret.split(",")).map((part) => credential(part, named));
}

/** The text without blanks around it. The errors name the setting and never quote it. */
function credential(text, named) {
  if (typeof text !== "string") throw new ConfigurationError(`${named} must be a string: is its variable set?`);
  const trimmed = text.replace(/^[ \t\n\r\f\v]+/, "").replace(/[ \t\n\r\f\v]+$/, "");
  if (trimmed === "" || trimmed === "whsec_") {
    throw new ConfigurationError(`${named} must not be blank: is its variable set, with no comma too many?`);
  }
  if (!/^[\x21-\x7e]+$/.test(trimmed)) {
    throw new ConfigurationError(`${named} must be printable ASCII without blanks or line breaks`);
  }
  return trimmed;
}

function parsedBaseUrl(text) {
  const url = credential(text, "baseUrl (MAKEGOOD_URL)");
  const [, scheme, host, port, path = ""] = URL_SHAPE.exec(url) ?? [];
  if (host === undefined || !isHost(host) || Number(port ?? 443) < 1 || Number(port ?? 443) > 65_535) {
    throw new ConfigurationError(
      "baseUrl (MAKEGOOD_URL) must be http:// or https:// with a host, without user, query or fragment",
    );
  }
  // In parts, since `URL` rewrites what it is given, and refuses names that only a look-up can judge.
  const isSecure = scheme.toLowerCase() === "https";
  return { isSecure, hostname: host.replace(/[[\]]/g, ""), port: port ?? (isSecure ? 443 : 80), path: path.replace(/\/+$/, "") };
}

/** Whether it is an address in full, or may be a name. What ends in a number is no name. */
function isHost(host) {
  if (host.startsWith("[")) return isIPv6(host.slice(1, -1));
  const labels = host.replace(/\.$/, "").split(".");
  if (/^(?:[0-9]+|0x[0-9a-f]*)$/i.test(labels.at(-1))) return isIPv4(host);
  return host.length <= 253 && labels.every((label) => label.length > 0 && label.length < 64);
}

/**
 * The caller's key, or the content's digest: a repeat is then recognised by itself. A key that no header can carry is sent
 * as its own digest: the same key is still the same.
 */
function usableKey(key, body) {
  if (typeof key !== "string" || key === "") return createHash("sha256").update(body).digest("hex");
  if (/^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$/.test(key)) return key;
  return createHash("sha256").update(key).digest("hex");
}

/** A failed result is never lost for its prose: whatever it is, it becomes text that fits. */
function withShortProse(fields) {
  const read = (name) => (Object.hasOwn(PROSE, name) ? shortProse(fields, name) : fields[name]);
  try {
    return Object.fromEntries(Object.keys(checkedFields(fields)).map((name) => [name, read(name)]));
  } catch {
    throw unusableFields(); // a getter that throws, too
  }
}

function shortProse(fields, name) {
  let text;
  try {
    const value = fields[name];
    if (value === undefined || value === null) return value;
    text = asText(value);
  } catch {
    text = NOT_SHOWN;
  }
  // Twice as many units hold as many characters; no character is halved.
  return [...text.slice(0, 2 * PROSE[name])].slice(0, PROSE[name]).join("");
}

function checkedFields(fields) {
  if (fields !== null && typeof fields === "object" && !Array.isArray(fields)) return fields;
  throw new TypeError("not an object of names and values");
}

function unusableFields() {
  const detail = "the fields must be an object that can be written as JSON";
  return new MakegoodError({ status: null, code: "validation_error", detail, retryable: false });
}

function asText(value) {
  try {
    return String(value);
  } catch {
    return NOT_SHOWN; // an object without a string form
  }
}

function jsonBody(fields) {
  try {
    const text = JSON.stringify(checkedFields(fields), (_, value) => (typeof value === "bigint" ? Number(value) : value));
    // JSON.stringify escapes halves of a pair that stand alone, and nothing else this way; they become U+FFFD.
    return text.replace(/\\\\|\\ud[89a-f][0-9a-f]{2}/g, (escape) => (escape === "\\\\" ? escape : "\ufffd"));
  } catch {
    throw unusableFields();
  }
}

/** How long to wait before the next attempt; spread, so that a fleet does not retry in step. */
function waitBefore(attempt, retryAfterSeconds) {
  if (retryAfterSeconds === null) return 200 * 2 ** attempt * (0.5 + Math.random());
  return 1000 * (retryAfterSeconds + 0.1 * Math.random() * Math.min(retryAfterSeconds, 10));
}

/** Seconds from a `Retry-After` of either form (RFC 9110, 10.2.3); null for anything else. */
function retryAfterSeconds(text) {
  if (/^[0-9]+$/.test(text)) return Math.min(Number(text), LONGEST_RETRY_AFTER_SECONDS);
  const date = new Date(HTTP_DATE.test(text) ? text : NaN);
  if (Number.isNaN(date.getTime()) || date.toUTCString() !== text) return null; // no such day
  return Math.max(0, (date - Date.now()) / 1000);
}

/** The final answer. `fetch` cannot be used: it takes an unasked 100, and chunks that are cut off, for the end. */
function send({ isSecure, hostname, port, path: base }, { path, headers, body, signal }) {
  const options = { hostname, port, path: base + path, method: "POST", headers, signal, lookup: sharedLookUp };
  return new Promise((resolve, reject) => {
    const sent = (isSecure ? https : http).request(options, resolve);
    sent.on("error", reject).on("close", () => reject(new Error("the connection ended before an answer"))).end(body);
  });
}

const lookUps = new Map();

/**
 * `dns.lookup`, one in flight for each name: calls and retries share it. Nothing can end a look-up that hangs, and each
 * holds one of the few threads that all of the process's files and names share.
 */
function sharedLookUp(hostname, options, callback) {
  const key = JSON.stringify([hostname, options]);
  const others = lookUps.get(key);
  if (others !== undefined) return void others.push(callback);
  const waiting = [callback];
  lookUps.set(key, waiting);
  dns.lookup(hostname, options, (...answer) => {
    lookUps.delete(key);
    for (const done of waiting) done(...answer);
  });
}

/** The body's text; blanks, one too many, when it is longer than any answer of the service. */
async function readText(response) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of response) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > LONGEST_ANSWER) return " ".repeat(LONGEST_ANSWER + 1);
  }
  if (!response.complete) throw new Error("the answer was cut off");
  try {
    return decoded(Buffer.concat(chunks));
  } catch {
    return "not UTF-8";
  }
}

/** The text of UTF-8 bytes, with its byte order mark if it has one; throws for other bytes. */
function decoded(bytes) {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
}

function parseObject(text) {
  try {
    const parsed = JSON.parse(text);
    return parsed !== null && typeof parsed === "object" && !Array.isArray(parsed) ? parsed : null;
  } catch {
    return null;
  }
}

function networkError(cause) {
  const detail = printable(asText(cause?.message || cause?.code || cause));
  return new MakegoodError({ status: null, code: "network_error", detail, retryable: true, cause });
}

/** The error of an answer. An empty `problem` is a proxy's page in between. */
function refusal(response, problem, mayBeEarly) {
  const { statusCode: status, headersDistinct: headers } = response;
  const { code, detail } = problem;
  const requestId = headers["request-id"]?.join(", ");
  return new MakegoodError({
    status,
    code: typeof code === "string" && /^[a-z0-9_]{1,64}$/.test(code) ? code : "unexpected_answer",
    detail: typeof detail === "string" && detail !== "" ? printable(detail) : `status ${status}`,
    requestId: /^[\x21-\x7e]{1,128}$/.test(requestId ?? "") ? requestId : null,
    retryable:
      status === 408 ||
      status === 429 ||
      (status >= 500 && status <= 599) ||
      (status === 409 && code === "idempotency_in_progress") ||
      (status === 404 && mayBeEarly),
    retryAfterSeconds: retryAfterSeconds(headers["retry-after"]?.join(", ") ?? ""),
  });
}

/** Text from outside as one line that is safe in a log or on a terminal, and not long. */
function printable(text) {
  const cut = [...text.slice(0, 2 * LONGEST_DETAIL)].slice(0, LONGEST_DETAIL).join("");
  const line = cut.replace(/[\t\n\r\f\v\p{Z}]/gu, " ").replace(/\p{C}/gu, "\ufffd");
  return line + (cut.length < text.length ? "…" : "");
}

/** The bytes that were signed; null when no bytes can be what was signed. */
function rawBody(body) {
  if (typeof body === "string") return /\p{Surrogate}/u.test(body) ? null : Buffer.from(body, "utf8");
  if (ArrayBuffer.isView(body)) return Buffer.from(Buffer.from(body.buffer, body.byteOffset, body.byteLength));
  if (types.isAnyArrayBuffer(body)) return Buffer.from(Buffer.from(body));
  throw new ConfigurationError(
    "body must be the raw bytes of the request. A parser ran first, or the body was not read: with Express give this route " +
      "express.raw({ type: \"*/*\" }) before express.json(), and pass request.body",
  );
}

/** The four headers: the one string of each, null when it is missing, and something else when it is malformed. */
function callbackHeaders(headers) {
  const values = { [TIMESTAMP]: [], [NONCE]: [], [SIGNATURE]: [], [NEXT_SIGNATURE]: [] };
  for (const [name, value] of headerPairs(headers)) {
    if (typeof name !== "string") continue;
    let known = name.toLowerCase();
    if (known.startsWith("http_")) known = known.slice("http_".length).replaceAll("_", "-"); // as CGI spells it
    if (Object.hasOwn(values, known)) values[known].push(...(Array.isArray(value) ? value : [value]));
  }
  return Object.fromEntries(Object.entries(values).map(([name, found]) => [name, single(found)]));
}

function headerPairs(headers) {
  if (headers === null || typeof headers !== "object") {
    throw new ConfigurationError("headers must map names to values, or be pairs of both");
  }
  // Headers of any realm or library, Map, and a list of pairs are iterable; a plain object is not.
  const pairs = typeof headers[Symbol.iterator] === "function" ? [...headers] : Object.entries(headers);
  if (!pairs.every((pair) => Array.isArray(pair) && pair.length === 2)) {
    throw new ConfigurationError("headers must map names to values, or be pairs of both");
  }
  return pairs;
}

function single(values) {
  if (values.length === 0) return null;
  if (values.length > 1) return values;
  return values[0] === undefined || values[0] === "" ? null : values[0];
}

function isSigned({ timestamp, nonce, raw, offered, secrets }) {
  let matches = false;
  for (const secret of secrets) {
    const expected = createHmac("sha256", secret).update(`${timestamp}.${nonce}.`).update(raw).digest();
    for (const signature of offered) {
      // Compared in constant time; the shape is no secret.
      if (!/^[0-9a-f]{64}$/.test(signature)) continue;
      matches = timingSafeEqual(Buffer.from(signature, "hex"), expected) || matches;
    }
  }
  return matches;
}

/** A JSON object in UTF-8, no deeper than 64, of finite numbers; of a name given twice the last counts, as everywhere. */
function callbackBody(raw) {
  let parsed = null;
  try {
    parsed = parseObject(decoded(raw));
  } catch {
    // not UTF-8
  }
  if (parsed === null || !isShallowAndFinite(parsed) || /\\ud[89a-f]/.test(JSON.stringify(parsed).replaceAll("\\\\", ""))) {
    throw new InvalidCallback("malformed_body"); // half a surrogate pair is no text either
  }
  return parsed;
}

function isShallowAndFinite(parsed) {
  let level = [parsed];
  for (let depth = 0; depth < DEEPEST_BODY; depth += 1) {
    const children = level.flatMap((node) => Object.values(node));
    if (children.some((child) => child === Infinity || child === -Infinity)) return false;
    level = children.filter((child) => child !== null && typeof child === "object");
  }
  return level.length === 0;
}
