"""Applies outages of ingest to the deadlines that were open during them, each outage to each
deadline once.

`store.ingest.outage_evidence` records an outage as one row. Its credit reaches a deadline in one of
two ways, with the same SQL:

1. A worker loop walks all open receipts in small batches (`credit_batch`).
2. Code that locks a receipt applies pending outages first (`credit_locked`), so that no deadline is
   judged without its credit.

`credited_outage` is the last outage that was applied to a deadline; outages are applied in order.
Decision 0018 has the reasons and the measurements.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId
from domain.incidents import TimelineEntry, TimelineKind
from domain.outage import Outage, credit_ms
from domain.receipts import Receipt, ReceiptState
from domain.values.timestamps import from_unix_ms, to_iso, to_unix_ms
from store.db.sql import SessionStatements, Statements
from store.schema.mappers import receipt_from

BATCH = 500
_OUTAGE = "SELECT id, down_from, up_at, accepted_until FROM outages WHERE done_at IS NULL"
_PENDING = f"{_OUTAGE} ORDER BY id"
# One worker at a time applies an outage, and no worker starts the next one before it is done.
_FIRST = """
SELECT id, down_from, up_at, accepted_until, cursor, has_skipped FROM outages
WHERE id = (SELECT min(id) FROM outages WHERE done_at IS NULL) AND done_at IS NULL"""
# Both conditions of `domain.outage.credit_ms`, and that the outage is not applied yet.
_RECEIPT_IS_DUE = (
    "state = 'waiting' AND credited_outage < $1 AND deadline_at > $2 AND accepted_at <= $3"
)
_REPAIR_IS_DUE = "state = 'awaiting_result' AND credited_outage < $1 AND result_deadline_at > $2"
_OF_EVENT = {
    "sqlite": "event_id IN (SELECT value FROM json_each({ids}))",
    # An array that is built once: the planner uses the index, whatever it assumes about its length.
    "postgresql": "event_id = ANY(ARRAY(SELECT json_array_elements_text(CAST({ids} AS json))))",
}
_CREDIT_RECEIPTS = f"""
UPDATE receipts SET credited_outage = $1, deadline_at = deadline_at + CAST($4 AS BIGINT)
- CASE WHEN accepted_at > $2 THEN accepted_at ELSE $2 END
WHERE {{of_event}} AND {_RECEIPT_IS_DUE} RETURNING event_id, accepted_at"""  # noqa: S608 - of constants alone
_CREDIT_REPAIRS = f"""
UPDATE repairs
SET credited_outage = $1, result_deadline_at = result_deadline_at + CAST($3 AS BIGINT)
WHERE {{of_event}} AND {_REPAIR_IS_DUE} RETURNING event_id, replay_id"""  # noqa: S608 - of constants alone
# Each element is [event_id, fields].
_INSERT_ENTRIES = {
    "sqlite": (
        """
INSERT INTO timeline (event_id, at, kind, fields)
SELECT json_extract(value, '$[0]'), $1, $2, json_extract(value, '$[1]') FROM json_each($3)"""
    ),
    "postgresql": (
        """
INSERT INTO timeline (event_id, at, kind, fields)
SELECT value ->> 0, CAST($1 AS BIGINT), CAST($2 AS TEXT), value ->> 1
  FROM json_array_elements(CAST($3 AS json))"""
    ),
}


@dataclass(frozen=True, slots=True)
class CreditStep:
    """The receipts examined and the deadlines moved by one batch.

    `is_over`: no outage is pending, or another worker applies it.
    """

    looked_at: int
    credited: int
    is_over: bool


@dataclass(frozen=True, slots=True)
class PendingCredit:
    """An outage that is not applied to every deadline yet."""

    outage: Outage
    age_seconds: float


async def pending_outages(st: Statements) -> list[Outage]:
    """The outages that are not applied to every deadline yet, oldest first; usually none."""
    return [Outage(*row) for row in await st.fetch(_PENDING)]


async def credit_locked(st: Statements, event_id: EventId) -> int:
    """Apply every pending outage to a locked receipt and its repair; returns how many deadlines
    moved.

    The outage counts as applied even where nothing moved: it does not credit a deadline that an
    operator moves later.
    """
    moved, newest = 0, 0
    for outage in await pending_outages(st):
        moved += await _credit(st, outage, [event_id])
        newest = outage.id
    for table in ("receipts", "repairs"):
        done = (
            f"UPDATE {table} SET credited_outage = $1 WHERE event_id = $2 AND credited_outage < $1"  # noqa: S608 - a constant
        )
        await st.fetch(done, newest, event_id)
    return moved


async def credit_batch(st: Statements, now: datetime, *, limit: int = BATCH) -> CreditStep:
    """Apply the oldest pending outage to the next `limit` open receipts, from where the last batch
    ended.

    Locked receipts are skipped, so that nothing waits. After the last batch the walk repeats if any
    were skipped.
    """
    lock = " FOR UPDATE SKIP LOCKED" if st.dialect == "postgresql" else ""
    found = await st.fetch(_FIRST + lock)
    if not found:
        return CreditStep(0, 0, is_over=True)
    *outage_values, cursor, skipped = found[0]
    outage, has_skipped = Outage(*outage_values), bool(skipped)
    window = await st.fetch(
        "SELECT event_id FROM receipts WHERE state IN ('waiting', 'incident') AND event_id > $1"
        " ORDER BY event_id LIMIT $2",
        cursor,
        limit,
    )
    event_ids = [event_id for (event_id,) in window]
    due = await _due(st, outage, event_ids)
    free = await _lock_free(st, due)
    credited = await _credit(st, outage, free)
    has_skipped = has_skipped or len(free) < len(due)
    if len(event_ids) == limit:
        await _save_progress(st, outage, event_ids[-1], has_skipped=has_skipped)
    elif has_skipped:
        await _save_progress(st, outage, "", has_skipped=False)
    else:
        await st.fetch("UPDATE outages SET done_at = $1 WHERE id = $2", to_unix_ms(now), outage.id)
    return CreditStep(len(event_ids), credited, is_over=False)


async def read_pending_credit(session: AsyncSession, now: datetime) -> PendingCredit | None:
    """The oldest outage that is still being applied; None without one."""
    pending = await pending_outages(SessionStatements(session))
    if not pending:
        return None
    return PendingCredit(pending[0], (to_unix_ms(now) - pending[0].up_at) / 1000)


# Any: columns, as named
async def credited_receipts(session: AsyncSession, rows: Sequence[Row[Any]]) -> list[Receipt]:
    """The receipts of these rows, with every pending outage applied to their deadlines. Writes
    nothing.
    """
    receipts = [receipt_from(row) for row in rows]
    if not any(receipt.state is ReceiptState.WAITING for receipt in receipts):
        return receipts
    pending = await pending_outages(SessionStatements(session))
    if not pending:
        return receipts
    return [
        _credited(receipt, row.credited_outage, pending)
        for receipt, row in zip(receipts, rows, strict=True)
    ]


async def pending_entries(session: AsyncSession, row: Row[Any]) -> list[TimelineEntry]:
    """The timeline entries that the pending outages will add to this row's receipt.

    Writes nothing.
    """
    before = receipt_from(row)
    entries: list[TimelineEntry] = []
    if before.state is not ReceiptState.WAITING:
        return entries
    for outage in await pending_outages(SessionStatements(session)):
        after = _credited(before, row.credited_outage, [outage])
        if after.deadline_at > before.deadline_at:
            moved_seconds = int((after.deadline_at - before.deadline_at).total_seconds())
            fields = {
                "down_from": from_unix_ms(outage.down_from),
                "credited_seconds": moved_seconds,
            }
            entries.append(
                TimelineEntry(from_unix_ms(outage.up_at), TimelineKind.DEADLINE_CREDITED, fields)
            )
        before = after
    return entries


def _credited(receipt: Receipt, credited_outage: int, pending: Sequence[Outage]) -> Receipt:
    if receipt.state is not ReceiptState.WAITING:
        return receipt
    accepted_at, deadline_at = to_unix_ms(receipt.accepted_at), to_unix_ms(receipt.deadline_at)
    for outage in pending:
        if outage.id > credited_outage:
            deadline_at += credit_ms(outage, accepted_at=accepted_at, deadline_at=deadline_at)
    return replace(receipt, deadline_at=from_unix_ms(deadline_at))


async def _due(st: Statements, outage: Outage, event_ids: Sequence[EventId]) -> list[EventId]:
    """The receipts among these with a deadline that the outage moves."""
    of_event = _of_event(st, "$4")
    repairs = f"SELECT event_id FROM repairs WHERE {of_event} AND {_REPAIR_IS_DUE}"  # noqa: S608 - of constants alone
    receipts = f"SELECT event_id FROM receipts WHERE {of_event} AND {_RECEIPT_IS_DUE}"  # noqa: S608 - of constants alone
    ids = json.dumps(event_ids)
    bounds = (outage.id, outage.down_from, outage.accepted_until)
    rows = await st.fetch(f"{receipts} UNION {repairs} ORDER BY 1", *bounds, ids)
    return [EventId(event_id) for (event_id,) in rows]


async def _lock_free(st: Statements, event_ids: list[EventId]) -> list[EventId]:
    """Lock the receipts that are not locked. On SQLite the transaction is the only writer."""
    if not event_ids or st.dialect == "sqlite":
        return event_ids
    of_event = _of_event(st, "$1")
    locked = (
        f"SELECT event_id FROM receipts WHERE {of_event} ORDER BY event_id FOR UPDATE SKIP LOCKED"  # noqa: S608
    )
    return [EventId(event_id) for (event_id,) in await st.fetch(locked, json.dumps(event_ids))]


async def _credit(st: Statements, outage: Outage, event_ids: list[EventId]) -> int:
    """Move the deadlines of locked receipts, with timeline entries; returns how many moved."""
    if not event_ids:
        return 0
    ids = json.dumps(event_ids)
    receipts = await st.fetch(
        _CREDIT_RECEIPTS.format(of_event=_of_event(st, "$5")),
        outage.id,
        outage.down_from,
        outage.accepted_until,
        outage.up_at,
        ids,
    )
    whole_ms = outage.up_at - outage.down_from
    repairs = await st.fetch(
        _CREDIT_REPAIRS.format(of_event=_of_event(st, "$4")),
        outage.id,
        outage.down_from,
        whole_ms,
        ids,
    )
    moved: list[tuple[str, int, dict[str, str]]] = []
    for event_id, accepted_ms in receipts:
        moved.append((event_id, outage.up_at - max(outage.down_from, accepted_ms), {}))
    for event_id, replay_id in repairs:
        moved.append((event_id, whole_ms, {"replay_id": replay_id}))
    await _insert_entries(st, outage, moved)
    return len(receipts) + len(repairs)


async def _insert_entries(
    st: Statements, outage: Outage, moved: Sequence[tuple[str, int, dict[str, str]]]
) -> None:
    """Insert timeline entries at the instant when ingest was up again: (receipt, milliseconds,
    further fields) each.
    """
    if not moved:
        return
    entries = []
    for event_id, moved_ms, more in moved:
        fields = more | {
            "down_from": to_iso(from_unix_ms(outage.down_from)),
            "credited_seconds": moved_ms // 1000,
        }
        entries.append([event_id, json.dumps(fields, separators=(",", ":"))])
    await st.fetch(
        _INSERT_ENTRIES[st.dialect],
        outage.up_at,
        TimelineKind.DEADLINE_CREDITED.value,
        json.dumps(entries),
    )


async def _save_progress(st: Statements, outage: Outage, cursor: str, *, has_skipped: bool) -> None:
    await st.fetch(
        "UPDATE outages SET cursor = $1, has_skipped = $2 WHERE id = $3",
        cursor,
        has_skipped,
        outage.id,
    )


def _of_event(st: Statements, ids: str) -> str:
    return _OF_EVENT[st.dialect].format(ids=ids)
