"""Which sources Temporal's Schedules do not follow yet. `worker.loops.source_schedules` asks."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import ProjectId, SourceId
from store.projects.data_keys import NOT_DELETED
from store.schema import tables
from store.schema.tables import PROJECTS, SOURCES

_IS_TO_SCHEDULE = text(tables.SOURCE_IS_TO_SCHEDULE)
_IS_NOT_SCHEDULED = text(tables.SOURCE_IS_NOT_SCHEDULED)


@dataclass(frozen=True, slots=True)
class ToSchedule:
    """A source whose Schedule must be made as it is now. `retry_at`: not before, after a failure.

    `every_minutes` None: it is no API's, and has no Schedule. `is_removed`: it or its project is.
    `check_requested_at`: someone wants a listing now.
    """

    id: SourceId
    project_id: ProjectId
    version: int
    every_minutes: int | None
    is_paused: bool
    is_removed: bool
    check_requested_at: datetime | None
    retry_at: datetime | None


@dataclass(frozen=True, slots=True)
class NotScheduled:
    """How many Schedules could not be changed, and when the first is tried again."""

    count: int
    retry_at: datetime | None


async def sources_to_schedule(
    session: AsyncSession, *, after: SourceId | None, limit: int, is_newest: bool = False
) -> list[ToSchedule]:
    """Up to `limit` changed sources of all projects, in the order of their ids, or the newest."""
    project = PROJECTS.c.deleted_at.label("project_deleted_at")
    changed = (
        select(SOURCES, project)
        .outerjoin(PROJECTS, PROJECTS.c.id == SOURCES.c.project_id)
        .where(_IS_TO_SCHEDULE, SOURCES.c.id > (after or ""))
        .order_by(SOURCES.c.id.desc() if is_newest else SOURCES.c.id)
        .limit(limit)
    )
    return [
        ToSchedule(
            id=SourceId(row.id),
            project_id=ProjectId(row.project_id),
            version=row.version,
            every_minutes=row.every_minutes,
            is_paused=row.paused_at is not None,
            is_removed=row.deleted_at is not None or row.project_deleted_at is not None,
            check_requested_at=row.check_requested_at,
            retry_at=row.schedule_retry_at,
        )
        for row in await session.execute(changed)
    ]


async def mark_scheduled(session: AsyncSession, source: ToSchedule) -> None:
    """Record that Temporal has this version. A change since then is scheduled again."""
    requested = SOURCES.c.check_requested_at
    is_handled = requested.is_not_distinct_from(source.check_requested_at)
    values = {
        "scheduled_version": source.version,
        "check_requested_at": case((is_handled, None), else_=requested),
        "schedule_retry_at": None,
    }
    is_it = (SOURCES.c.id == source.id, SOURCES.c.scheduled_version < source.version)
    await session.execute(update(SOURCES).where(*is_it).values(values))


async def record_not_scheduled(
    session: AsyncSession, source: ToSchedule, retry_at: datetime
) -> None:
    """Record when the Schedule is tried again. A source that changed meanwhile is tried at once."""
    is_it = (SOURCES.c.id == source.id, SOURCES.c.version == source.version, _IS_TO_SCHEDULE)
    await session.execute(update(SOURCES).where(*is_it).values(schedule_retry_at=retry_at))


async def read_not_scheduled(session: AsyncSession, *, limit: int) -> NotScheduled:
    """The sources whose Schedule could not be changed, `limit` at most."""
    retried = select(SOURCES.c.schedule_retry_at).where(_IS_NOT_SCHEDULED)
    first = retried.order_by(SOURCES.c.schedule_retry_at).limit(limit).subquery()
    columns = (func.count(), func.min(first.c.schedule_retry_at))
    count, retry_at = (await session.execute(select(*columns).select_from(first))).one()
    return NotScheduled(count, retry_at)


async def schedule_again(
    session: AsyncSession, *, after: SourceId | None, limit: int
) -> SourceId | None:
    """Let the next `limit` sources be scheduled again. Returns the last one, None after the end."""
    listed = select(SOURCES.c.id).where(SOURCES.c.id > (after or ""))
    ids = list(await session.scalars(listed.order_by(SOURCES.c.id).limit(limit)))
    is_one = (SOURCES.c.id.in_(ids), SOURCES.c.every_minutes.is_not(None))
    await session.execute(update(SOURCES).where(*is_one).values(scheduled_version=0))
    return SourceId(ids[-1]) if ids else None


async def schedule_stopped(
    session: AsyncSession,
    running: Collection[SourceId],
    *,
    since: datetime,
    after: SourceId | None,
    limit: int,
) -> SourceId | None:
    """Let those of the next `limit` sources be scheduled again that are not among the running.

    `since` is when the list of the running began: later sources are not in it. Those that are
    paused need no running Schedule. Returns as `schedule_again`.
    """
    listed = (
        select(SOURCES.c.id)
        .join(PROJECTS, PROJECTS.c.id == SOURCES.c.project_id)
        .where(SOURCES.c.id > (after or ""), SOURCES.c.every_minutes.is_not(None), NOT_DELETED)
        .where(SOURCES.c.deleted_at.is_(None), SOURCES.c.paused_at.is_(None))
        .where(SOURCES.c.created_at < since)
    )
    ids = list(await session.scalars(listed.order_by(SOURCES.c.id).limit(limit)))
    stopped = [source_id for source_id in ids if source_id not in running]
    is_one = (SOURCES.c.id.in_(stopped), SOURCES.c.scheduled_version == SOURCES.c.version)
    await session.execute(update(SOURCES).where(*is_one).values(scheduled_version=0))
    return SourceId(ids[-1]) if len(ids) == limit else None


async def sources_without_schedule(session: AsyncSession, source_ids: Collection[str]) -> set[str]:
    """Those of these ids that need no Schedule: their source, or its project, is gone."""
    kept = (
        select(SOURCES.c.id)
        .join(PROJECTS, PROJECTS.c.id == SOURCES.c.project_id)
        .where(SOURCES.c.id.in_(list(source_ids)), NOT_DELETED)
        .where(or_(SOURCES.c.deleted_at.is_(None), _IS_TO_SCHEDULE))
    )
    return set(source_ids) - set(await session.scalars(kept))
