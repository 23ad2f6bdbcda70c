"""Finds the receipts and repairs whose deadline has passed, and counts overdue receipts.

Writes nothing: `store.receipts.deadlines` acts on what is found. Used by the worker's loops for
overdue incidents, dispatch and reconciliation.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, bindparam, exists, func, literal_column, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, ProjectId, ReplayId
from store.schema.tables import OUTAGES, OUTBOX, RECEIPTS, REPAIRS, STUCK_RUNS
from store.status.heartbeats import latest_ingest_beat

# From: longer than an incident normally takes to open. To: anything older is another problem.
OVERDUE_FROM_SECONDS, OVERDUE_TO_SECONDS = 2, 120
OVERDUE_LOOKED_AT = 1_000
# From this many overdue receipts on, incidents count as delayed; fewer are stray ones.
BEHIND_FROM_OVERDUE = 3
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


async def count_overdue(session: AsyncSession, now: datetime) -> int:
    """The number of receipts shortly past their deadline that have neither an incident nor an
    outbox row.

    1. Only final deadlines count: before the last heartbeat of ingest, and with every outage
       credited.
    2. Runs that are known to be stuck do not count: they say nothing about Temporal.
    3. If several projects have waiting receipts, one project alone cannot reach
       `BEHIND_FROM_OVERDUE`.

    The work is bounded: it examines the first `OVERDUE_LOOKED_AT` receipts.
    """
    since, until = (
        now - timedelta(seconds=OVERDUE_TO_SECONDS),
        now - timedelta(seconds=OVERDUE_FROM_SECONDS),
    )
    last_beat = await latest_ingest_beat(session)
    until = until if last_beat is None else min(until, last_beat)
    is_waiting = RECEIPTS.c.state == literal_column("'waiting'")
    recent = select(RECEIPTS.c.event_id, RECEIPTS.c.project_id, RECEIPTS.c.credited_outage)
    recent = recent.where(is_waiting, RECEIPTS.c.deadline_at.between(since, until)).order_by(
        RECEIPTS.c.deadline_at.desc()
    )
    part = recent.limit(OVERDUE_LOOKED_AT).subquery()
    newest_outage = (
        select(func.coalesce(func.max(OUTAGES.c.id), 0))
        .where(OUTAGES.c.done_at.is_(None))
        .scalar_subquery()
    )
    is_dispatched = ~exists().where(OUTBOX.c.event_id == part.c.event_id)
    is_known = exists().where(STUCK_RUNS.c.event_id == part.c.event_id)
    overdue = select(part.c.project_id, func.count().label("count")).where(is_dispatched, ~is_known)
    overdue = overdue.where(part.c.credited_outage >= newest_outage).group_by(part.c.project_id)
    counts = [int(found) for _, found in await session.execute(overdue)]
    if not counts:
        return 0
    of_each = BEHIND_FROM_OVERDUE - (
        min(await _count_waiting_projects(session), BEHIND_FROM_OVERDUE) - 1
    )
    return (
        sum(counts)
        if of_each == BEHIND_FROM_OVERDUE
        else sum(min(count, of_each) for count in counts)
    )


async def _count_waiting_projects(session: AsyncSession) -> int:
    """The number of projects with waiting receipts, up to `BEHIND_FROM_OVERDUE`, by the index
    `receipts_overdue`.
    """
    is_waiting = RECEIPTS.c.state == literal_column("'waiting'")
    first, found = "", 0
    while found < BEHIND_FROM_OVERDUE:
        following = select(func.min(RECEIPTS.c.project_id)).where(
            is_waiting, RECEIPTS.c.project_id > first
        )
        project_id = await session.scalar(following)
        if project_id is None:
            break
        first, found = project_id, found + 1
    return max(1, found)
