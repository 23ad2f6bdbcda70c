export interface Receipt {
  accepted: true;
  event_id: string;
  timeout_at: string;
}

export interface Result {
  accepted: true;
  event_id: string;
  state: string;
}

export interface RepairCallback {
  type: "repair.requested";
  replay_id: string;
  incident_id: string;
  event_id: string;
  provider: string;
  provider_event_id: string;
  stripe_event_id?: string;
  event_type: string;
  effect_type: string;
  internal_reference: string;
  occurred_at: string;
  reason: "missing_result" | "failed_result";
  error_code: string | null;
  requested_at: string;
  livemode: boolean;
}

export class MakegoodError extends Error {
  readonly status: number | null;
  readonly code: string;
  readonly detail: string;
  readonly requestId: string | null;
  readonly retryable: boolean;
  readonly retryAfterSeconds: number | null;
}

export type InvalidReason = "missing_header" | "malformed_header" | "bad_signature" | "stale_timestamp" | "replayed_nonce";

export class InvalidCallback extends Error {
  constructor(reason: InvalidReason);
  readonly reason: InvalidReason;
}

export class Makegood {
  constructor(options: { baseUrl: string; apiKey: string; attempts?: number; timeoutMs?: number });
  receipt(fields: Record<string, unknown>, options?: { idempotencyKey?: string }): Promise<Receipt>;
  result(fields: Record<string, unknown>, options?: { idempotencyKey?: string }): Promise<Result>;
}

export class RecentNonces {
  seen: (nonce: string) => boolean;
}

export function verifyCallback(callback: {
  headers: Headers | Record<string, string | string[] | undefined>;
  body: Uint8Array | string;
  secrets: readonly string[];
  seenNonce: (nonce: string) => boolean | Promise<boolean>;
  now?: number;
}): Promise<RepairCallback>;
