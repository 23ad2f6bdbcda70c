"""What one gathered transaction of the front door writes: keys first, then receipts, then results; a verdict for each request.

Runs inside the committer's transaction and never commits. Keys are claimed in one order in every process, and rows held in
another fixed one, so that two processes never wait for each other. A key is claimed by inserting its row: a second one finds it
and gets the stored answer, or learns that its body differs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from domain.errors import IdempotencyConflict, IdempotencyInProgress, ReceiptConflict, Refusal, ValidationFailed
from domain.ids import EventId, ProjectId
from domain.receipts import NewReceipt, states_same_facts
from domain.results import NewResult
from domain.values.timestamps import from_unix_ms, to_iso, to_unix_ms
from store.crypto.tokens import new_event_id
from store.db.database import Clock
from store.db.sql import Statements
from store.ingest.connection import LockTimeout
from store.ingest.insert_receipts import NewRow, insert_receipts
from store.receipts.matching import match_event
from store.receipts.timeline import note
from store.receipts.transitions import apply_result

ANSWERS_KEPT_FOR = timedelta(hours=24)
ACCEPTED = 202
CONFLICT = 409
UNPROCESSABLE = 422

_HOLD = "SELECT event_id FROM receipts WHERE event_id = ANY($1) ORDER BY event_id FOR UPDATE"

Endpoint: TypeAlias = Literal["receipt", "result"]


@dataclass(frozen=True, slots=True)
class PreRejected:
    """A refusal that was found in the body: given only when no answer is stored under the key, and stored if it is to be."""

    refusal: Refusal
    status: int
    is_stored: bool


@dataclass(frozen=True, slots=True)
class SealedPayload:
    """A receipt's payload, readable in the row of this event alone, whose id is the receipt's."""

    event_id: EventId
    content: bytes


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """One POST, as far as its headers and its body's shape are right.

    `fingerprint` is the hex SHA-256 of the raw body; `render` makes a refusal's body (status, bytes) for storing; `sealed` is
    a receipt's payload.
    """

    project_id: ProjectId
    endpoint: Endpoint
    key: str
    fingerprint: str
    value: NewReceipt | NewResult | PreRejected
    render: Callable[[Refusal], bytes]
    sealed: SealedPayload | None = None


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A status and a body to send; a stored refusal comes as one too. `is_replayed`: it was given before."""

    status: int
    body: bytes
    is_replayed: bool = False


Verdict: TypeAlias = StoredResponse | Exception


async def process_batch(
    st: Statements, clock: Clock, requests: list[IngestRequest], *, skips_locked: bool = False
) -> list[Verdict]:
    """Write what the requests say; their verdicts, in their order. A `Refusal` among them stored nothing.

    No two of `requests` have the same project, endpoint and key. `skips_locked`: a receipt that another process holds is not
    waited for. `LockTimeout` is then the verdict of what speaks of it, and nothing of that is stored.
    """
    verdicts: dict[int, Verdict] = {}
    order = sorted(range(len(requests)), key=lambda i: (requests[i].endpoint, requests[i].project_id, requests[i].key))
    receipts = {i: row for i in order if (row := _new_row(requests[i])) is not None}
    if receipts:
        await _take_receipts(st, clock, requests, receipts, verdicts)
    others = [i for i in order if i not in receipts]
    if others:
        now = await clock.now(st)
        claimed = {i for i in others if await _claim(st, requests[i], now)}
        events = {i: await _named_event(st, requests[i]) for i in others if i in claimed}
        locked = await _hold(
            st, sorted({event for event in events.values() if isinstance(event, str)}), skips_locked=skips_locked
        )
        for i in others:
            if events.get(i) in locked:
                await _release_key(st, requests[i])
                verdicts[i] = LockTimeout(is_of_key=False)
                continue
            take = _take_other(st, requests[i], events[i], now) if i in claimed else _stored_answer(st, requests[i], now)
            verdicts[i] = await take
    return [verdicts[i] for i in range(len(requests))]


async def _named_event(st: Statements, request: IngestRequest) -> EventId | Refusal | None:
    """The receipt that a result speaks of, or why there is none; None for what is no result."""
    if not isinstance(request.value, NewResult):
        return None
    try:
        return await match_event(st, request.value)
    except Refusal as refusal:
        return refusal


async def _hold(st: Statements, event_ids: list[EventId], *, skips_locked: bool) -> set[str]:
    """Hold the receipts in the one order that every process keeps, before any is moved; those of them that were skipped.

    SQLite's writer is alone anyway.
    """
    if st.dialect == "postgresql" and skips_locked:
        held = await st.fetch(f"{_HOLD} SKIP LOCKED", event_ids)
        return set[str](event_ids) - {row[0] for row in held}
    if st.dialect == "postgresql" and len(event_ids) > 1:
        await st.fetch(_HOLD, event_ids)
    return set()


async def try_fast_insert(st: Statements, clock: Clock, requests: list[IngestRequest]) -> dict[int, Verdict]:
    """Store those of the requests that are receipts in one statement that commits by itself; the answers of the new ones.

    The others are `process_batch`'s. A key that this claimed for a receipt whose identity was taken is left with an event that
    does not exist, and whoever finds it so next, `process_batch` or an equal request, gives it its answer.
    """
    # A dropped payload is noted on the timeline: a second statement, so that it needs a transaction.
    rows = ((i, _new_row(request)) for i, request in enumerate(requests))
    receipts = {i: row for i, row in rows if row is not None and row.receipt.payload_note is None}
    if not receipts:
        return {}
    placed = await insert_receipts(st, clock.skew, list(receipts.values()), kept_for=ANSWERS_KEPT_FOR)
    return {
        i: StoredResponse(ACCEPTED, _accepted_receipt(row.event_id, placed.timeout_at_ms[row.event_id]))
        for i, row in receipts.items()
        if row.event_id in placed.timeout_at_ms
    }


async def _take_receipts(
    st: Statements, clock: Clock, requests: list[IngestRequest], rows: dict[int, NewRow], verdicts: dict[int, Verdict]
) -> None:
    placed = await insert_receipts(st, clock.skew, list(rows.values()), kept_for=ANSWERS_KEPT_FOR)
    for i, row in rows.items():
        timeout_at_ms = placed.timeout_at_ms.get(row.event_id)
        if timeout_at_ms is not None:
            if row.receipt.payload_note is not None:
                await note(st, row.event_id, await clock.now(st), text=row.receipt.payload_note)
            verdicts[i] = StoredResponse(ACCEPTED, _accepted_receipt(row.event_id, timeout_at_ms))
        elif row.event_id in placed.claimed:
            verdicts[i] = await _repeat_of_receipt(st, requests[i], row.receipt)
        else:
            verdicts[i] = await _stored_answer(st, requests[i], await clock.now(st))


async def _repeat_of_receipt(st: Statements, request: IngestRequest, receipt: NewReceipt) -> Verdict:
    """The same identity under a new key: the first one's answer, or a conflict; either is this key's answer from now on."""
    rows = await st.fetch(
        "SELECT event_id, timeout_at, event_type, internal_reference, shopify_shop_domain FROM receipts "
        "WHERE project_id = $1 AND provider = $2 AND provider_event_id = $3 AND effect_type = $4",
        receipt.project_id,
        receipt.provider.value,
        receipt.provider_event_id,
        receipt.effect_type.value,
    )
    event_id, timeout_at_ms, event_type, internal_reference, shop_domain = rows[0]
    again = (receipt.event_type.value, receipt.internal_reference, receipt.shopify_shop_domain)
    if states_same_facts((event_type, internal_reference, shop_domain), again):
        await _keep_answer(st, request, ACCEPTED, subject=event_id)
        return StoredResponse(ACCEPTED, _accepted_receipt(event_id, timeout_at_ms))
    return await _keep_refusal(st, request, ReceiptConflict(), CONFLICT)


async def _take_other(st: Statements, request: IngestRequest, event: EventId | Refusal | None, now: datetime) -> Verdict:
    """A result, or a prepared refusal, under a key that this transaction has claimed; `event` is what the result names."""
    if isinstance(request.value, PreRejected):
        if request.value.is_stored:
            return await _keep_refusal(st, request, request.value.refusal, request.value.status)
        await _release_key(st, request)
        return request.value.refusal
    if isinstance(request.value, NewReceipt):
        raise AssertionError("receipts are taken before")
    if isinstance(event, ValidationFailed):
        return await _keep_refusal(st, request, event, UNPROCESSABLE)
    if isinstance(event, Refusal):
        await _release_key(st, request)
        return event
    applied = await apply_result(st, request.value, now, event_id=event)
    body = b'{"accepted":true,"event_id":"%s","state":"%s"}' % (applied.event_id.encode(), applied.state.value.encode())
    await _keep_answer(st, request, ACCEPTED, body=body)
    return StoredResponse(ACCEPTED, body)


async def _stored_answer(st: Statements, request: IngestRequest, now: datetime) -> Verdict:
    """What is stored under a key that was claimed before: the answer again, or a conflict when the body differs."""
    rows = await st.fetch(
        "SELECT i.fingerprint, i.status, i.body, i.subject, r.timeout_at FROM idempotency i "
        "LEFT JOIN receipts r ON r.event_id = i.subject WHERE i.project_id = $1 AND i.endpoint = $2 AND i.key = $3",
        request.project_id,
        request.endpoint,
        request.key,
    )
    if not rows:  # released by the transaction that we waited for: the same again may well be taken
        return IdempotencyInProgress(retry_after_seconds=1)
    fingerprint, status, body, event_id, timeout_at_ms = rows[0]
    if fingerprint != request.fingerprint:
        return IdempotencyConflict()
    if body is None and timeout_at_ms is None:  # claimed for an event that does not exist: nobody was answered yet
        if isinstance(request.value, NewReceipt):
            return await _repeat_of_receipt(st, request, request.value)
        return await _take_other(st, request, None, now)
    return StoredResponse(
        status, bytes(body) if body is not None else _accepted_receipt(event_id, timeout_at_ms), is_replayed=True
    )


async def _claim(st: Statements, request: IngestRequest, now: datetime) -> bool:
    """Whether the key is this request's: new, or its answer is older than answers are kept."""
    claimed = await st.fetch(
        "INSERT INTO idempotency (project_id, endpoint, key, fingerprint, status, created_at) VALUES ($1, $2, $3, $4, 0, $5) "
        "ON CONFLICT (project_id, endpoint, key) DO UPDATE SET fingerprint = excluded.fingerprint, status = 0, subject = NULL, "
        "body = NULL, created_at = excluded.created_at WHERE idempotency.created_at <= $6 RETURNING 1",
        request.project_id,
        request.endpoint,
        request.key,
        request.fingerprint,
        to_unix_ms(now),
        to_unix_ms(now - ANSWERS_KEPT_FOR),
    )
    return bool(claimed)


async def _keep_refusal(st: Statements, request: IngestRequest, refusal: Refusal, status: int) -> StoredResponse:
    body = request.render(refusal)
    await _keep_answer(st, request, status, body=body)
    return StoredResponse(status, body)


async def _keep_answer(
    st: Statements, request: IngestRequest, status: int, *, body: bytes | None = None, subject: str | None = None
) -> None:
    await st.fetch(
        "UPDATE idempotency SET status = $1, body = $2, subject = $3 WHERE project_id = $4 AND endpoint = $5 AND key = $6",
        status,
        body,
        subject,
        request.project_id,
        request.endpoint,
        request.key,
    )


async def _release_key(st: Statements, request: IngestRequest) -> None:
    await st.fetch(
        "DELETE FROM idempotency WHERE project_id = $1 AND endpoint = $2 AND key = $3",
        request.project_id,
        request.endpoint,
        request.key,
    )


def _new_row(request: IngestRequest) -> NewRow | None:
    """The row of a receipt, with its id; None for anything else."""
    receipt = request.value
    if not isinstance(receipt, NewReceipt):
        return None
    if request.sealed is None:
        return NewRow(new_event_id(), request.key, request.fingerprint, receipt, None)
    return NewRow(request.sealed.event_id, request.key, request.fingerprint, receipt, request.sealed.content)


def _accepted_receipt(event_id: str, timeout_at_ms: int) -> bytes:
    timeout_at = to_iso(from_unix_ms(timeout_at_ms))
    return f'{{"accepted":true,"event_id":"{event_id}","timeout_at":"{timeout_at}"}}'.encode()
