"""Writes one batch of requests: keys first, then receipts, then results. Each request gets a
verdict.

Runs inside the committer's transaction and never commits. Every process claims keys in one fixed
order, locks receipts in another fixed order, and groups of incidents last, so there are no
deadlocks. A key is claimed by
inserting its row. A second request with the key finds the row: it gets the stored response, or a
conflict if its body differs.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from domain.errors import (
    IdempotencyConflict,
    IdempotencyInProgress,
    ReceiptConflict,
    ReceiptNotYetKnown,
    Refusal,
    ValidationFailed,
)
from domain.ids import EventId, ProjectId
from domain.receipts import NewReceipt, effect_key, states_same_facts
from domain.results import NewResult
from domain.values.timestamps import from_unix_ms, to_iso
from store.db.database import Clock
from store.db.sql import Statements
from store.ingest.connection import LockTimeout
from store.ingest.holding import HELD_BODY, claim_held, lock_holding
from store.ingest.idempotency_keys import (
    RESPONSE_RETENTION,
    claim_key,
    release_key,
    store_refusal,
    store_response,
)
from store.ingest.insert_receipts import NewRow, insert_receipts, new_row
from store.ingest.requests import IngestRequest, PreRejected, StoredResponse, Verdict
from store.receipts.early_results.hold import hold_result
from store.receipts.expected import accept_expected, find_lacking
from store.receipts.groups.apply import apply_group_changes
from store.receipts.groups.changes import GroupChanges
from store.receipts.matching import match_event
from store.receipts.results import apply_result
from store.receipts.state import lock_receipts
from store.receipts.timeline import note

ACCEPTED = 202
CONFLICT = 409
UNPROCESSABLE = 422


async def process_batch(
    st: Statements, clock: Clock, requests: list[IngestRequest], *, skips_locked: bool = False
) -> list[Verdict]:
    """Write the requests and return their verdicts in the same order.

    A request whose verdict is a `Refusal` stored nothing. No two of `requests` have the same
    project, endpoint and key. `skips_locked`: do not wait for a receipt that another process has
    locked. The verdict of its results is then `LockTimeout`, and nothing of them is stored.
    """
    holding = await lock_holding(st, requests)
    order = sorted(range(len(requests)), key=lambda i: _claim_order(requests[i]))
    receipts = {i: row for i in order if (row := new_row(requests[i])) is not None}
    batch = _Batch(requests, receipts, {}, holding, GroupChanges())
    repeated = await _process_new_receipts(st, clock, batch) if receipts else []
    others = [i for i in order if i not in receipts]
    if others or repeated:
        await _process_others(st, batch, repeated, others, await clock.now(st), skips_locked)
    if batch.groups.causes():
        await apply_group_changes(st, batch.groups, await clock.now(st))
    return [batch.verdicts[i] for i in range(len(requests))]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Requests, receipts and verdicts by index.

    `holding` are projects that may have held results. `groups` changes at the end.
    """

    requests: list[IngestRequest]
    receipts: dict[int, NewRow]
    verdicts: dict[int, Verdict]
    holding: frozenset[ProjectId]
    groups: GroupChanges


async def _process_others(
    st: Statements,
    batch: _Batch,
    repeated: list[int],
    others: list[int],
    now: datetime,
    skips_locked: bool,
) -> None:
    """Process the receipts whose identity exists, and then all that are no receipts."""
    requests, verdicts = batch.requests, batch.verdicts
    claimed = {i for i in others if await claim_key(st, requests[i], now)}
    events = {i: await _match_receipt(st, requests[i]) for i in others if i in claimed}
    events |= {i: await find_lacking(st, batch.receipts[i].receipt) for i in repeated}
    event_ids = sorted({event for event in events.values() if isinstance(event, str)})
    skipped = await lock_receipts(st, event_ids, skips_locked=skips_locked)
    for i in (*repeated, *others):
        request = requests[i]
        if events.get(i) in skipped:
            await release_key(st, request)
            verdicts[i] = LockTimeout(is_of_key=False)
        elif i in batch.receipts:
            receipt = batch.receipts[i].receipt
            verdicts[i] = await _process_repeated_receipt(st, request, receipt, now, batch)
        elif i in claimed:
            verdicts[i] = await _process_claimed(st, request, events[i], now, batch)
        else:
            stored = await _load_response(st, request)
            # None: a receipt's key without a response, which nobody got. This is no receipt.
            verdicts[i] = stored or await _process_claimed(st, request, None, now, batch)


def _claim_order(request: IngestRequest) -> tuple[str, str, str]:
    return (request.endpoint, request.project_id, request.key)


async def _match_receipt(st: Statements, request: IngestRequest) -> EventId | Refusal | None:
    """The receipt of a result, or a refusal if there is none. None if it is no result."""
    if not isinstance(request.value, NewResult):
        return None
    try:
        return await match_event(st, request.value)
    except Refusal as refusal:
        return refusal


async def try_fast_insert(
    st: Statements, clock: Clock, requests: list[IngestRequest]
) -> dict[int, Verdict]:
    """Insert the receipts among the requests in one autocommitted statement.

    Return the responses of the new receipts, by index. All other requests need `process_batch`.

    If the identity of a receipt already exists, its idempotency key still points to the new event
    id, which does not exist. The caller must pass the request to `process_batch`, which corrects
    the key. If that fails, the next request with the same key and body corrects it.
    """
    # A dropped payload is noted on the timeline. That is a second statement and needs a
    # transaction.
    rows = ((i, new_row(request)) for i, request in enumerate(requests))
    receipts = {i: row for i, row in rows if row is not None and row.receipt.payload_note is None}
    if not receipts:
        return {}
    # A project that may have held results needs a transaction too: its receipts claim them.
    new = list(receipts.values())
    inserted = await insert_receipts(
        st, clock.skew, new, retention=RESPONSE_RETENTION, skips_holding=True
    )
    return {
        i: _receipt_response(
            row.event_id, inserted.timeout_at_ms[row.event_id], _effect_key(row.receipt)
        )
        for i, row in receipts.items()
        if row.event_id in inserted.timeout_at_ms
    }


async def _process_new_receipts(st: Statements, clock: Clock, new: _Batch) -> list[int]:
    """Insert the receipts. Return those without a response, because their identity existed.

    Their key was free, or points to an event that does not exist (`try_fast_insert`).
    """
    repeated: list[int] = []
    rows = list(new.receipts.values())
    inserted = await insert_receipts(st, clock.skew, rows, retention=RESPONSE_RETENTION)
    for i, row in new.receipts.items():
        receipt, timeout_at_ms = row.receipt, inserted.timeout_at_ms.get(row.event_id)
        if timeout_at_ms is not None:
            if receipt.payload_note is not None:
                await note(st, row.event_id, await clock.now(st), text=receipt.payload_note)
            if receipt.project_id in new.holding:
                await claim_held(st, row.event_id, receipt, await clock.now(st), new.groups)
            new.verdicts[i] = _receipt_response(row.event_id, timeout_at_ms, _effect_key(receipt))
        elif row.event_id in inserted.claimed:
            repeated.append(i)
        elif (stored := await _load_response(st, new.requests[i])) is not None:
            new.verdicts[i] = stored
        else:
            repeated.append(i)
    return repeated


async def _process_repeated_receipt(
    st: Statements,
    request: IngestRequest,
    receipt: NewReceipt,
    now: datetime,
    batch: _Batch,
) -> Verdict:
    """The response to an identity that already exists, under a new key.

    It is the response of the first receipt, or a conflict if the facts differ. It is stored for
    this key. If a source made the row, this may be the first receipt.
    """
    lacking = await find_lacking(st, receipt)
    if lacking is not None:
        await accept_expected(st, lacking, receipt, now, batch.groups)
        if receipt.project_id in batch.holding:
            await claim_held(st, lacking, receipt, now, batch.groups)
    rows = await st.fetch(
        "SELECT event_id, timeout_at, event_type, internal_reference, shopify_shop_domain "
        "FROM receipts WHERE project_id = $1 AND provider = $2 AND provider_event_id = $3 "
        "AND effect_type = $4",
        receipt.project_id,
        str(receipt.provider),
        receipt.provider_event_id,
        str(receipt.effect_type),
    )
    event_id, timeout_at_ms, event_type, internal_reference, shop_domain = rows[0]
    repeated = (str(receipt.event_type), receipt.internal_reference, receipt.shopify_shop_domain)
    if states_same_facts((event_type, internal_reference, shop_domain), repeated):
        await store_response(st, request, ACCEPTED, subject=event_id)
        return _receipt_response(event_id, timeout_at_ms, _effect_key(receipt))
    return await store_refusal(st, request, ReceiptConflict(), CONFLICT)


async def _process_claimed(
    st: Statements,
    request: IngestRequest,
    event: EventId | Refusal | None,
    now: datetime,
    batch: _Batch,
) -> Verdict:
    """Process a result or a `PreRejected` whose key this transaction has claimed.

    `event` comes from `_match_receipt`.
    """
    if isinstance(request.value, PreRejected):
        if request.value.is_stored:
            return await store_refusal(st, request, request.value.refusal, request.value.status)
        await release_key(st, request)
        return request.value.refusal
    if isinstance(request.value, NewReceipt):
        raise AssertionError("receipts are processed before")
    if isinstance(event, ValidationFailed):
        return await store_refusal(st, request, event, UNPROCESSABLE)
    is_early = isinstance(event, ReceiptNotYetKnown) and request.project_id in batch.holding
    if is_early and await hold_result(st, request.value, now):
        await store_response(st, request, ACCEPTED, body=HELD_BODY)
        return StoredResponse(ACCEPTED, HELD_BODY)
    if isinstance(event, Refusal):
        await release_key(st, request)
        return event
    applied = await apply_result(st, request.value, now, event_id=event, groups=batch.groups)
    fields = (applied.event_id.encode(), applied.state.value.encode())
    body = b'{"accepted":true,"event_id":"%s","state":"%s"}' % fields
    await store_response(st, request, ACCEPTED, body=body)
    return StoredResponse(ACCEPTED, body)


async def _load_response(st: Statements, request: IngestRequest) -> Verdict | None:
    """The stored response of a key that was claimed before, or a conflict if the body differs.

    None: the key was claimed for an event that does not exist, and nobody got a response.
    """
    rows = await st.fetch(
        "SELECT i.fingerprint, i.status, i.body, i.subject, r.timeout_at, r.provider, "
        "r.provider_event_id, r.effect_type FROM idempotency i "
        "LEFT JOIN receipts r ON r.event_id = i.subject "
        "WHERE i.project_id = $1 AND i.endpoint = $2 AND i.key = $3",
        request.project_id,
        request.endpoint,
        request.key,
    )
    if not rows:  # the transaction that we waited for released the key: a retry may succeed
        return IdempotencyInProgress(retry_after_seconds=1)
    fingerprint, status, body, event_id, timeout_at_ms, *identity = rows[0]
    if fingerprint != request.fingerprint:
        return IdempotencyConflict()
    if body is None and timeout_at_ms is None:
        return None
    if body is None:
        return _receipt_response(event_id, timeout_at_ms, effect_key(*identity), is_replayed=True)
    return StoredResponse(status, bytes(body), is_replayed=True)


def _effect_key(receipt: NewReceipt) -> str:
    return effect_key(receipt.provider, receipt.provider_event_id, receipt.effect_type)


def _receipt_response(
    event_id: str, timeout_at_ms: int, key: str, *, is_replayed: bool = False
) -> StoredResponse:
    timeout_at = to_iso(from_unix_ms(timeout_at_ms))
    # The key contains the provider's id, which may be any text.
    quoted = json.dumps(key, ensure_ascii=False)
    first = f'{{"accepted":true,"event_id":"{event_id}","timeout_at":"{timeout_at}"'
    body = f'{first},"effect_key":{quoted}}}'.encode()
    return StoredResponse(ACCEPTED, body, is_replayed)
