"""Deadlines that have passed by the store's clock: whether one counts now, and which receipts and
repairs are overdue.

The lifecycle activities and the worker's own loop (`worker.loops.overdue`) judge deadlines with the
same functions, inside the transaction that acts on them. Nothing here calls Temporal.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, bindparam, literal_column, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, ProjectId, ReplayId
from domain.lifecycle import LifecycleState
from domain.outage import grace_ms, is_ingest_down
from store.db.sql import SessionStatements
from store.receipts.repairs import fail_overdue_repair
from store.receipts.state import load_snapshot
from store.receipts.transitions import NotYet, Opened, Settled, open_incident
from store.schema import tables
from store.schema.mappers import RECEIPTS
from store.status.heartbeats import read_ingest_beats

REPAIRS = tables.Repair.metadata.tables["repairs"]
# The projects by id, and the longest overdue receipts of each: a loose index scan of
# `receipts_overdue`.
_OWNERS = """
WITH RECURSIVE owners(id, place) AS (
    SELECT min(project_id), 1 FROM receipts{by_index} WHERE state = 'waiting'
      AND project_id > :after
    UNION ALL
    SELECT (SELECT min(project_id) FROM receipts{by_index} WHERE state = 'waiting'
      AND project_id > owners.id), place + 1
    FROM owners WHERE owners.id IS NOT NULL AND place < :projects
)
SELECT owners.id AS project_id, place, due.event_id, due.deadline_at FROM owners """
_OF_OWNER = """
    FROM receipts WHERE project_id = owners.id AND state = 'waiting' AND deadline_at <= :until
    ORDER BY deadline_at, event_id LIMIT :of_each"""
# PostgreSQL scans the whole table for such an IN. SQLite has no LATERAL, and would choose an index
# of all receipts.
_OF_EACH = {
    "postgresql": (
        f"{_OWNERS.format(by_index='')} LEFT JOIN LATERAL (SELECT event_id, deadline_at"
        f" {_OF_OWNER}) AS due ON true"
    ),
    "sqlite": (
        f"{_OWNERS.format(by_index=' INDEXED BY receipts_overdue')} "
        f"LEFT JOIN receipts AS due ON due.event_id IN (SELECT event_id {_OF_OWNER})"
    ),
}


@dataclass(frozen=True, slots=True)
class OverdueReceipt:
    """A waiting receipt whose deadline has passed."""

    event_id: EventId
    project_id: ProjectId
    deadline_at: datetime


@dataclass(frozen=True, slots=True)
class OverdueOfEach:
    """The longest overdue receipts of each project, by project. `last` is the last project, None
    after the end.
    """

    receipts: list[OverdueReceipt]
    last: ProjectId | None


@dataclass(frozen=True, slots=True)
class OverdueRepair:
    """A repair that awaits its result after its deadline."""

    event_id: EventId
    project_id: ProjectId
    replay_id: ReplayId


async def open_due_incident(
    session: AsyncSession, event_id: EventId, now: datetime, *, outage_seconds: int
) -> Opened | Settled | NotYet:
    """Open the incident of a receipt if its deadline counts now; `NotYet` says when to ask again.

    Raises:
        NotFound: no such receipt.
    """
    remaining_ms = await remaining_grace_ms(session, event_id, now, outage_seconds=outage_seconds)
    return (
        NotYet(remaining_ms)
        if remaining_ms is not None
        else await open_incident(SessionStatements(session), event_id, now)
    )


async def fail_due_repair(
    session: AsyncSession,
    event_id: EventId,
    replay_id: ReplayId,
    now: datetime,
    *,
    outage_seconds: int,
) -> LifecycleState | NotYet:
    """Fail a repair if the deadline of its result counts now; returns the receipt's state.

    Raises:
        NotFound: no such receipt.
    """
    remaining_ms = await remaining_grace_ms(session, event_id, now, outage_seconds=outage_seconds)
    if remaining_ms is not None:
        return NotYet(remaining_ms)
    return await fail_overdue_repair(SessionStatements(session), event_id, replay_id, now)


async def remaining_grace_ms(
    session: AsyncSession, event_id: EventId, now: datetime, *, outage_seconds: int
) -> int | None:
    """Milliseconds that a passed deadline waits while ingest is down; None when it counts now.

    Call it in the transaction that acts on the answer. An outage is recorded in the transaction
    that writes the next heartbeat, so a heartbeat that is visible here comes with its credit.

    Raises:
        NotFound: no such receipt.
    """
    beats = await read_ingest_beats(session)
    if not is_ingest_down(beats, now, outage_seconds=outage_seconds):
        return None
    snapshot = await load_snapshot(SessionStatements(session), event_id)
    due_at = {
        LifecycleState.WAITING: snapshot.deadline_at,
        LifecycleState.AWAITING_RESULT: snapshot.result_deadline_at,
    }.get(snapshot.position)
    return (
        None
        if due_at is None
        else grace_ms(beats, now, due_at=due_at, outage_seconds=outage_seconds)
    )


async def deadlines_count_until(
    session: AsyncSession, now: datetime, *, outage_seconds: int
) -> datetime:
    """Deadlines up to this instant count now: `now`, or the last heartbeat while ingest is down."""
    beats = await read_ingest_beats(session)
    is_down = beats is not None and is_ingest_down(beats, now, outage_seconds=outage_seconds)
    return beats.last_at if beats is not None and is_down else now


async def overdue_of_each(
    session: AsyncSession, until: datetime, *, after: ProjectId | None, projects: int, of_each: int
) -> OverdueOfEach:
    """The longest overdue receipts of at most `projects` projects, from the one after `after`.

    At most `of_each` of a project, so that one project adds no work for the others.
    """
    values = {"after": after or "", "until": until, "projects": projects, "of_each": of_each}
    query = text(_OF_EACH[session.get_bind().dialect.name])
    query = query.bindparams(bindparam("until", type_=RECEIPTS.c.deadline_at.type))
    typed = query.columns(
        project_id=RECEIPTS.c.project_id.type,
        event_id=RECEIPTS.c.event_id.type,
        deadline_at=RECEIPTS.c.deadline_at.type,
    )
    rows = [row for row in await session.execute(typed, values) if row.project_id is not None]
    rows.sort(key=lambda row: (row.place, row.deadline_at or until, row.event_id or ""))
    found = [
        OverdueReceipt(EventId(row.event_id), ProjectId(row.project_id), row.deadline_at)
        for row in rows
        if row.event_id
    ]
    is_end = not rows or rows[-1].place < projects
    return OverdueOfEach(found, None if is_end else ProjectId(rows[-1].project_id))


async def overdue_receipts(
    session: AsyncSession,
    until: datetime,
    *,
    after: OverdueReceipt | None,
    limit: int,
    project_id: ProjectId | None = None,
) -> list[OverdueReceipt]:
    """Waiting receipts with a deadline at `until` or before, the longest overdue first, from the
    one after `after`.

    Uses the partial index `receipts_due`, or `receipts_overdue` for one project.
    """
    deadline_at, event_id = RECEIPTS.c.deadline_at, RECEIPTS.c.event_id
    query = select(event_id, RECEIPTS.c.project_id, deadline_at)
    query = query.where(RECEIPTS.c.state == literal_column("'waiting'"), deadline_at <= until)
    if project_id is not None:
        query = query.where(RECEIPTS.c.project_id == project_id)
    if after is not None:
        is_later = or_(deadline_at > after.deadline_at, event_id > after.event_id)
        query = query.where(deadline_at >= after.deadline_at, is_later)
    rows = await session.execute(query.order_by(deadline_at, event_id).limit(limit))
    return [
        OverdueReceipt(EventId(row.event_id), ProjectId(row.project_id), row.deadline_at)
        for row in rows
    ]


async def overdue_repairs(
    session: AsyncSession, until: datetime, *, after: OverdueRepair | None, limit: int
) -> list[OverdueRepair]:
    """Repairs whose result was due at `until` or before, by id, from the one after `after`.

    Uses the partial index `repairs_one_active`, which holds active repairs only.
    """
    # Literals, not bound values: otherwise neither database uses the partial index.
    is_active = REPAIRS.c.state.in_(
        (literal_column("'calling'"), literal_column("'awaiting_result'"))
    )
    is_overdue = and_(
        is_active, REPAIRS.c.state == "awaiting_result", REPAIRS.c.result_deadline_at <= until
    )
    query = select(REPAIRS.c.event_id, RECEIPTS.c.project_id, REPAIRS.c.replay_id)
    query = query.join(RECEIPTS, RECEIPTS.c.event_id == REPAIRS.c.event_id).where(is_overdue)
    if after is not None:
        query = query.where(REPAIRS.c.replay_id > after.replay_id)
    rows = await session.execute(query.order_by(REPAIRS.c.replay_id).limit(limit))
    return [
        OverdueRepair(EventId(row.event_id), ProjectId(row.project_id), ReplayId(row.replay_id))
        for row in rows
    ]
