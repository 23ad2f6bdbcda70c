"""Deadlines that have passed by the store's clock: whether one counts now, and which receipts and repairs are past theirs.

The ledger's activities and the worker's own loop (`worker.overdue`) judge a deadline by the same functions, inside the
transaction that acts on it. Nothing here asks Temporal.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, ProjectId, ReplayId
from domain.lifecycle import Position
from domain.outages import hold_ms, is_silent
from store import tables
from store.conversions import RECEIPTS
from store.heartbeats import read_ingest_beats
from store.moves import NotYet, Opened, Settled, open_incident
from store.repairs import fail_overdue_repair
from store.standing import read_standing
from store.statements import SessionStatements

REPAIRS = tables.Repair.metadata.tables["repairs"]


@dataclass(frozen=True, slots=True)
class OverdueReceipt:
    """A receipt that waits though its deadline has passed."""

    event_id: EventId
    project_id: ProjectId
    deadline_at: datetime


@dataclass(frozen=True, slots=True)
class OverdueRepair:
    """A repair whose result is awaited though its deadline has passed."""

    event_id: EventId
    project_id: ProjectId
    replay_id: ReplayId


async def open_due_incident(
    session: AsyncSession, event_id: EventId, now: datetime, *, outage_seconds: int
) -> Opened | Settled | NotYet:
    """Open the incident of a receipt whose deadline counts now; `NotYet` says when to ask again.

    Raises:
        NotFound: no such receipt.
    """
    held_ms = await held_for_ms(session, event_id, now, outage_seconds=outage_seconds)
    return NotYet(held_ms) if held_ms is not None else await open_incident(SessionStatements(session), event_id, now)


async def fail_due_repair(
    session: AsyncSession, event_id: EventId, replay_id: ReplayId, now: datetime, *, outage_seconds: int
) -> Position | NotYet:
    """Fail a repair whose deadline for its result counts now; where the receipt stands then.

    Raises:
        NotFound: no such receipt.
    """
    held_ms = await held_for_ms(session, event_id, now, outage_seconds=outage_seconds)
    if held_ms is not None:
        return NotYet(held_ms)
    return await fail_overdue_repair(SessionStatements(session), event_id, replay_id, now)


async def held_for_ms(session: AsyncSession, event_id: EventId, now: datetime, *, outage_seconds: int) -> int | None:
    """How long to leave a deadline alone that is due while ingest is silent; None when it counts now.

    Asked in the transaction that acts: an outage is credited in the transaction that beats, so that a beat which is
    seen here has its credit with it.

    Raises:
        NotFound: no such receipt.
    """
    beats = await read_ingest_beats(session)
    if not is_silent(beats, now, outage_seconds=outage_seconds):
        return None
    standing = await read_standing(SessionStatements(session), event_id)
    due_at = {
        Position.WAITING: standing.deadline_at,
        Position.AWAITING_RESULT: standing.result_deadline_at,
    }.get(standing.position)
    return None if due_at is None else hold_ms(beats, now, due_at=due_at, outage_seconds=outage_seconds)


async def deadlines_count_until(session: AsyncSession, now: datetime, *, outage_seconds: int) -> datetime:
    """Deadlines up to here count now: all of the past, or, while ingest is silent, those up to its last word."""
    beats = await read_ingest_beats(session)
    is_held = beats is not None and is_silent(beats, now, outage_seconds=outage_seconds)
    return beats.last_at if beats is not None and is_held else now


async def overdue_receipts(
    session: AsyncSession, until: datetime, *, after: OverdueReceipt | None, limit: int
) -> list[OverdueReceipt]:
    """Receipts that wait though their deadline was at `until` or before, the longest overdue first, from the one after `after`.

    By the partial index `receipts_due`.
    """
    deadline_at, event_id = RECEIPTS.c.deadline_at, RECEIPTS.c.event_id
    query = select(event_id, RECEIPTS.c.project_id, deadline_at)
    query = query.where(RECEIPTS.c.state == literal_column("'waiting'"), deadline_at <= until)
    if after is not None:
        is_later = or_(deadline_at > after.deadline_at, event_id > after.event_id)
        query = query.where(deadline_at >= after.deadline_at, is_later)
    rows = await session.execute(query.order_by(deadline_at, event_id).limit(limit))
    return [OverdueReceipt(EventId(row.event_id), ProjectId(row.project_id), row.deadline_at) for row in rows]


async def overdue_repairs(
    session: AsyncSession, until: datetime, *, after: OverdueRepair | None, limit: int
) -> list[OverdueRepair]:
    """Repairs whose result was due at `until` or before, in the order of their ids, from the one after `after`.

    By the partial index `repairs_one_active`, which holds the few that are active.
    """
    # Spelled out, not bound: only so do both engines see that the partial index holds them all.
    is_active = REPAIRS.c.state.in_((literal_column("'calling'"), literal_column("'awaiting_result'")))
    is_overdue = and_(is_active, REPAIRS.c.state == "awaiting_result", REPAIRS.c.result_deadline_at <= until)
    query = select(REPAIRS.c.event_id, RECEIPTS.c.project_id, REPAIRS.c.replay_id)
    query = query.join(RECEIPTS, RECEIPTS.c.event_id == REPAIRS.c.event_id).where(is_overdue)
    if after is not None:
        query = query.where(REPAIRS.c.replay_id > after.replay_id)
    rows = await session.execute(query.order_by(REPAIRS.c.replay_id).limit(limit))
    return [OverdueRepair(EventId(row.event_id), ProjectId(row.project_id), ReplayId(row.replay_id)) for row in rows]
