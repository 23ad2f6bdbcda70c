"""Deletes what has served, once an hour: stored answers, old payloads, spent links, replaced secrets. Never a receipt, but
those of deleted projects, every few seconds.

In batches with pauses, so that nobody waits for the store's write lock. Run by `worker.main`; several workers share the work.
"""

import asyncio

import structlog

from domain.errors import Unavailable
from store.database import Database
from store.deleting import Erased, erase_deleted, has_deleted
from store.heartbeats import forget_stale
from store.projects import finish_overdue_rotations
from store.purging import Purged, purge

EVERY_SECONDS = 3600.0
ERASE_EVERY_SECONDS = 10.0
BATCH = 1_000
PAUSE_SECONDS = 0.1

log = structlog.get_logger(__name__)


async def keep_purging(database: Database) -> None:
    """Purge now and then every hour, for ever."""
    while True:
        try:
            await purge_all(database)
        except Unavailable:
            log.warning("purge_store_unavailable")
        except Exception:
            # The edge of this loop: what cannot be purged now must not end the worker.
            log.exception("purge_failed")
        await asyncio.sleep(EVERY_SECONDS)


async def keep_erasing(database: Database) -> None:
    """End and erase what deleted projects have left, now and every few seconds, for ever."""
    while True:
        try:
            while (erased := await _erase_batch(database)).total:
                log.info("deleted_projects_erased", ended=erased.ended, receipts=erased.receipts, answers=erased.answers)
                await asyncio.sleep(PAUSE_SECONDS)
        except Unavailable:
            pass  # said by those who wanted more of the store than this
        except Exception:
            # The edge of this loop: what cannot be erased now must not end the worker.
            log.exception("erasing_failed")
        await asyncio.sleep(ERASE_EVERY_SECONDS)


async def purge_all(database: Database) -> None:
    """Purge until nothing is left to purge."""
    async with database.transaction() as session:
        now = await database.now(session)
        await forget_stale(session, now)
        await finish_overdue_rotations(session, now)
    total = 0
    while (purged := await _purge_batch(database)).total:
        total += purged.total
        await asyncio.sleep(PAUSE_SECONDS)
    if total:
        log.info("purged", rows=total)


async def _erase_batch(database: Database) -> Erased:
    async with database.reading() as session:
        if not await has_deleted(session):
            return Erased(0, 0, 0)
    async with database.transaction() as session:
        return await erase_deleted(session, await database.now(session))


async def _purge_batch(database: Database) -> Purged:
    async with database.transaction() as session:
        return await purge(session, await database.now(session), limit=BATCH)
