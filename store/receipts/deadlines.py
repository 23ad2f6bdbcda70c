"""Deadlines that have passed by the store's clock: whether one counts now, and which receipts and repairs are past theirs.

The ledger's activities and the worker's own loop (`worker.loops.overdue`) judge a deadline by the same functions, inside the
transaction that acts on it. Nothing here asks Temporal.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, bindparam, exists, func, literal_column, or_, select, text
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
from store.status.heartbeats import latest_ingest_beat, read_ingest_beats

TABLES = tables.Repair.metadata.tables
REPAIRS, OUTBOX, OUTAGES, STUCK_RUNS = TABLES["repairs"], TABLES["outbox"], TABLES["outages"], TABLES["stuck_runs"]
# Longer than an incident takes to open when nothing is in its way; and what is overdue for longer is another trouble.
OVERDUE_FROM_SECONDS, OVERDUE_TO_SECONDS = 2, 120
OVERDUE_LOOKED_AT = 1_000
# So many due and not opened are no stray one, for which nothing should wait.
BEHIND_FROM_OVERDUE = 3
# The projects in the order of their ids, then the longest overdue of each: a loose scan of `receipts_overdue`.
_OWNERS = """
WITH RECURSIVE owners(id, place) AS (
    SELECT min(project_id), 1 FROM receipts{by_index} WHERE state = 'waiting' AND project_id > :after
    UNION ALL
    SELECT (SELECT min(project_id) FROM receipts{by_index} WHERE state = 'waiting' AND project_id > owners.id), place + 1
    FROM owners WHERE owners.id IS NOT NULL AND place < :projects
)
SELECT owners.id AS project_id, place, due.event_id, due.deadline_at FROM owners """
_OF_OWNER = """
    FROM receipts WHERE project_id = owners.id AND state = 'waiting' AND deadline_at <= :until
    ORDER BY deadline_at, event_id LIMIT :of_each"""
# PostgreSQL reads a whole table for such an IN. SQLite has no LATERAL, and chooses an index that holds ended receipts too.
_OF_EACH = {
    "postgresql": f"{_OWNERS.format(by_index='')} LEFT JOIN LATERAL (SELECT event_id, deadline_at {_OF_OWNER}) AS due ON true",
    "sqlite": f"{_OWNERS.format(by_index=' INDEXED BY receipts_overdue')} "
    f"LEFT JOIN receipts AS due ON due.event_id IN (SELECT event_id {_OF_OWNER})",
}


@dataclass(frozen=True, slots=True)
class OverdueReceipt:
    """A receipt that waits though its deadline has passed."""

    event_id: EventId
    project_id: ProjectId
    deadline_at: datetime


@dataclass(frozen=True, slots=True)
class OverdueOfEach:
    """The longest overdue of each project, in the order of their projects; `last` is the last project, None at the end of all."""

    receipts: list[OverdueReceipt]
    last: ProjectId | None


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
    remaining_ms = await remaining_grace_ms(session, event_id, now, outage_seconds=outage_seconds)
    return NotYet(remaining_ms) if remaining_ms is not None else await open_incident(SessionStatements(session), event_id, now)


async def fail_due_repair(
    session: AsyncSession, event_id: EventId, replay_id: ReplayId, now: datetime, *, outage_seconds: int
) -> LifecycleState | NotYet:
    """Fail a repair whose deadline for its result counts now; where the receipt stands then.

    Raises:
        NotFound: no such receipt.
    """
    remaining_ms = await remaining_grace_ms(session, event_id, now, outage_seconds=outage_seconds)
    if remaining_ms is not None:
        return NotYet(remaining_ms)
    return await fail_overdue_repair(SessionStatements(session), event_id, replay_id, now)


async def remaining_grace_ms(session: AsyncSession, event_id: EventId, now: datetime, *, outage_seconds: int) -> int | None:
    """How long to leave a deadline alone that is due while ingest is silent; None when it counts now.

    Asked in the transaction that acts: an outage is credited in the transaction that beats, so that a beat which is
    seen here has its credit with it.

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
    return None if due_at is None else grace_ms(beats, now, due_at=due_at, outage_seconds=outage_seconds)


async def deadlines_count_until(session: AsyncSession, now: datetime, *, outage_seconds: int) -> datetime:
    """Deadlines up to here count now: all of the past, or, while ingest is silent, those up to its last word."""
    beats = await read_ingest_beats(session)
    is_held = beats is not None and is_ingest_down(beats, now, outage_seconds=outage_seconds)
    return beats.last_at if beats is not None and is_held else now


async def overdue_of_each(
    session: AsyncSession, until: datetime, *, after: ProjectId | None, projects: int, of_each: int
) -> OverdueOfEach:
    """Of the projects after `after` that have receipts waiting, at most `projects`, each one's longest overdue receipts.

    At most `of_each` of a project: what one has adds no work to the others'.
    """
    values = {"after": after or "", "until": until, "projects": projects, "of_each": of_each}
    query = text(_OF_EACH[session.get_bind().dialect.name])
    query = query.bindparams(bindparam("until", type_=RECEIPTS.c.deadline_at.type))
    typed = query.columns(
        project_id=RECEIPTS.c.project_id.type, event_id=RECEIPTS.c.event_id.type, deadline_at=RECEIPTS.c.deadline_at.type
    )
    rows = [row for row in await session.execute(typed, values) if row.project_id is not None]
    rows.sort(key=lambda row: (row.place, row.deadline_at or until, row.event_id or ""))
    found = [OverdueReceipt(EventId(row.event_id), ProjectId(row.project_id), row.deadline_at) for row in rows if row.event_id]
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
    """Receipts that wait though their deadline was at `until` or before, the longest overdue first, from the one after `after`.

    By the partial index `receipts_due`, or `receipts_overdue` for one project's.
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


async def count_overdue(session: AsyncSession, now: datetime) -> int:
    """How many receipts are a little past their deadline without an incident, though nothing waits to be told of them.

    Counted are those whose deadline counts and is final: neither those after the last word of ingest nor those that an
    outage is still to be credited to. Runs that are known to be stuck say nothing of Temporal. Where several projects have
    receipts waiting, one alone counts for too little to reach `BEHIND_FROM_OVERDUE`: its stuck ones are its own trouble.
    The work is bounded: the first `OVERDUE_LOOKED_AT` of them are looked at.
    """
    since, until = now - timedelta(seconds=OVERDUE_TO_SECONDS), now - timedelta(seconds=OVERDUE_FROM_SECONDS)
    last_word = await latest_ingest_beat(session)
    until = until if last_word is None else min(until, last_word)
    is_waiting = RECEIPTS.c.state == literal_column("'waiting'")
    lately = select(RECEIPTS.c.event_id, RECEIPTS.c.project_id, RECEIPTS.c.credited_outage)
    lately = lately.where(is_waiting, RECEIPTS.c.deadline_at.between(since, until)).order_by(RECEIPTS.c.deadline_at.desc())
    part = lately.limit(OVERDUE_LOOKED_AT).subquery()
    newest_outage = select(func.coalesce(func.max(OUTAGES.c.id), 0)).where(OUTAGES.c.done_at.is_(None)).scalar_subquery()
    is_told = ~exists().where(OUTBOX.c.event_id == part.c.event_id)
    is_known = exists().where(STUCK_RUNS.c.event_id == part.c.event_id)
    overdue = select(part.c.project_id, func.count().label("count")).where(is_told, ~is_known)
    overdue = overdue.where(part.c.credited_outage >= newest_outage).group_by(part.c.project_id)
    counts = [int(found) for _, found in await session.execute(overdue)]
    if not counts:
        return 0
    of_each = BEHIND_FROM_OVERDUE - (min(await _count_waiting_projects(session), BEHIND_FROM_OVERDUE) - 1)
    return sum(counts) if of_each == BEHIND_FROM_OVERDUE else sum(min(count, of_each) for count in counts)


async def _count_waiting_projects(session: AsyncSession) -> int:
    """How many projects have receipts waiting, counted as far as `BEHIND_FROM_OVERDUE`, by the index `receipts_overdue`."""
    is_waiting = RECEIPTS.c.state == literal_column("'waiting'")
    first, found = "", 0
    while found < BEHIND_FROM_OVERDUE:
        following = select(func.min(RECEIPTS.c.project_id)).where(is_waiting, RECEIPTS.c.project_id > first)
        project_id = await session.scalar(following)
        if project_id is None:
            break
        first, found = project_id, found + 1
    return max(1, found)
