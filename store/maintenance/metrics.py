"""Queries for the metrics of the whole store (`/metrics`), and for failing alerts (`/readyz`,
doctor).

Each metric has its own query, so a slow one does not affect the others. Each count reads an index
and stops at a limit, so its cost is bounded whatever is stored.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Select, TextClause, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.incidents import UNREACHED_ENDS, IncidentState
from domain.receipts import ReceiptState
from domain.sources.source import SourceProblem
from domain.values.timestamps import from_unix_ms
from store.overview.silence import count_silent
from store.receipts import outbox
from store.receipts.early_results.lists import count_early_results
from store.receipts.reconcile.stuck_runs import count_stuck
from store.schema import tables
from store.schema.tables import (
    ALERT_DESTINATIONS,
    ALERTS,
    ATTEMPTS,
    INCIDENTS,
    OUTBOX,
    PROJECTS,
    RECEIPTS,
    SOURCES,
)
from store.status.heartbeats import ALERT_SENT_FACT, read_fact

IS_UNDECIDED = text(tables.RECEIPT_IS_UNDECIDED)
IS_UNWELL = text(f"({tables.SOURCE_IS_UNWELL})")
IS_FAILING = text(tables.DESTINATION_IS_FAILING)
FRESH, RETRIED = text(tables.ALERT_IS_FRESH), text(tables.ALERT_IS_RETRIED)
# The limit of counts in messages: an exact number beyond it is of no use.
COUNTED = 1_000
# Labels beside the values of `SourceProblem`: no problem but silence, and those of newer versions.
SILENT, OTHER_PROBLEM = "silent", "other"
SOURCE_FIGURE = "sources_"
# A metric with this value means "this many or more". Counting to it takes some tenths of a second.
AT_MOST = 1_000_000
ENDED_LATELY = timedelta(minutes=15)

Figures = Mapping[str, float]
# Takes the time by the store's clock and returns values by the name of their metric.
Measure = Callable[[AsyncSession, datetime], Awaitable[Figures]]


async def deadline_lag(session: AsyncSession, now: datetime) -> Figures:
    """How many seconds the most overdue receipt without an incident is past its deadline."""
    deadlines = select(RECEIPTS.c.deadline_at).where(IS_UNDECIDED)
    first = deadlines.order_by(RECEIPTS.c.deadline_at).limit(1)
    oldest: datetime | None = await session.scalar(first)
    return {
        "deadline_lag_seconds": 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
    }


async def outbox_age(session: AsyncSession, now: datetime) -> Figures:
    age = await outbox.oldest_age(session, now)
    return {"outbox_age_seconds": 0.0 if age is None else age.total_seconds()}


async def outbox_rows(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {"outbox_rows": await _count(session, select(OUTBOX.c.id))}


async def unresolved(session: AsyncSession, now: datetime) -> Figures:
    """Unresolved incidents by state, at most `AT_MOST` of each project."""
    del now
    return {
        "open_incidents": await _count_of_state(session, INCIDENTS.c.id, IncidentState.OPEN),
        "repairing_incidents": await _count_of_state(
            session, INCIDENTS.c.id, IncidentState.REPAIRING
        ),
    }


async def waiting(session: AsyncSession, now: datetime) -> Figures:
    """Receipts without result or incident, at most `AT_MOST` of each state."""
    del now
    return {
        state.value: min(AT_MOST, await _count_of_state(session, RECEIPTS.c.event_id, state))
        for state in (ReceiptState.EXPECTED, ReceiptState.WAITING)
    }


async def early_results(session: AsyncSession, now: datetime) -> Figures:
    return {"early_results": await count_early_results(session, now, limit=AT_MOST)}


async def alerts_unsent(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {
        "alerts_unsent": await _count_alerts(session, FRESH) + await _count_alerts(session, RETRIED)
    }


async def attempts(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {"attempts": await _count(session, select(ATTEMPTS.c.event_id))}


async def count_unwell_sources(session: AsyncSession, *, limit: int) -> Mapping[str, int]:
    """How many sources have each problem or are silent, of `limit` at most; only what there is."""
    names = (*(problem.value for problem in SourceProblem), SILENT)
    works = (SOURCES.c.deleted_at.is_(None), SOURCES.c.paused_at.is_(None))
    problem = func.coalesce(SOURCES.c.problem, SILENT).label("problem")
    unwell = select(problem).where(IS_UNWELL, *works).limit(limit).subquery()
    counted = select(unwell.c.problem, func.count()).group_by(unwell.c.problem)
    found: dict[str, int] = {}
    for name, count in await session.execute(counted):
        known = name if name in names else OTHER_PROBLEM
        found[known] = found.get(known, 0) + count
    return found


async def sources_unwell(session: AsyncSession, now: datetime) -> Figures:
    del now
    found = await count_unwell_sources(session, limit=AT_MOST)
    names = (*(problem.value for problem in SourceProblem), SILENT, OTHER_PROBLEM)
    return {f"{SOURCE_FIGURE}{name}": found.get(name, 0) for name in names}


async def projects_silent(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {"projects_silent": await count_silent(session, limit=AT_MOST)}


async def count_failing_destinations(session: AsyncSession, *, limit: int) -> int:
    """How many alert destinations are failing, of `limit` at most. Disabled ones do not count."""
    return await _count(session, select(ALERT_DESTINATIONS.c.id).where(IS_FAILING), limit=limit)


async def destinations_failing(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {"destinations_failing": await count_failing_destinations(session, limit=AT_MOST)}


async def count_stuck_runs(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {"stuck_runs": await count_stuck(session)}


@dataclass(frozen=True, slots=True)
class FailingAlerts:
    """Alerts that failed and are being retried.

    - `failing`: how many, at most 1,000. `failing_seconds`: how long the oldest has been failing.
    - `error`: the error of the oldest, or of the last one that ended.
    - `ended`: alerts of the last 15 minutes that ended before everybody was notified.
    - `last_sent_seconds`: the age of the last sent alert. None: never.
    """

    failing: int
    failing_seconds: float
    error: str | None
    ended: int
    last_sent_seconds: float | None


async def read_failing_alerts(session: AsyncSession, now: datetime) -> FailingAlerts:
    """The failing alerts. Each statement reads a bounded part of a partial index."""
    oldest = select(ALERTS.c.failing_since, ALERTS.c.last_error).where(
        RETRIED, ALERTS.c.failing_since.is_not(None)
    )
    first = (await session.execute(oldest.order_by(ALERTS.c.failing_since).limit(1))).first()
    lately = (
        ALERTS.c.ended_at > now - ENDED_LATELY,
        ALERTS.c.end_reason.in_(sorted(UNREACHED_ENDS)),
    )
    ended = (
        select(ALERTS.c.last_error).where(*lately).order_by(ALERTS.c.ended_at.desc()).limit(COUNTED)
    )
    errors = list(await session.scalars(ended))
    sent_at = await read_fact(session, ALERT_SENT_FACT)
    return FailingAlerts(
        failing=await _count_alerts(session, RETRIED, limit=COUNTED),
        failing_seconds=0.0 if first is None else (now - first.failing_since).total_seconds(),
        error=first.last_error if first else next(iter(errors), None),
        ended=len(errors),
        last_sent_seconds=None
        if sent_at is None
        else (now - from_unix_ms(int(sent_at))).total_seconds(),
    )


async def _count_alerts(
    session: AsyncSession, condition: TextClause, *, limit: int | None = None
) -> int:
    return await _count(session, select(ALERTS.c.project_id).where(condition), limit=limit)


# Any: the column of either table
async def _count_of_state(
    session: AsyncSession, key: Column[Any], state: IncidentState | ReceiptState
) -> int:
    """Count by project with the index `incidents_by_state` or `receipts_by_state`, without reading
    rows of other states.
    """
    columns = key.table.c
    of_project = select(key).where(
        columns.project_id == PROJECTS.c.id, columns.state == state.value
    )
    counted = (
        select(func.count())
        .select_from(of_project.correlate(PROJECTS).limit(AT_MOST).subquery())
        .scalar_subquery()
    )
    return int(await session.scalar(select(func.sum(counted)).select_from(PROJECTS)) or 0)


async def _count(session: AsyncSession, rows: Select[Any], *, limit: int | None = None) -> int:
    counted = rows.limit(AT_MOST if limit is None else limit).subquery()
    return await session.scalar(select(func.count()).select_from(counted)) or 0


async def failing_alerts(session: AsyncSession, now: datetime) -> Figures:
    found = await read_failing_alerts(session, now)
    return {
        "alerts_failing": found.failing,
        "alerts_failing_seconds": found.failing_seconds,
        "alerts_ended": found.ended,
    }


# The most important come first, because there is one time limit for all of them together.
MEASURES: tuple[Measure, ...] = (
    deadline_lag,
    outbox_age,
    unresolved,
    outbox_rows,
    failing_alerts,
    count_stuck_runs,
    alerts_unsent,
    waiting,
    early_results,
    sources_unwell,
    projects_silent,
    destinations_failing,
    attempts,
)
