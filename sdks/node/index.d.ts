/** A project may add names of its own to each of these sets. */
export type Provider = "stripe" | "shopify" | (string & {});
export type EventType =
  | "checkout.session.completed"
  | "invoice.paid"
  | "customer.subscription.deleted"
  | "customer.subscription.updated"
  | "charge.refunded"
  | "charge.dispute.created"
  | "orders/paid"
  | "orders/fulfilled"
  | "customers/create"
  | "checkouts/create"
  | (string & {});
export type EffectType =
  | "access_unlock"
  | "credit_grant"
  | "seat_update"
  | "subscription_state_apply"
  | "access_revocation"
  | "credit_deduction"
  | (string & {});

export interface Receipt {
  accepted: true;
  event_id: string;
  timeout_at: string;
  /** Apply the effect at most once under this key, in the job and in the repair. */
  effect_key: string;
}

export interface Result {
  accepted: true;
  event_id: string | null;
  state: string;
}

export interface RepairCallback {
  type: "repair.requested";
  replay_id: string;
  incident_id: string;
  event_id: string;
  provider: Provider;
  provider_event_id: string;
  stripe_event_id?: string;
  event_type: EventType;
  effect_type: EffectType;
  internal_reference: string;
  occurred_at: string;
  reason: "missing_result" | "failed_result" | "missing_receipt";
  error_code: string | null;
  requested_at: string;
  livemode: boolean;
  /** Apply the effect at most once under this key, in the job and in the repair. */
  effect_key: string;
  /** In the currency's minor unit. */
  amount: number | null;
  currency: string | null;
  customer_reference: string | null;
  /** Only in a test call: answer it, and apply nothing. */
  test?: true;
}

/** A setting or an argument can never work: answer 500. It names the setting and quotes no value. */
export class ConfigurationError extends Error {}

export class MakegoodError extends Error {
  readonly status: number | null;
  readonly code: string;
  readonly detail: string;
  readonly requestId: string | null;
  readonly retryable: boolean;
  readonly retryAfterSeconds: number | null;
}

export type InvalidReason = "missing_header" | "malformed_header" | "bad_signature" | "stale_timestamp" | "malformed_body" | "replayed_nonce";

export class InvalidCallback extends Error {
  constructor(reason: InvalidReason);
  readonly reason: InvalidReason;
}

export class Makegood {
  constructor(options: { baseUrl: string | undefined; apiKey: string | undefined; attempts?: number; timeoutMs?: number });
  receipt(fields: Record<string, unknown>, options?: { idempotencyKey?: string }): Promise<Receipt>;
  result(fields: Record<string, unknown>, options?: { idempotencyKey?: string }): Promise<Result>;
}

export class RecentNonces {
  seen: (nonce: string) => boolean;
}

/** Header names to values, or pairs of both: `request.headers` of any framework, Headers of any realm, Map. */
export type CallbackHeaders = Iterable<readonly [string, unknown]> | Readonly<Record<string, unknown>>;

/** One secret, or several: a list, or one string with commas between them. A blank one is refused. */
export type Secrets = string | readonly string[] | ReadonlySet<string> | undefined;

export interface Callback {
  headers: CallbackHeaders;
  /** The raw request body, before any parsing. */
  body: ArrayBufferView | ArrayBufferLike | string;
  /** Unix seconds; the clock's when absent. */
  now?: number;
}

export interface Verification {
  secrets: Secrets;
  /** Records a nonce and says (or promises to say) whether it had been seen. */
  seenNonce: (nonce: string) => boolean | Promise<boolean>;
}

export class CallbackVerifier {
  constructor(verification: Verification);
  verify(callback: Callback): Promise<RepairCallback>;
}

export function verifyCallback(callback: Callback & Verification): Promise<RepairCallback>;
