"""Copies the texts of receipts into the trigram index, batch by batch, a minute after they came.

It needs only the store. A batch is one short transaction, followed by a pause, so that ingest
commits in between. Projects take turns. Several workers may run: they repeat each other's batches,
which changes nothing. Run by `worker.main`.
"""

import asyncio
import time
from collections import deque
from datetime import datetime

import structlog

from domain.errors import Unavailable
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.lists.search_index import (
    FIX_SEARCH_INDEX,
    Progress,
    empty_unusable_index,
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


async def search_index_loop(database: Database, *, every_seconds: float = CHECK_SECONDS) -> None:
    """Index what was accepted meanwhile, until cancelled."""
    is_missing = False
    while True:
        try:
            was_missing, is_missing = is_missing, await index_all(database) is None
            if is_missing and not was_missing:
                log.warning("search_index_missing", fix=FIX_SEARCH_INDEX)
        except Unavailable:
            log.warning("indexing_store_unavailable")
        except Exception:
            # The edge of this loop: searches go on without what is not indexed.
            log.exception("indexing_failed")
        await asyncio.sleep(every_seconds)


async def index_all(database: Database, *, pause_per_batch: float = PAUSE_PER_BATCH) -> int | None:
    """Index every receipt that is old enough now. Returns the number of batches; None without an
    index.

    A project whose batch fails is left out until the next time.
    """
    async with database.reading() as session:
        st, now = SessionStatements(session), await database.now(session)
        has_index = await has_trigrams(st)
        behind = deque(await projects_behind(st, now) if has_index else ())
    if not has_index:
        await _empty_unusable_index(database)
        return None
    await _follow_clock(database)
    batches = 0
    while behind:
        began = time.monotonic()
        if (further := await _index_next(database, behind.popleft(), now)) is not None:
            behind.append(further)
        batches += 1
        await asyncio.sleep(max(PAUSE_SECONDS, time.monotonic() - began) * pause_per_batch)
    return batches


async def _index_next(database: Database, progress: Progress, now: datetime) -> Progress | None:
    """Index one batch of a project; returns how far it is then, None if there is no more."""
    try:
        async with database.transaction() as session:
            return await index_batch(SessionStatements(session), progress, now)
    except Unavailable:
        raise
    except Exception:
        # One project's texts must not keep those of the others out of the index.
        log.exception("indexing_failed", project_id=progress.project_id)
        return None


async def _empty_unusable_index(database: Database) -> None:
    async with database.transaction() as session:
        await empty_unusable_index(SessionStatements(session))


async def _follow_clock(database: Database) -> None:
    async with database.transaction() as session:
        await follow_clock(SessionStatements(session), await database.now(session))
