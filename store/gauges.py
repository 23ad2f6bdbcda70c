"""Figures of the whole store that only `/metrics` asks for."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.receipts import ReceiptState
from store import tables

RECEIPTS = tables.Receipt.metadata.tables["receipts"]
ALERTS = tables.Alert.metadata.tables["alerts"]
ATTEMPTS = tables.Attempt.metadata.tables["attempts"]


@dataclass(frozen=True, slots=True)
class Gauges:
    """How far the longest overdue receipt is past its deadline without its incident; how much is recorded, or left to be sent."""

    deadline_lag_seconds: float
    attempts: int
    alerts_unsent: int


async def read_gauges(session: AsyncSession, now: datetime) -> Gauges:
    oldest: datetime | None = await session.scalar(
        select(func.min(RECEIPTS.c.deadline_at)).where(RECEIPTS.c.state == ReceiptState.WAITING.value)
    )
    lag_seconds = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
    unsent = select(func.count()).select_from(ALERTS).where(ALERTS.c.sent_at.is_(None))
    return Gauges(
        deadline_lag_seconds=lag_seconds,
        attempts=await session.scalar(select(func.count()).select_from(ATTEMPTS)) or 0,
        alerts_unsent=await session.scalar(unsent) or 0,
    )
