"""Erases what sources saw after 40 days, and removed sources with everything that they saw.

A removed source's own row is erased last: after its rows, and after the worker has deleted its
Schedule in Temporal. Each function deletes one batch of at most `limit` rows and returns how many.
`skip` leaves out so many rows, because they cannot be deleted. Called by
`store.maintenance.retention`.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, delete, exists, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from store.schema.tables import SOURCE_EVENTS, SOURCE_GAPS, SOURCE_IS_REMOVED, SOURCES
from store.sources.report import EVENTS_KEPT


async def purge_source_events(session: AsyncSession, now: datetime, limit: int, skip: int) -> int:
    """Erase what sources saw: what is old, or of a removed source."""
    age = SOURCE_EVENTS.c.seen_at
    return await _purge_rows(session, SOURCE_EVENTS, age, now, limit, skip)


async def purge_source_gaps(session: AsyncSession, now: datetime, limit: int, skip: int) -> int:
    """Erase gaps: what is old, or of a removed source."""
    return await _purge_rows(session, SOURCE_GAPS, SOURCE_GAPS.c.found_at, now, limit, skip)


async def purge_sources(session: AsyncSession, now: datetime, limit: int, skip: int) -> int:
    """Erase removed sources that have no rows and no Schedule any more."""
    del now
    is_unscheduled = SOURCES.c.scheduled_version >= SOURCES.c.version
    is_empty = (
        ~exists().where(table.c.source_id == SOURCES.c.id) for table in (SOURCE_EVENTS, SOURCE_GAPS)
    )
    removed = _removed().where(is_unscheduled, *is_empty)
    chosen = _locked(removed.order_by(SOURCES.c.id).limit(limit).offset(skip))
    purged = delete(SOURCES).where(SOURCES.c.id.in_(chosen))
    return len((await session.execute(purged.returning(SOURCES.c.id))).all())


async def _purge_rows(
    session: AsyncSession,
    table: Table,
    age: ColumnElement[Any],
    now: datetime,
    limit: int,
    skip: int,
) -> int:
    """Erase old rows, by the index of their age. Then those of removed sources, by theirs."""
    old = select(table.c.id).where(age <= now - EVENTS_KEPT).order_by(age, table.c.id)
    purged = await _delete(session, table, old.limit(limit).offset(skip))
    left = limit - purged
    if left == 0:
        return purged
    of_removed = select(table.c.id).where(table.c.source_id.in_(_removed())).limit(left)
    if skip:  # sorting reads all of them
        of_removed = of_removed.order_by(table.c.id).offset(skip)
    return purged + await _delete(session, table, of_removed)


async def _delete(session: AsyncSession, table: Table, chosen: Select[Any]) -> int:
    purged = delete(table).where(table.c.id.in_(_locked(chosen)))
    return len((await session.execute(purged.returning(table.c.id))).all())


def _removed() -> Select[Any]:
    """The removed sources, by the partial index `sources_removed`."""
    return select(SOURCES.c.id).where(text(SOURCE_IS_REMOVED))


def _locked(chosen: Select[Any]) -> Select[Any]:
    """Lock the rows that no other transaction has locked. It never waits, so it cannot deadlock."""
    # PostgreSQL might run a subquery with a limit twice; a common table expression runs once.
    return select(chosen.with_for_update(skip_locked=True).cte("chosen"))
