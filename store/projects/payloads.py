"""Reads the payload of a receipt, which is stored encrypted with its project's data key.

Ingest stores it if the project keeps payload snapshots. Retention removes it after 30 days.
"""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, ProjectId
from store.crypto.encryption import Sealer
from store.projects.data_keys import read_data_key
from store.schema.tables import RECEIPTS


async def has_payload(session: AsyncSession, event_id: EventId) -> bool:
    """Whether a payload of this event is stored."""
    stored = select(RECEIPTS.c.payload.is_not(None)).where(RECEIPTS.c.event_id == event_id)
    return bool(await session.scalar(stored))


async def read_payload(
    session: AsyncSession, sealer: Sealer, project_id: ProjectId, event_id: EventId
) -> str | None:
    """The payload as the JSON text that the app sent; None if none is stored.

    Raises: NotFound: the project is deleted; SealBroken with another root secret.
    """
    sealed = await session.scalar(select(RECEIPTS.c.payload).where(RECEIPTS.c.event_id == event_id))
    if sealed is None:
        return None
    data_key = await read_data_key(session, project_id)
    return sealer.open(
        data_key,
        project_id=project_id,
        table="receipts",
        column="payload",
        row=event_id,
        sealed=sealed,
    ).decode()
