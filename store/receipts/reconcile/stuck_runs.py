"""Workflow runs that missed a deadline or a repair, and those of them that are stuck; one row each,
checked in turns of projects.

A row is inserted by the code that finds the missed deadline, and deleted once the run continues or
its receipt has ended. `look_at` is the next check, for all workers and across restarts. Each
function runs inside the caller's transaction.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from sqlalchemy import (
    Row,
    case,
    delete,
    exists,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, ProjectId
from domain.incidents import TimelineKind
from domain.receipts import ReceiptState
from domain.temporal.outbox import OutboxKind
from domain.temporal.runs import StuckCause, StuckRun, cause_text, restart_command
from domain.values.enums import member_or_text
from domain.values.timestamps import to_unix_ms
from store.db.sql import SessionStatements, Statements
from store.receipts.outbox import LEASE_SECONDS, RESTART_WITHIN, enqueue_signal
from store.receipts.reconcile.stalled_repairs import is_stalled
from store.receipts.timeline import add_timeline
from store.schema.tables import OUTBOX, RECEIPTS, REPAIR_IS_ACTIVE, REPAIRS, STUCK_RUNS

LOOK_AFTER_RESTART_SECONDS = 5
# What is held for longer than a dispatcher's lease was refused, and is backed off. The clock is
# read shortly before the row.
LONGER_THAN_A_LEASE = timedelta(seconds=LEASE_SECONDS + 2)
# A restart behind a start brings each of its tries forward: it counts by its age.
REFUSED_AFTER = timedelta(seconds=30)
RESTART_NOTE = (
    "A restart of the workflow was requested. Reprocess signals sent in Temporal that the workflow"
    " has not acted on are dropped: if no repair follows, request it again."
)
# The first few runs of each project: a loose index scan of `stuck_runs_by_turn`, the same on both
# databases.
_DUE = """
WITH RECURSIVE owners(id) AS (
    SELECT min(project_id) FROM stuck_runs
    UNION ALL SELECT (SELECT min(project_id) FROM stuck_runs WHERE project_id > owners.id)
      FROM owners WHERE owners.id IS NOT NULL
)
SELECT runs.* FROM owners JOIN stuck_runs runs ON runs.event_id IN (
    SELECT due.event_id FROM stuck_runs due
    WHERE due.project_id = owners.id AND due.look_at <= :now ORDER BY due.look_at LIMIT :of_each
)
ORDER BY runs.look_at LIMIT :limit"""


class WaitingStart(Enum):
    """How a start waits in the outbox: for its turn, or backed off because Temporal has refused it
    several times.
    """

    IN_TURN = auto()
    REFUSED = auto()


async def suspect_run(
    st: Statements, event_id: EventId, project_id: ProjectId, now: datetime
) -> None:
    """Request a check of a run that missed something. A second time changes nothing."""
    await st.fetch(
        "INSERT INTO stuck_runs (event_id, project_id, suspected_at, look_at, looks, restarts) "
        "VALUES ($1, $2, $3, $3, 0, 0) ON CONFLICT DO NOTHING",
        event_id,
        project_id,
        to_unix_ms(now),
    )


async def runs_to_look_at(
    session: AsyncSession, now: datetime, *, limit: int, of_each: int
) -> list[StuckRun]:
    """The runs whose check is due, at most `of_each` of a project."""
    values = {"now": to_unix_ms(now), "of_each": of_each, "limit": limit}
    rows = await session.execute(text(_DUE).columns(*STUCK_RUNS.c), values)
    return [_run_from(row) for row in rows]


async def stuck_run(session: AsyncSession, event_id: EventId) -> StuckRun | None:
    """The run, if it is stuck; else None."""
    row = (
        await session.execute(
            select(STUCK_RUNS).where(
                STUCK_RUNS.c.event_id == event_id, STUCK_RUNS.c.found_at.is_not(None)
            )
        )
    ).first()
    return None if row is None else _run_from(row)


async def stuck_runs(session: AsyncSession, *, after: EventId | None, limit: int) -> list[StuckRun]:
    """Stuck runs by receipt id, from the one after `after`."""
    query = select(STUCK_RUNS).where(
        STUCK_RUNS.c.found_at.is_not(None), STUCK_RUNS.c.event_id > (after or "")
    )
    return [
        _run_from(row)
        for row in await session.execute(query.order_by(STUCK_RUNS.c.event_id).limit(limit))
    ]


async def count_stuck(session: AsyncSession) -> int:
    """The number of stuck runs."""
    return (
        await session.scalar(
            select(func.count()).select_from(STUCK_RUNS).where(STUCK_RUNS.c.found_at.is_not(None))
        )
        or 0
    )


async def postpone_look(session: AsyncSession, event_id: EventId, until: datetime) -> None:
    """Postpone the next check of the run."""
    later = update(STUCK_RUNS).where(STUCK_RUNS.c.event_id == event_id)
    await session.execute(later.values(look_at=until, looks=STUCK_RUNS.c.looks + 1))


async def mark_stuck(
    session: AsyncSession, run: StuckRun, cause: StuckCause, now: datetime, *, look_at: datetime
) -> None:
    """Record that the run is stuck, with one timeline entry."""
    changed = await session.execute(
        update(STUCK_RUNS)
        .where(STUCK_RUNS.c.event_id == run.event_id, STUCK_RUNS.c.found_at.is_(None))
        .values(found_at=now, cause=cause.value, look_at=look_at, looks=0)
        .returning(STUCK_RUNS.c.event_id)
    )
    if changed.first() is None:
        later = update(STUCK_RUNS).where(STUCK_RUNS.c.event_id == run.event_id)
        await session.execute(
            later.values(cause=cause.value, look_at=look_at, looks=STUCK_RUNS.c.looks + 1)
        )
        return
    message = (
        f"The workflow cannot go on: {cause_text(cause)}. To restart it:"
        f" {restart_command(run.event_id)}"
    )
    await _note(session, run.event_id, message, now)


async def forget_run(session: AsyncSession, run: StuckRun, now: datetime, *, goes_on: bool) -> None:
    """End the checks of the run. If it was stuck and `goes_on`, add a timeline entry."""
    gone = await session.execute(
        delete(STUCK_RUNS)
        .where(STUCK_RUNS.c.event_id == run.event_id)
        .returning(STUCK_RUNS.c.found_at)
    )
    row = gone.first()
    if row is not None and row.found_at is not None and goes_on:
        await _note(session, run.event_id, "The workflow goes on again.", now)


async def request_restart(
    session: AsyncSession, event_id: EventId, now: datetime, *, requested_by: str
) -> bool:
    """Enqueue a restart: Temporal ends the run and starts another, which first reads the receipt's
    state from the store.

    Returns False, and changes nothing, when a restart is already in the outbox.
    """
    is_restart = OUTBOX.c.kind == OutboxKind.RESTART.value
    waits = select(OUTBOX.c.id).where(OUTBOX.c.event_id == event_id, is_restart)
    if (await session.execute(waits.limit(1))).first() is not None:
        return False
    st = SessionStatements(session)
    await _note(session, event_id, RESTART_NOTE, now, requested_by=requested_by)
    await enqueue_signal(st, event_id, OutboxKind.RESTART, now, requested_by=requested_by)
    await _bring_forward(session, event_id, now + RESTART_WITHIN)
    restarted = update(STUCK_RUNS).where(STUCK_RUNS.c.event_id == event_id)
    look_at = now + timedelta(seconds=LOOK_AFTER_RESTART_SECONDS)
    await session.execute(
        restarted.values(restarts=STUCK_RUNS.c.restarts + 1, restarted_at=now, look_at=look_at)
    )
    return True


async def _bring_forward(session: AsyncSession, event_id: EventId, soon: datetime) -> None:
    """Shorten the backoff of the rows before the restart."""
    claimed_until = OUTBOX.c.claimed_until
    sooner = case((claimed_until > soon, literal(soon, claimed_until.type)), else_=claimed_until)
    # Every row, so that `store.receipts.outbox.retry_later` waits for this transaction and sees the
    # restart.
    await session.execute(
        update(OUTBOX).where(OUTBOX.c.event_id == event_id).values(claimed_until=sooner)
    )


async def is_repair_stalled(
    session: AsyncSession, event_id: EventId, now: datetime, *, silent_seconds: float
) -> bool:
    """Whether the first or next attempt of the active repair is overdue by `silent_seconds`."""
    is_due = await is_stalled(session, now, grace_seconds=silent_seconds)
    found = select(REPAIRS.c.replay_id).where(REPAIRS.c.event_id == event_id, is_due)
    return (await session.execute(found.limit(1))).first() is not None


async def waiting_start(
    session: AsyncSession, event_id: EventId, now: datetime
) -> WaitingStart | None:
    """How the start of the receipt's run waits in the outbox; None when it does not."""
    query = select(OUTBOX.c.kind, OUTBOX.c.claimed_until, OUTBOX.c.created_at)
    starts = (OutboxKind.START.value, OutboxKind.RESTART.value)
    query = query.where(OUTBOX.c.event_id == event_id, OUTBOX.c.kind.in_(starts))
    rows = {row.kind: row for row in await session.execute(query)}
    start = rows.get(OutboxKind.START)
    if start is None:
        return None
    if start.claimed_until is None:
        return WaitingStart.IN_TURN
    is_backed_off = start.claimed_until > now + LONGER_THAN_A_LEASE
    is_old = OutboxKind.RESTART in rows and now - start.created_at >= REFUSED_AFTER
    return WaitingStart.REFUSED if is_backed_off or is_old else WaitingStart.IN_TURN


async def suspect_stalled_repairs(
    session: AsyncSession, now: datetime, *, silent_seconds: float, limit: int, after: str
) -> Sequence[str]:
    """Request checks for repairs whose next attempt is overdue, from the one after `after`; returns
    their `replay_id`s.
    """
    # Literals, not bound values: otherwise neither database uses the partial index
    # `repairs_one_active`.
    is_active = text(f"repairs.{REPAIR_IS_ACTIVE}")
    is_due = await is_stalled(session, now, grace_seconds=silent_seconds)
    is_known = exists().where(STUCK_RUNS.c.event_id == REPAIRS.c.event_id)
    query = select(REPAIRS.c.replay_id, REPAIRS.c.event_id, RECEIPTS.c.project_id)
    query = query.join(RECEIPTS, RECEIPTS.c.event_id == REPAIRS.c.event_id)
    query = query.where(is_active, is_due, ~is_known)
    query = query.where(
        REPAIRS.c.replay_id > after, RECEIPTS.c.state == ReceiptState.INCIDENT.value
    )
    rows = (await session.execute(query.order_by(REPAIRS.c.replay_id).limit(limit))).all()
    st = SessionStatements(session)
    for row in rows:
        await suspect_run(st, EventId(row.event_id), ProjectId(row.project_id), now)
    return [row.replay_id for row in rows]


async def _note(
    session: AsyncSession, event_id: EventId, message: str, now: datetime, **ids: object
) -> None:
    await add_timeline(
        SessionStatements(session), event_id, TimelineKind.NOTED, now, text=message, **ids
    )


def _run_from(row: Row[Any]) -> StuckRun:
    return StuckRun(
        event_id=EventId(row.event_id),
        project_id=ProjectId(row.project_id),
        suspected_at=row.suspected_at,
        found_at=row.found_at,
        cause=None if row.cause is None else member_or_text(StuckCause, row.cause),
        looks=row.looks,
        restarts=row.restarts,
        restarted_at=row.restarted_at,
    )
