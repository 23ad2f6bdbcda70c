"""Finds the receipts and repairs whose deadline has passed.

Normally a run opens its incident at the deadline. These rows show that a run is late or lost:

1. `receipts` in state `expected` or `waiting` with `deadline_at` in the past:
   `overdue_receipts_by_project` finds the first few of every project, `overdue_receipts` the
   others.
2. `repairs` in state `awaiting_result` with `result_deadline_at` in the past: `overdue_repairs`.
3. `count_overdue` counts receipts shortly after their deadline: a measure of how late runs are.

The worker's loops for overdue incidents and reconciliation use 1 and 2, dispatch uses 3. Nothing is
written here; `store.receipts.deadlines` opens the incidents and fails the repairs.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, bindparam, exists, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, ProjectId, ReplayId
from store.schema.tables import (
    OUTAGES,
    OUTBOX,
    RECEIPT_IS_UNDECIDED,
    RECEIPTS,
    REPAIR_IS_ACTIVE,
    REPAIRS,
    STUCK_RUNS,
)
from store.status.heartbeats import latest_ingest_heartbeat

# `count_overdue` counts deadlines that passed this long ago. From: longer than an incident normally
# takes to open. To: anything older is another problem.
OVERDUE_FROM_SECONDS, OVERDUE_TO_SECONDS = 2, 120
OVERDUE_LOOKED_AT = 1_000
# From this many overdue receipts on, incidents count as delayed; fewer are stray ones.
BEHIND_FROM_OVERDUE = 3
# Step 1: the projects with undecided receipts, by id, numbered from 1. Each step of the recursion
# finds the next one in the index `receipts_overdue`, so that no other receipt is read.
_UNDECIDED_PROJECTS = """
WITH RECURSIVE projects_undecided(id, number) AS (
    SELECT min(project_id), 1 FROM receipts{by_index} WHERE {undecided}
      AND project_id > :after
    UNION ALL
    SELECT (SELECT min(project_id) FROM receipts{by_index} WHERE {undecided}
      AND project_id > projects_undecided.id), number + 1
    FROM projects_undecided WHERE projects_undecided.id IS NOT NULL AND number < :projects
)
SELECT projects_undecided.id AS project_id, number, due.event_id, due.deadline_at
FROM projects_undecided """
# Step 2: the longest overdue receipts of each of them.
_LONGEST_OVERDUE = f"""
    FROM receipts WHERE project_id = projects_undecided.id AND {RECEIPT_IS_UNDECIDED}
      AND deadline_at <= :until
    ORDER BY deadline_at, event_id LIMIT :of_each"""
# PostgreSQL would scan the whole table for SQLite's IN. SQLite has no LATERAL, and would choose an
# index of all receipts without INDEXED BY.
_OVERDUE_BY_PROJECT = {
    "postgresql": (
        f"{_UNDECIDED_PROJECTS.format(by_index='', undecided=RECEIPT_IS_UNDECIDED)}"
        f" LEFT JOIN LATERAL (SELECT event_id, deadline_at {_LONGEST_OVERDUE}) AS due ON true"
    ),
    "sqlite": (
        _UNDECIDED_PROJECTS.format(
            by_index=" INDEXED BY receipts_overdue", undecided=RECEIPT_IS_UNDECIDED
        )
        + f" LEFT JOIN receipts AS due ON due.event_id IN (SELECT event_id {_LONGEST_OVERDUE})"
    ),
}


@dataclass(frozen=True, slots=True)
class OverdueReceipt:
    """An expected or waiting receipt whose deadline has passed."""

    event_id: EventId
    project_id: ProjectId
    deadline_at: datetime


@dataclass(frozen=True, slots=True)
class OverdueByProject:
    """The longest overdue receipts of some projects, ordered by project.

    `last_project` is the last of these projects, to continue after; None if no project follows.
    """

    receipts: list[OverdueReceipt]
    last_project: ProjectId | None


@dataclass(frozen=True, slots=True)
class OverdueRepair:
    """A repair that awaits its result after its deadline."""

    event_id: EventId
    project_id: ProjectId
    replay_id: ReplayId


async def overdue_receipts_by_project(
    session: AsyncSession, until: datetime, *, after: ProjectId | None, projects: int, of_each: int
) -> OverdueByProject:
    """The longest overdue receipts of the next `projects` projects after the id `after`.

    At most `of_each` of each project, so that a project with many delays no other.
    """
    values = {"after": after or "", "until": until, "projects": projects, "of_each": of_each}
    query = text(_OVERDUE_BY_PROJECT[session.get_bind().dialect.name])
    query = query.bindparams(bindparam("until", type_=RECEIPTS.c.deadline_at.type))
    typed = query.columns(
        project_id=RECEIPTS.c.project_id.type,
        event_id=RECEIPTS.c.event_id.type,
        deadline_at=RECEIPTS.c.deadline_at.type,
    )
    rows = [row for row in await session.execute(typed, values) if row.project_id is not None]
    rows.sort(key=lambda row: (row.number, row.deadline_at or until, row.event_id or ""))
    found = [
        OverdueReceipt(EventId(row.event_id), ProjectId(row.project_id), row.deadline_at)
        for row in rows
        if row.event_id
    ]
    is_end = not rows or rows[-1].number < projects
    return OverdueByProject(found, None if is_end else ProjectId(rows[-1].project_id))


async def overdue_receipts(
    session: AsyncSession,
    until: datetime,
    *,
    after: OverdueReceipt | None,
    limit: int,
    project_id: ProjectId | None = None,
) -> list[OverdueReceipt]:
    """Undecided receipts with a deadline at `until` or before, the longest overdue first.

    `after` is the last receipt of the previous page. Uses the partial index `receipts_due`, or
    `receipts_overdue` for one project.
    """
    deadline_at, event_id = RECEIPTS.c.deadline_at, RECEIPTS.c.event_id
    query = select(event_id, RECEIPTS.c.project_id, deadline_at)
    query = query.where(text(RECEIPT_IS_UNDECIDED), deadline_at <= until)
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
    """Repairs whose result was due at `until` or before, ordered by id.

    `after` is the last repair of the previous page. Uses the partial index `repairs_one_active`,
    which holds active repairs only.
    """
    # Literals, not bound values: otherwise neither database uses the partial index.
    is_active = text(f"repairs.{REPAIR_IS_ACTIVE}")
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
    """The number of undecided receipts shortly past their deadline: a measure of how late runs are.

    1. A receipt counts only after its start or signal was dispatched: it has no outbox row.
    2. Its deadline must be final: before the last heartbeat of ingest, and with every outage
       credited.
    3. A run that is known to be stuck does not count: it says nothing about Temporal.
    4. If several projects have undecided receipts, one project alone cannot reach
       `BEHIND_FROM_OVERDUE`.

    The work is bounded: it examines the latest `OVERDUE_LOOKED_AT` deadlines.
    """
    since = now - timedelta(seconds=OVERDUE_TO_SECONDS)
    until = now - timedelta(seconds=OVERDUE_FROM_SECONDS)
    last_heartbeat = await latest_ingest_heartbeat(session)
    until = until if last_heartbeat is None else min(until, last_heartbeat)
    counts = await _count_by_project(session, since, until)
    if not counts:
        return 0
    projects = min(await _count_undecided_projects(session), BEHIND_FROM_OVERDUE)
    if projects == 1:
        return sum(counts)
    of_each = BEHIND_FROM_OVERDUE - (projects - 1)
    return sum(min(count, of_each) for count in counts)


async def _count_by_project(session: AsyncSession, since: datetime, until: datetime) -> list[int]:
    """The overdue receipts of each project that has any, with a deadline from `since` to `until`;
    conditions 1 to 3 of `count_overdue`.
    """
    is_undecided = text(RECEIPT_IS_UNDECIDED)
    recent = select(RECEIPTS.c.event_id, RECEIPTS.c.project_id, RECEIPTS.c.credited_outage)
    recent = recent.where(is_undecided, RECEIPTS.c.deadline_at.between(since, until)).order_by(
        RECEIPTS.c.deadline_at.desc()
    )
    part = recent.limit(OVERDUE_LOOKED_AT).subquery()
    newest_outage = (
        select(func.coalesce(func.max(OUTAGES.c.id), 0))
        .where(OUTAGES.c.done_at.is_(None))
        .scalar_subquery()
    )
    is_dispatched = ~exists().where(OUTBOX.c.event_id == part.c.event_id)
    is_stuck = exists().where(STUCK_RUNS.c.event_id == part.c.event_id)
    overdue = select(part.c.project_id, func.count().label("count")).where(is_dispatched, ~is_stuck)
    overdue = overdue.where(part.c.credited_outage >= newest_outage).group_by(part.c.project_id)
    return [int(count) for _, count in await session.execute(overdue)]


async def _count_undecided_projects(session: AsyncSession) -> int:
    """The number of projects with undecided receipts, from 1 to `BEHIND_FROM_OVERDUE`.

    Each query finds the next project in the index `receipts_overdue`.
    """
    is_undecided = text(RECEIPT_IS_UNDECIDED)
    last, count = "", 0
    while count < BEHIND_FROM_OVERDUE:
        following = select(func.min(RECEIPTS.c.project_id)).where(
            is_undecided, RECEIPTS.c.project_id > last
        )
        project_id = await session.scalar(following)
        if project_id is None:
            break
        last, count = project_id, count + 1
    return max(1, count)
