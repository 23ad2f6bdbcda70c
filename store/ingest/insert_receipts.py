"""Inserts a batch of receipts: the idempotency key, the receipt and the outbox row of each.

PostgreSQL gets the whole batch in one statement. SQLite gets three statements for each receipt,
because a statement takes microseconds there. A key or an identity that already exists is skipped,
and the outcome says which. Runs inside the committer's transaction.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from domain.ids import EventId
from domain.receipts import NewReceipt
from domain.temporal.outbox import OutboxKind
from domain.values.timestamps import to_unix_ms
from store.crypto.tokens import new_event_id
from store.db.sql import Statements, Value
from store.ingest.requests import IngestRequest
from store.receipts.early_results.hold import HAS_HELD

_RECEIPT_COLUMNS = (
    "event_id, project_id, livemode, state, provider, provider_event_id, stripe_event_id, "
    "event_type, effect_type, internal_reference, shopify_shop_domain, occurred_at, accepted_at, "
    "timeout_at, deadline_at, flags, request_id, payload, amount, currency, customer_reference"
)
_SQLITE_KEY = """
INSERT INTO idempotency (project_id, endpoint, key, fingerprint, status, subject, created_at)
VALUES ($1, 'receipt', $2, $3, 202, $4, $5)
ON CONFLICT (project_id, endpoint, key) DO UPDATE
  SET fingerprint = excluded.fingerprint, status = 202, subject = excluded.subject,
    body = NULL, created_at = excluded.created_at
WHERE idempotency.created_at <= $6 RETURNING 1"""
_SQLITE_RECEIPT = f"""
INSERT INTO receipts ({_RECEIPT_COLUMNS})
VALUES ($1, $2, $3, 'waiting', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, '', $14, $15,
  $16, $17, $18)
ON CONFLICT (project_id, provider, provider_event_id, effect_type) DO NOTHING
RETURNING 1"""  # noqa: S608 - constants only
_SQLITE_OUTBOX = f"""
INSERT INTO outbox (event_id, kind, fields, created_at)
VALUES ($1, '{OutboxKind.START}', '{{}}', $2)"""  # noqa: S608 - constants only

# It may be an autocommitted statement, so it sets its durability itself, as
# `store.db.postgres.DURABLE`.
_POSTGRES = f"""
WITH at AS MATERIALIZED (
  SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint + $1::bigint AS ms,
  set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
    ELSE current_setting('synchronous_commit') END, true) AS durability),
given AS (
  SELECT * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[],
    $7::boolean[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[],
    $14::text[], $15::bigint[], $16::bigint[], $17::text[], $18::bytea[],
    $19::bigint[], $20::text[], $21::text[])
  AS t(event_id, project_id, key, fingerprint, livemode, provider, provider_event_id,
    stripe_event_id, event_type, effect_type, internal_reference, shopify_shop_domain, occurred_at,
    timeout_ms, request_id, payload, amount, currency, customer_reference)
  WHERE NOT $22::boolean OR (
    NOT EXISTS (SELECT 1 FROM projects AS p
      WHERE p.id = t.project_id AND p.early_results = 'hold')
    AND ({HAS_HELD.format(project_id="t.project_id")}) IS NOT TRUE)
), keys AS (
  INSERT INTO idempotency (project_id, endpoint, key, fingerprint, status, subject, created_at)
  SELECT project_id, 'receipt', key, fingerprint, 202, event_id, ms FROM given, at
  ORDER BY project_id, key
  ON CONFLICT (project_id, endpoint, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, status = 202, subject = excluded.subject,
    body = NULL, created_at = excluded.created_at
  WHERE idempotency.created_at <= excluded.created_at - $2::bigint RETURNING subject
), inserted AS (
  INSERT INTO receipts ({_RECEIPT_COLUMNS})
  SELECT event_id, project_id, livemode, 'waiting', provider, provider_event_id, stripe_event_id,
    event_type, effect_type, internal_reference, shopify_shop_domain, occurred_at, ms,
    ms + timeout_ms, ms + timeout_ms, '', request_id, payload, amount, currency, customer_reference
  FROM given, at WHERE event_id IN (SELECT subject FROM keys)
  ORDER BY project_id, provider, provider_event_id, effect_type
  ON CONFLICT (project_id, provider, provider_event_id, effect_type) DO NOTHING
  RETURNING event_id, accepted_at, timeout_at
), enqueued AS (
  INSERT INTO outbox (event_id, kind, fields, created_at)
  SELECT event_id, '{OutboxKind.START}', '{{}}', accepted_at FROM inserted
)
SELECT k.subject, i.timeout_at
FROM keys k LEFT JOIN inserted i ON i.event_id = k.subject"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class NewRow:
    """A receipt to insert under a new id. `payload` is encrypted."""

    event_id: EventId
    key: str
    fingerprint: str
    receipt: NewReceipt
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class InsertOutcome:
    """What an insert did.

    `claimed`: the event ids whose key was free. `timeout_at_ms`: those of them whose identity was
    new as well, with their `timeout_at`.
    """

    claimed: frozenset[str]
    timeout_at_ms: dict[str, int]


def new_row(request: IngestRequest) -> NewRow | None:
    """The row of a receipt, with its id. None if the request is no receipt."""
    receipt = request.value
    if not isinstance(receipt, NewReceipt):
        return None
    if request.sealed is None:
        return NewRow(new_event_id(), request.key, request.fingerprint, receipt, None)
    return NewRow(
        request.sealed.event_id, request.key, request.fingerprint, receipt, request.sealed.content
    )


async def insert_receipts(
    st: Statements,
    skew: timedelta,
    rows: list[NewRow],
    *,
    retention: timedelta,
    skips_holding: bool = False,
) -> InsertOutcome:
    """Insert the receipts. No two of `rows` have the same project and key.

    A key older than `retention` counts as free. `skips_holding`, on PostgreSQL only: leave out the
    receipts of projects that hold early results or have some, with their keys.
    """
    match st.dialect:
        case "sqlite":
            now_ms = to_unix_ms(datetime.now(UTC) + skew)
            return await _insert_one_by_one(st, now_ms, rows, retention=retention)
        case "postgresql":
            return await _insert_together(
                st, skew, rows, retention=retention, skips_holding=skips_holding
            )


async def _insert_one_by_one(
    st: Statements, now_ms: int, rows: list[NewRow], *, retention: timedelta
) -> InsertOutcome:
    claimed: set[str] = set()
    timeout_at_ms: dict[str, int] = {}
    expired_ms = now_ms - retention // timedelta(milliseconds=1)
    for row in rows:
        key = (row.receipt.project_id, row.key, row.fingerprint, row.event_id, now_ms, expired_ms)
        if not await st.fetch(_SQLITE_KEY, *key):
            continue
        claimed.add(row.event_id)
        due_ms = now_ms + _timeout_ms(row)
        instants = (to_unix_ms(row.receipt.occurred_at), now_ms, due_ms)
        if await st.fetch(_SQLITE_RECEIPT, *_identity(row), *instants, *_request_columns(row)):
            await st.fetch(_SQLITE_OUTBOX, row.event_id, now_ms)
            timeout_at_ms[row.event_id] = due_ms
    return InsertOutcome(frozenset(claimed), timeout_at_ms)


async def _insert_together(
    st: Statements,
    skew: timedelta,
    rows: list[NewRow],
    *,
    retention: timedelta,
    skips_holding: bool,
) -> InsertOutcome:
    millisecond = timedelta(milliseconds=1)
    columns = list(zip(*(_columns(row) for row in rows), strict=True))
    found = await st.fetch(
        _POSTGRES, skew // millisecond, retention // millisecond, *columns, skips_holding
    )
    timeouts = {event_id: timeout_at_ms for event_id, timeout_at_ms in found}
    new = {event_id: at_ms for event_id, at_ms in timeouts.items() if at_ms is not None}
    return InsertOutcome(frozenset(timeouts), new)


def _identity(row: NewRow) -> tuple[Value, ...]:
    receipt = row.receipt
    return (
        row.event_id,
        receipt.project_id,
        receipt.livemode,
        str(receipt.provider),
        receipt.provider_event_id,
        receipt.stripe_event_id,
        str(receipt.event_type),
        str(receipt.effect_type),
        receipt.internal_reference,
        receipt.shopify_shop_domain,
    )


def _request_columns(row: NewRow) -> tuple[Value, ...]:
    receipt = row.receipt
    risk = (receipt.amount, receipt.currency, receipt.customer_reference)
    return (receipt.request_id, row.payload, *risk)


def _columns(row: NewRow) -> tuple[Value, ...]:
    """The values of one row of `given` in `_POSTGRES`, in its order."""
    event_id, project_id, *facts = _identity(row)
    instants = (to_unix_ms(row.receipt.occurred_at), _timeout_ms(row))
    return (
        event_id,
        project_id,
        row.key,
        row.fingerprint,
        *facts,
        *instants,
        *_request_columns(row),
    )


def _timeout_ms(row: NewRow) -> int:
    return round(row.receipt.timeout_minutes * 60_000)
