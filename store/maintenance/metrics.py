"""Figures of the whole store: for `/metrics`, and of the alerts that fail for `/readyz` and doctor too.

Each figure is asked by itself: one that takes too long costs none of the others. A count reads an index of what it counts, and
ends at a bound, so that its work is the same whatever is stored.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, TextClause, func, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.incidents import UNREACHED_ENDS, IncidentState
from domain.values.timestamps import from_unix_ms
from store.receipts import outbox
from store.receipts.stuck_runs import count_stuck
from store.schema import tables
from store.status.heartbeats import ALERT_SENT_FACT, read_fact

RECEIPTS = tables.Receipt.metadata.tables["receipts"]
INCIDENTS = tables.Incident.metadata.tables["incidents"]
ALERTS = tables.Alert.metadata.tables["alerts"]
PROJECTS = tables.Project.metadata.tables["projects"]
OUTBOX = tables.Outbox.metadata.tables["outbox"]
ATTEMPTS = tables.Attempt.metadata.tables["attempts"]
FRESH, RETRIED = text(tables.ALERT_IS_FRESH), text(tables.ALERT_IS_RETRIED)
# Beyond it no exact count is of use, and each costs a look.
COUNTED = 1_000
# A figure of `/metrics` that has come to this is "so many or more"; some tenths of a second of work.
AT_MOST = 1_000_000
ENDED_LATELY = timedelta(minutes=15)
# Spelled out, not bound: only so do both databases see that the partial index `receipts_due` holds them all.
IS_WAITING = RECEIPTS.c.state == literal_column("'waiting'")

Figures = Mapping[str, float]
# Figures by name, at an instant by the store's clock.
Measure = Callable[[AsyncSession, datetime], Awaitable[Figures]]


async def deadline_lag(session: AsyncSession, now: datetime) -> Figures:
    """How far the longest overdue receipt is past its deadline without its incident."""
    first = select(RECEIPTS.c.deadline_at).where(IS_WAITING).order_by(RECEIPTS.c.deadline_at).limit(1)
    oldest: datetime | None = await session.scalar(first)
    return {"deadline_lag_seconds": 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())}


async def outbox_age(session: AsyncSession, now: datetime) -> Figures:
    age = await outbox.oldest_age(session, now)
    return {"outbox_age_seconds": 0.0 if age is None else age.total_seconds()}


async def outbox_rows(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {"outbox_rows": await _count(session, select(OUTBOX.c.id))}


async def unresolved(session: AsyncSession, now: datetime) -> Figures:
    """Incidents by state, without those that are resolved; at most `AT_MOST` of each project."""
    del now
    return {
        "open_incidents": await _count_incidents(session, IncidentState.OPEN),
        "repairing_incidents": await _count_incidents(session, IncidentState.REPAIRING),
    }


async def waiting(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {"waiting": await _count(session, select(RECEIPTS.c.deadline_at).where(IS_WAITING))}


async def alerts_unsent(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {"alerts_unsent": await _count_alerts(session, FRESH) + await _count_alerts(session, RETRIED)}


async def attempts(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {"attempts": await _count(session, select(ATTEMPTS.c.event_id))}


async def count_stuck_runs(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {"stuck_runs": await count_stuck(session)}


@dataclass(frozen=True, slots=True)
class FailingAlerts:
    """Alerts that failed and are tried again, since when the first of them, and with what error; at most 1,000 are counted.

    `ended` are those of the last 15 minutes that ended although somebody was still to be notified. Spans in seconds; None: never.
    """

    failing: int
    failing_seconds: float
    error: str | None
    ended: int
    last_sent_seconds: float | None


async def read_failing_alerts(session: AsyncSession, now: datetime) -> FailingAlerts:
    """What `/readyz`, `/metrics` and doctor say of alerts; each statement reads a partial index, and a bounded part of it."""
    oldest = select(ALERTS.c.failing_since, ALERTS.c.last_error).where(RETRIED, ALERTS.c.failing_since.is_not(None))
    first = (await session.execute(oldest.order_by(ALERTS.c.failing_since).limit(1))).first()
    lately = (ALERTS.c.ended_at > now - ENDED_LATELY, ALERTS.c.end_reason.in_(sorted(UNREACHED_ENDS)))
    ended = select(ALERTS.c.last_error).where(*lately).order_by(ALERTS.c.ended_at.desc()).limit(COUNTED)
    errors = list(await session.scalars(ended))
    sent_at = await read_fact(session, ALERT_SENT_FACT)
    return FailingAlerts(
        failing=await _count_alerts(session, RETRIED, limit=COUNTED),
        failing_seconds=0.0 if first is None else (now - first.failing_since).total_seconds(),
        error=first.last_error if first else next(iter(errors), None),
        ended=len(errors),
        last_sent_seconds=None if sent_at is None else (now - from_unix_ms(int(sent_at))).total_seconds(),
    )


async def _count_alerts(session: AsyncSession, lane: TextClause, *, limit: int | None = None) -> int:
    return await _count(session, select(ALERTS.c.project_id).where(lane), limit=limit)


async def _count_incidents(session: AsyncSession, state: IncidentState) -> int:
    """Project by project, through the index `incidents_by_state`: what is resolved is not read."""
    of_project = select(INCIDENTS.c.id).where(INCIDENTS.c.project_id == PROJECTS.c.id, INCIDENTS.c.state == state.value)
    counted = select(func.count()).select_from(of_project.correlate(PROJECTS).limit(AT_MOST).subquery()).scalar_subquery()
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


# What an operator needs first comes first: there is a time limit for all of them together.
MEASURES: tuple[Measure, ...] = (
    deadline_lag,
    outbox_age,
    unresolved,
    outbox_rows,
    failing_alerts,
    count_stuck_runs,
    alerts_unsent,
    waiting,
    attempts,
)
