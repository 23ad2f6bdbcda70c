"""What the reconciler asks when it compares the engine's runs with the store. Writes nothing."""

from collections.abc import Collection

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId
from domain.receipts import ReceiptState
from store import tables
from store.conversions import RECEIPTS

OUTBOX = tables.Outbox.metadata.tables["outbox"]


async def told_and_unended(session: AsyncSession, event_ids: Collection[EventId]) -> list[EventId]:
    """Those of the receipts that have not ended and of which nothing waits in the outbox: the engine must have a run of each."""
    if not event_ids:
        return []
    is_unended = RECEIPTS.c.state.in_((ReceiptState.WAITING.value, ReceiptState.INCIDENT.value))
    is_told = ~exists().where(OUTBOX.c.event_id == RECEIPTS.c.event_id)
    rows = await session.execute(select(RECEIPTS.c.event_id).where(RECEIPTS.c.event_id.in_(event_ids), is_unended, is_told))
    return [EventId(row.event_id) for row in rows]
