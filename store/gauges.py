"""Figures of the whole store: for `/metrics`, and of the alerts that fail for `/readyz` and doctor too.

Each figure is asked by itself: one that takes too long costs none of the others.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import TextClause, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.incidents import UNREACHED_ENDS, IncidentState
from domain.instants import from_milliseconds
from domain.receipts import ReceiptState
from store import outbox, tables
from store.heartbeats import ALERT_SENT_FACT, read_fact
from store.stuck_runs import count_stuck

RECEIPTS = tables.Receipt.metadata.tables["receipts"]
INCIDENTS = tables.Incident.metadata.tables["incidents"]
ALERTS = tables.Alert.metadata.tables["alerts"]
ATTEMPTS = tables.Attempt.metadata.tables["attempts"]
FRESH, RETRIED = text(tables.ALERT_IS_FRESH), text(tables.ALERT_IS_RETRIED)
# Beyond it no exact count is of use, and each costs a look.
COUNTED = 1_000
ENDED_LATELY = timedelta(minutes=15)

Figures = Mapping[str, float]
# Figures by name, at an instant by the store's clock.
Measure = Callable[[AsyncSession, datetime], Awaitable[Figures]]


async def deadline_lag(session: AsyncSession, now: datetime) -> Figures:
    """How far the longest overdue receipt is past its deadline without its incident."""
    oldest: datetime | None = await session.scalar(
        select(func.min(RECEIPTS.c.deadline_at)).where(RECEIPTS.c.state == ReceiptState.WAITING.value)
    )
    return {"deadline_lag_seconds": 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())}


async def outbox_age(session: AsyncSession, now: datetime) -> Figures:
    age = await outbox.oldest_age(session, now)
    return {"outbox_age_seconds": 0.0 if age is None else age.total_seconds()}


async def outbox_rows(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {"outbox_rows": await outbox.count(session)}


async def unresolved(session: AsyncSession, now: datetime) -> Figures:
    """Incidents by state, without those that are resolved."""
    del now
    states = (IncidentState.OPEN.value, IncidentState.REPAIRING.value)
    counted = select(INCIDENTS.c.state, func.count()).where(INCIDENTS.c.state.in_(states)).group_by(INCIDENTS.c.state)
    found = {row[0]: row[1] for row in await session.execute(counted)}
    return {"open_incidents": found.get(states[0], 0), "repairing_incidents": found.get(states[1], 0)}


async def waiting(session: AsyncSession, now: datetime) -> Figures:
    del now
    counted = select(func.count()).select_from(RECEIPTS).where(RECEIPTS.c.state == ReceiptState.WAITING.value)
    return {"waiting": await session.scalar(counted) or 0}


async def alerts_unsent(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {"alerts_unsent": await _count_alerts(session, FRESH) + await _count_alerts(session, RETRIED)}


async def attempts(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {"attempts": await session.scalar(select(func.count()).select_from(ATTEMPTS)) or 0}


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
        last_sent_seconds=None if sent_at is None else (now - from_milliseconds(int(sent_at))).total_seconds(),
    )


async def _count_alerts(session: AsyncSession, lane: TextClause, *, limit: int | None = None) -> int:
    counted = select(ALERTS.c.id).where(lane).limit(limit).subquery()
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
