"""Applies outages of ingest to the deadlines that were open during them, each outage to each
deadline once.

`store.ingest.outage_evidence` inserts one row into `outages`. Its credit moves `deadline_at` of
undecided `receipts` and `result_deadline_at` of `repairs` that await a result, by the time that
each was open during the outage. `credited_outage` in these rows is the last outage that was
applied: outages are applied in the order of their ids. There are two
ways, with the same SQL:

1. A worker loop walks all open receipts in batches (`credit_batch`). `outages.cursor` is how far
   the walk came. When it ends, `done_at` is set, and the next outage begins.
2. Code that locks a receipt applies pending outages to it first (`credit_locked`), so that no
   deadline is judged without its credit.

`store.receipts.pending_credit` reads what is not applied yet. Decision 0018 has the reasons and the
measurements.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.ids import EventId
from domain.incidents import TimelineKind
from domain.outage import Outage
from domain.values.timestamps import from_unix_ms, to_iso, to_unix_ms
from store.db.sql import Statements, among, lock_free_rows
from store.receipts.pending_credit import pending_outages
from store.schema.tables import RECEIPT_IS_UNDECIDED, RECEIPT_IS_UNENDED

BATCH = 500
# One worker at a time applies an outage, and no worker starts the next one before it is done.
_OLDEST_PENDING = """
SELECT id, down_from, up_at, accepted_until, cursor, has_skipped FROM outages
WHERE id = (SELECT min(id) FROM outages WHERE done_at IS NULL) AND done_at IS NULL"""
# That the outage is not applied yet, and both conditions of `domain.outage.credit_ms`. $1 is the
# outage's id, $2 `down_from`, $3 `accepted_until`.
_RECEIPT_GETS_CREDIT = (
    f"{RECEIPT_IS_UNDECIDED} AND credited_outage < $1 AND deadline_at > $2 AND accepted_at <= $3"
)
_REPAIR_GETS_CREDIT = (
    "state = 'awaiting_result' AND credited_outage < $1 AND result_deadline_at > $2"
)
_CREDIT_RECEIPTS = f"""
UPDATE receipts SET credited_outage = $1, deadline_at = deadline_at + CAST($4 AS BIGINT)
- CASE WHEN accepted_at > $2 THEN accepted_at ELSE $2 END
WHERE {{of_event}} AND {_RECEIPT_GETS_CREDIT} RETURNING event_id, accepted_at"""  # noqa: S608 - of constants alone
_CREDIT_REPAIRS = f"""
UPDATE repairs
SET credited_outage = $1, result_deadline_at = result_deadline_at + CAST($3 AS BIGINT)
WHERE {{of_event}} AND {_REPAIR_GETS_CREDIT} RETURNING event_id, replay_id"""  # noqa: S608 - of constants alone
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
    """The number of receipts that one batch examined, and of deadlines that it moved.

    `is_over`: no outage is pending, or another worker applies it.
    """

    looked_at: int
    credited: int
    is_over: bool


@dataclass(frozen=True, slots=True)
class _Walk:
    """The walk of one outage over all open receipts.

    `cursor` is the last event id of the previous batch. `has_skipped`: locked receipts were skipped
    since the walk began.
    """

    outage: Outage
    cursor: str
    has_skipped: bool


async def credit_batch(st: Statements, now: datetime, *, limit: int = BATCH) -> CreditStep:
    """Apply the oldest pending outage to the next `limit` open receipts.

    1. Lock the outage's row, and read how far its walk came.
    2. Find the receipts after that, and lock those with a deadline to move.
    3. Move their deadlines, with timeline entries.
    4. Save how far the walk came. After the last batch it begins again if locked receipts were
       skipped; otherwise the outage is done.

    No step waits for a lock.
    """
    walk = await _lock_oldest_walk(st)
    if walk is None:
        return CreditStep(0, 0, is_over=True)
    event_ids = await _next_open_receipts(st, walk, limit)
    due = await _receipts_with_credit(st, walk.outage, event_ids)
    locked = await _lock_without_waiting(st, due)
    credited = await _move_deadlines(st, walk.outage, locked)
    has_skipped = walk.has_skipped or len(locked) < len(due)
    if len(event_ids) == limit:
        await _save_walk(st, _Walk(walk.outage, event_ids[-1], has_skipped))
    elif has_skipped:
        await _save_walk(st, _Walk(walk.outage, "", has_skipped=False))
    else:
        done = "UPDATE outages SET done_at = $1 WHERE id = $2"
        await st.fetch(done, to_unix_ms(now), walk.outage.id)
    return CreditStep(len(event_ids), credited, is_over=False)


async def credit_locked(st: Statements, event_id: EventId) -> int:
    """Apply every pending outage to a locked receipt and its repair; returns how many deadlines
    moved.

    The outages count as applied even where nothing moved. So they do not credit a deadline that an
    operator moves later.
    """
    moved, newest = 0, 0
    for outage in await pending_outages(st):
        moved += await _move_deadlines(st, outage, [event_id])
        newest = outage.id
    for table in ("receipts", "repairs"):
        applied = (
            f"UPDATE {table} SET credited_outage = $1 WHERE event_id = $2 AND credited_outage < $1"  # noqa: S608 - a constant
        )
        await st.fetch(applied, newest, event_id)
    return moved


async def _lock_oldest_walk(st: Statements) -> _Walk | None:
    """Lock the oldest pending outage; None if there is none, or another worker has locked it."""
    found = await st.fetch(_OLDEST_PENDING + lock_free_rows(st.dialect))
    if not found:
        return None
    *outage_values, cursor, has_skipped = found[0]
    return _Walk(Outage(*outage_values), cursor, bool(has_skipped))


async def _next_open_receipts(st: Statements, walk: _Walk, limit: int) -> list[EventId]:
    rows = await st.fetch(
        f"SELECT event_id FROM receipts WHERE {RECEIPT_IS_UNENDED} AND event_id > $1"  # noqa: S608
        " ORDER BY event_id LIMIT $2",
        walk.cursor,
        limit,
    )
    return [EventId(event_id) for (event_id,) in rows]


async def _receipts_with_credit(
    st: Statements, outage: Outage, event_ids: Sequence[EventId]
) -> list[EventId]:
    """The receipts among these with a deadline that the outage moves, their own or a repair's."""
    of_event = _of_event(st, "$4")
    repairs = f"SELECT event_id FROM repairs WHERE {of_event} AND {_REPAIR_GETS_CREDIT}"  # noqa: S608 - of constants alone
    receipts = f"SELECT event_id FROM receipts WHERE {of_event} AND {_RECEIPT_GETS_CREDIT}"  # noqa: S608 - of constants alone
    ids = json.dumps(event_ids)
    bounds = (outage.id, outage.down_from, outage.accepted_until)
    rows = await st.fetch(f"{receipts} UNION {repairs} ORDER BY 1", *bounds, ids)
    return [EventId(event_id) for (event_id,) in rows]


async def _lock_without_waiting(st: Statements, event_ids: list[EventId]) -> list[EventId]:
    """Lock those of the receipts that no other transaction has locked.

    On SQLite the transaction is the only writer.
    """
    if not event_ids or st.dialect == "sqlite":
        return event_ids
    given = f"SELECT event_id FROM receipts WHERE {_of_event(st, '$1')} ORDER BY event_id"  # noqa: S608 - of constants alone
    locked = await st.fetch(given + lock_free_rows(st.dialect), json.dumps(event_ids))
    return [EventId(event_id) for (event_id,) in locked]


async def _move_deadlines(st: Statements, outage: Outage, event_ids: list[EventId]) -> int:
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
    """Insert a timeline entry for each moved deadline, dated at the end of the outage.

    `moved` has the event id, the milliseconds and further fields of each.
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


async def _save_walk(st: Statements, walk: _Walk) -> None:
    await st.fetch(
        "UPDATE outages SET cursor = $1, has_skipped = $2 WHERE id = $3",
        walk.cursor,
        walk.has_skipped,
        walk.outage.id,
    )


def _of_event(st: Statements, ids: str) -> str:
    return f"event_id {among(st.dialect, ids)}"
