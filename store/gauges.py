"""Figures of the whole store that only `/metrics` asks for, each by itself: one that takes too long costs none of the others."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.incidents import IncidentState
from domain.receipts import ReceiptState
from store import outbox, tables

RECEIPTS = tables.Receipt.metadata.tables["receipts"]
INCIDENTS = tables.Incident.metadata.tables["incidents"]
ALERTS = tables.Alert.metadata.tables["alerts"]
ATTEMPTS = tables.Attempt.metadata.tables["attempts"]

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
    unsent = select(func.count()).select_from(ALERTS).where(ALERTS.c.sent_at.is_(None))
    return {"alerts_unsent": await session.scalar(unsent) or 0}


async def attempts(session: AsyncSession, now: datetime) -> Figures:
    del now
    return {"attempts": await session.scalar(select(func.count()).select_from(ATTEMPTS)) or 0}


# What an operator needs first comes first: there is a time limit for all of them together.
MEASURES: tuple[Measure, ...] = (deadline_lag, outbox_age, unresolved, outbox_rows, alerts_unsent, waiting, attempts)
