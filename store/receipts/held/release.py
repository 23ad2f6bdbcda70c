"""Releases held repairs, in the order of their requests, when their hold has ended.

1. `end_due_holds` ends the holds whose `until` has passed.
2. `holds_to_release` are those that ended and may still hold repairs.
3. `release_repair` moves one repair to another hold that matches, or lets it begin and enqueues its
   signal.
4. `mark_released` marks a hold that holds nothing any more.

Each step is safe to run twice, and in several processes at once. Called by `worker.repairing`.
"""

from datetime import datetime

from sqlalchemy import exists, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, HoldId, ProjectId, ReplayId
from domain.lifecycle import LifecycleState, Trigger
from domain.temporal.outbox import OutboxKind
from domain.values.timestamps import to_unix_ms
from store.db.sql import Statements
from store.receipts.held.holds import lock_matching_hold
from store.receipts.outbox import enqueue_signal
from store.receipts.state import lock_receipt
from store.receipts.timeline import note
from store.receipts.transitions import apply_transition
from store.schema.tables import (
    HOLD_IS_ACTIVE,
    HOLD_IS_RELEASING,
    HOLDS,
    REPAIR_IS_HELD,
    REPAIRS,
)

RELEASED = "No hold matches any more: the repair begins."


async def end_due_holds(session: AsyncSession, now: datetime, *, limit: int) -> int:
    """End the holds whose `until` has passed; returns how many."""
    due = select(HOLDS.c.id).where(text(HOLD_IS_ACTIVE), HOLDS.c.until_at <= now)
    due = due.order_by(HOLDS.c.until_at).limit(limit)
    ended = update(HOLDS).where(HOLDS.c.id.in_(due), HOLDS.c.ended_at.is_(None))
    rows = await session.execute(ended.values(ended_at=HOLDS.c.until_at).returning(HOLDS.c.id))
    return len(rows.all())


async def holds_to_release(
    session: AsyncSession, *, after: HoldId | None, limit: int
) -> list[tuple[HoldId, ProjectId]]:
    """Ended holds that may hold repairs, by id, from the one after `after`."""
    query = select(HOLDS.c.id, HOLDS.c.project_id).where(
        text(HOLD_IS_RELEASING), HOLDS.c.id > (after or "")
    )
    rows = await session.execute(query.order_by(HOLDS.c.id).limit(limit))
    return [(HoldId(row.id), ProjectId(row.project_id)) for row in rows]


async def held_repairs(
    session: AsyncSession, hold_id: HoldId, *, limit: int
) -> list[tuple[EventId, ReplayId]]:
    """The repairs of the hold in the order of their requests."""
    query = select(REPAIRS.c.event_id, REPAIRS.c.replay_id).where(
        REPAIRS.c.hold_id == hold_id, text(REPAIR_IS_HELD)
    )
    rows = await session.execute(query.order_by(REPAIRS.c.replay_id).limit(limit))
    return [(EventId(row.event_id), ReplayId(row.replay_id)) for row in rows]


async def release_repair(
    st: Statements, event_id: EventId, replay_id: ReplayId, now: datetime
) -> bool:
    """Let a held repair begin, unless another hold matches; returns whether it began.

    Raises:
        NotFound: no such receipt.
    """
    snapshot = await lock_receipt(st, event_id)
    if snapshot.state is not LifecycleState.HELD or snapshot.active_replay_id != replay_id:
        return False
    other = await lock_matching_hold(st, event_id, now)
    if other is not None:
        moved = "UPDATE repairs SET hold_id = $1 WHERE replay_id = $2 AND state = 'held'"
        await st.fetch(moved, other, replay_id)
        return False
    await apply_transition(st, snapshot, Trigger.HOLD_ENDED, now)
    released = "UPDATE repairs SET released_at = $1 WHERE replay_id = $2 RETURNING requested_by"
    ((requested_by,),) = await st.fetch(released, to_unix_ms(now), replay_id)
    await note(st, event_id, now, text=RELEASED, replay_id=replay_id)
    await enqueue_signal(
        st, event_id, OutboxKind.REPROCESS, now, replay_id=replay_id, requested_by=requested_by
    )
    return True


async def mark_released(session: AsyncSession, hold_id: HoldId, now: datetime) -> None:
    """Mark an ended hold as released, unless it holds a repair."""
    holds_any = exists().where(REPAIRS.c.hold_id == hold_id, text(f"repairs.{REPAIR_IS_HELD}"))
    is_it = (HOLDS.c.id == hold_id, HOLDS.c.ended_at.is_not(None), HOLDS.c.released_at.is_(None))
    await session.execute(update(HOLDS).where(*is_it, ~holds_any).values(released_at=now))
