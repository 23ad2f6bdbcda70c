"""Removes the sources of a deleted project. `store.sources.removal` erases their rows later."""

from datetime import datetime

from sqlalchemy import case, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import ProjectId
from domain.sources.source import WEBHOOK_KINDS
from store.schema.tables import SOURCES


async def remove_sources(session: AsyncSession, project_id: ProjectId, now: datetime) -> None:
    """Remove all sources of the project, and their secrets.

    The lock waits for sightings that are being stored, so no row comes later. The version makes the
    worker delete each Schedule in Temporal; webhooks have none.
    """
    is_theirs = (SOURCES.c.project_id == project_id, SOURCES.c.deleted_at.is_(None))
    locked = select(SOURCES.c.id).where(*is_theirs).order_by(SOURCES.c.id).with_for_update()
    await session.execute(locked)
    version = SOURCES.c.version + 1
    scheduled = case(
        (SOURCES.c.kind.in_(WEBHOOK_KINDS), version), else_=SOURCES.c.scheduled_version
    )
    gone = {
        "deleted_at": now,
        "sealed_secret": b"",
        "version": version,
        "scheduled_version": scheduled,
        "schedule_retry_at": None,
    }
    await session.execute(update(SOURCES).where(*is_theirs).values(gone))
