"""Compares Temporal's progress with the store: lost runs, late starts, stuck repairs,
and how many incidents are late.

Used by `worker.loops.reconcile` and `worker.loops.dispatch`. Writes nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, exists, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from domain.ids import EventId, ProjectId
from domain.incidents import RepairState
from domain.receipts import Receipt, ReceiptState
from domain.temporal.outbox import OutboxKind
from store.receipts.reconcile.stalled_repairs import is_stalled
from store.schema.mappers import RECEIPT_COLUMNS, receipt_from
from store.schema.tables import (
    OUTBOX,
    RECEIPT_IS_UNENDED,
    RECEIPTS,
    REPAIR_IS_ACTIVE,
    REPAIRS,
)

_OPEN = (
    ReceiptState.EXPECTED.value,
    ReceiptState.WAITING.value,
    ReceiptState.INCIDENT.value,
)


@dataclass(frozen=True, slots=True)
class OpenReceipt:
    """A receipt that has not ended."""

    event_id: EventId
    project_id: ProjectId


async def open_receipts(
    session: AsyncSession, *, after: EventId | None, limit: int
) -> list[tuple[EventId, ReceiptState]]:
    """Open receipts by id, from the one after `after`."""
    is_open = text(RECEIPT_IS_UNENDED)
    query = select(RECEIPTS.c.event_id, RECEIPTS.c.state).where(
        is_open, RECEIPTS.c.event_id > (after or "")
    )
    rows = await session.execute(query.order_by(RECEIPTS.c.event_id).limit(limit))
    return [(EventId(row.event_id), ReceiptState(row.state)) for row in rows]


async def dispatched_and_open(
    session: AsyncSession, event_ids: Collection[EventId]
) -> list[EventId]:
    """The open receipts among these without an outbox row, by id: each must have a run in
    Temporal.
    """
    if not event_ids:
        return []
    is_open = RECEIPTS.c.state.in_(_OPEN)
    is_dispatched = ~exists().where(OUTBOX.c.event_id == RECEIPTS.c.event_id)
    rows = await session.execute(
        select(RECEIPTS.c.event_id)
        .where(RECEIPTS.c.event_id.in_(event_ids), is_open, is_dispatched)
        .order_by(RECEIPTS.c.event_id)
    )
    return [EventId(row.event_id) for row in rows]


async def undispatched_starts(
    session: AsyncSession, now: datetime, *, older_than_seconds: float, after: int, limit: int
) -> tuple[list[OpenReceipt], int]:
    """Overdue receipts whose start has waited that long in the outbox, and the outbox id where the
    next call continues.

    The id is 0 after the last row. Examines at most `limit` starts, from the row after `after`.
    """
    before = now - timedelta(seconds=older_than_seconds)
    starts = select(OUTBOX.c.id, OUTBOX.c.event_id, OUTBOX.c.created_at).where(
        OUTBOX.c.id > after, OUTBOX.c.kind == OutboxKind.START.value
    )
    part = starts.order_by(OUTBOX.c.id).limit(limit).subquery()
    query = select(
        part.c.id,
        part.c.created_at,
        RECEIPTS.c.event_id,
        RECEIPTS.c.project_id,
        RECEIPTS.c.state,
        RECEIPTS.c.deadline_at,
    )
    rows = (
        await session.execute(
            query.outerjoin(RECEIPTS, RECEIPTS.c.event_id == part.c.event_id).order_by(part.c.id)
        )
    ).all()
    found = [
        OpenReceipt(EventId(row.event_id), ProjectId(row.project_id))
        for row in rows
        if row.state in _OPEN and row.created_at <= before and row.deadline_at <= before
    ]
    return found, rows[-1].id if len(rows) == limit else 0


async def stuck_repairs(
    session: AsyncSession,
    now: datetime,
    *,
    grace_seconds: float | None,
    silent_seconds: float,
    limit: int,
    after: EventId | None = None,
) -> list[OpenReceipt]:
    """Receipts whose active repair is past its deadline, or has an attempt that is overdue by
    `silent_seconds`.

    Ordered by id, from the one after `after`. With `grace_seconds` None, deadlines do not count
    now.
    """
    state, is_stuck = REPAIRS.c.state, await is_stalled(session, now, grace_seconds=silent_seconds)
    if grace_seconds is not None:
        was_due = REPAIRS.c.result_deadline_at <= now - timedelta(seconds=grace_seconds)
        is_stuck = or_(is_stuck, and_(state == RepairState.AWAITING_RESULT.value, was_due))
    # Literals, not bound values: otherwise neither database uses the partial index
    # `repairs_one_active`.
    is_active = text(f"repairs.{REPAIR_IS_ACTIVE}")
    query = select(RECEIPTS.c.event_id, RECEIPTS.c.project_id).join(
        REPAIRS, REPAIRS.c.event_id == RECEIPTS.c.event_id
    )
    query = query.where(is_active, is_stuck, RECEIPTS.c.event_id > (after or ""))
    rows = await session.execute(query.order_by(RECEIPTS.c.event_id).limit(limit))
    return [OpenReceipt(EventId(row.event_id), ProjectId(row.project_id)) for row in rows]


async def read_receipt(session: AsyncSession, event_id: EventId) -> Receipt:
    """The receipt, for starting its workflow.

    Raises:
        NotFound: no such receipt.
    """
    row = (
        await session.execute(select(*RECEIPT_COLUMNS).where(RECEIPTS.c.event_id == event_id))
    ).first()
    if row is None:
        raise NotFound
    return receipt_from(row)
