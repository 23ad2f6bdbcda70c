"""Copies the texts of receipts into the trigram index, batch by batch, a minute after they came.

It needs only the store. Several workers share the work. A batch is one short transaction, followed
by a pause, so that ingest commits in between. Run by `worker.main`.
"""

import asyncio
import time

import structlog

from domain.errors import Unavailable
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.lists.search_index import (
    Progress,
    follow_clock,
    has_trigrams,
    index_batch,
    projects_behind,
)

CHECK_SECONDS = 15.0
# Nothing waits for the index. It uses a quarter of a processor at most.
PAUSE_SECONDS = 0.02
PAUSE_PER_BATCH = 3.0

log = structlog.get_logger(__name__)


async def search_index_loop(database: Database) -> None:
    """Index what came meanwhile, for ever."""
    while True:
        try:
            await index_all(database)
        except Unavailable:
            log.warning("indexing_store_unavailable")
        except Exception:
            # The edge of this loop: searches go on without what is not indexed.
            log.exception("indexing_failed")
        await asyncio.sleep(CHECK_SECONDS)


async def index_all(database: Database, *, pause_per_batch: float = PAUSE_PER_BATCH) -> int:
    """Index every receipt that is old enough. Returns the number of batches."""
    async with database.reading() as session:
        st = SessionStatements(session)
        if not await has_trigrams(st):
            return 0
        behind = await projects_behind(st, await database.now(session))
    await _follow_clock(database)
    batches = 0
    for first in behind:
        progress: Progress | None = first
        while progress is not None:
            began = time.monotonic()
            progress = await _index_batch(database, progress)
            batches += 1
            await asyncio.sleep(max(PAUSE_SECONDS, time.monotonic() - began) * pause_per_batch)
    return batches


async def _index_batch(database: Database, progress: Progress) -> Progress | None:
    async with database.transaction() as session:
        now = await database.now(session)
        return await index_batch(SessionStatements(session), progress, now)


async def _follow_clock(database: Database) -> None:
    async with database.transaction() as session:
        await follow_clock(SessionStatements(session), await database.now(session))
