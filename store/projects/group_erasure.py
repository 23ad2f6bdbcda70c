"""Erases groups of incidents, with amounts and windows. Called by `store.projects.deletion`."""

from typing import Any

from sqlalchemy import Select, delete
from sqlalchemy.ext.asyncio import AsyncSession

from store.schema.tables import GROUP_AMOUNTS, GROUP_WINDOWS, INCIDENT_GROUPS


async def erase_groups(session: AsyncSession, batch: Select[Any]) -> int:
    """Erase the groups whose ids the query selects, without those that are locked.

    Returns how many. An incident that opens or ends later works without its group.
    """
    locked = list(await session.scalars(batch.with_for_update(skip_locked=True)))
    for table in (GROUP_WINDOWS, GROUP_AMOUNTS):
        await session.execute(delete(table).where(table.c.group_id.in_(locked)))
    await session.execute(delete(INCIDENT_GROUPS).where(INCIDENT_GROUPS.c.id.in_(locked)))
    return len(locked)
