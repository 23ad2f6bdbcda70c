"""Deletes what has served, once an hour: stored answers, old payloads, spent links, replaced secrets. Never a receipt.

In batches with pauses, so that nobody waits for the store's write lock. Run by `worker.main`; several workers share the work.
"""

import asyncio

import structlog

from domain.errors import Unavailable
from store.database import Database
from store.heartbeats import forget_stale
from store.projects import finish_overdue_rotations
from store.purging import Purged, purge

EVERY_SECONDS = 3600.0
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


async def _purge_batch(database: Database) -> Purged:
    async with database.transaction() as session:
        return await purge(session, await database.now(session), limit=BATCH)
