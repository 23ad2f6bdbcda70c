"""What the reconciler asks when it compares the engine's runs with the store. Writes nothing."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId
from domain.receipts import ReceiptState
from store.conversions import RECEIPTS


async def unended_among(session: AsyncSession, event_ids: Collection[EventId]) -> list[EventId]:
    """Those of the receipts that have not ended; unknown ones are not among them."""
    if not event_ids:
        return []
    is_unended = RECEIPTS.c.state.in_((ReceiptState.WAITING.value, ReceiptState.INCIDENT.value))
    rows = await session.execute(select(RECEIPTS.c.event_id).where(RECEIPTS.c.event_id.in_(event_ids), is_unended))
    return [EventId(row.event_id) for row in rows]
