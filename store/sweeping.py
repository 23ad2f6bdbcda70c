"""What the reconciler asks when it compares the engine's runs with the store. Writes nothing."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId
from domain.incidents import RepairState
from domain.receipts import Receipt, ReceiptState
from store import tables
from store.conversions import RECEIPT_COLUMNS, RECEIPTS, receipt_from

OUTBOX = tables.Outbox.metadata.tables["outbox"]
REPAIRS = tables.Repair.metadata.tables["repairs"]
ATTEMPTS = tables.Attempt.metadata.tables["attempts"]


async def told_and_unended(session: AsyncSession, event_ids: Collection[EventId]) -> list[EventId]:
    """Those of the receipts that have not ended and of which nothing waits in the outbox, by id: the engine must run each."""
    if not event_ids:
        return []
    is_unended = RECEIPTS.c.state.in_((ReceiptState.WAITING.value, ReceiptState.INCIDENT.value))
    is_told = ~exists().where(OUTBOX.c.event_id == RECEIPTS.c.event_id)
    rows = await session.execute(
        select(RECEIPTS.c.event_id).where(RECEIPTS.c.event_id.in_(event_ids), is_unended, is_told).order_by(RECEIPTS.c.event_id)
    )
    return [EventId(row.event_id) for row in rows]


async def overdue_untold(session: AsyncSession, now: datetime, *, grace_seconds: float, limit: int) -> list[Receipt]:
    """Receipts that wait longer than `grace_seconds` after their deadline while their start still waits in the outbox."""
    is_overdue = RECEIPTS.c.deadline_at <= now - timedelta(seconds=grace_seconds)
    is_waiting = RECEIPTS.c.state == literal_column("'waiting'")
    is_untold = exists().where(OUTBOX.c.event_id == RECEIPTS.c.event_id, OUTBOX.c.kind == "start")
    query = select(*RECEIPT_COLUMNS).where(is_waiting, is_overdue, is_untold)
    return [receipt_from(row) for row in await session.execute(query.order_by(RECEIPTS.c.deadline_at).limit(limit))]


async def stuck_repairs(
    session: AsyncSession, now: datetime, *, grace_seconds: float | None, silent_seconds: float, limit: int
) -> list[Receipt]:
    """Receipts whose active repair has passed its deadline, or has been asked for so long ago and not even tried to call.

    `grace_seconds` None: deadlines do not count now.
    """
    state, uncalled_since = REPAIRS.c.state, now - timedelta(seconds=silent_seconds)
    has_attempt = exists().where(ATTEMPTS.c.replay_id == REPAIRS.c.replay_id)
    is_stuck: ColumnElement[bool] = and_(
        state == RepairState.CALLING.value, REPAIRS.c.requested_at <= uncalled_since, ~has_attempt
    )
    if grace_seconds is not None:
        was_due = REPAIRS.c.result_deadline_at <= now - timedelta(seconds=grace_seconds)
        is_stuck = or_(is_stuck, and_(state == RepairState.AWAITING_RESULT.value, was_due))
    # Spelled out, not bound: only so do both engines see that the partial index `repairs_one_active` holds them all.
    is_active = state.in_((literal_column("'calling'"), literal_column("'awaiting_result'")))
    query = select(*RECEIPT_COLUMNS).join(REPAIRS, REPAIRS.c.event_id == RECEIPTS.c.event_id).where(is_active, is_stuck)
    return [receipt_from(row) for row in await session.execute(query.order_by(REPAIRS.c.replay_id).limit(limit))]
