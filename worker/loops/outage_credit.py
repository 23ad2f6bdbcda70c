"""Extends the deadlines that were open during an outage of ingest, batch by batch.

It needs only the store. Several workers share the work. A batch is one short transaction, and one
that fails is retried after a pause that grows. Until an outage is credited, the code that checks a
deadline adds the credit itself. Run by `worker.main`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from domain.errors import Unavailable
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.outage_credit import BATCH, CreditStep, credit_batch
from store.receipts.pending_credit import pending_outages

CHECK_SECONDS = 1.0
# Ingest runs between two batches: on SQLite it waits while a batch is written. Nothing waits for
# the credit, so each pause is twice as long as the batch. The credit then uses a third of a
# processor at most.
PAUSE_SECONDS = 0.02
PAUSE_PER_BATCH = 2.0
LONGEST_BACKOFF_SECONDS = 30.0

log = structlog.get_logger(__name__)


async def outage_credit_loop(database: Database) -> None:
    """Credit each recorded outage, for ever."""
    backoff_seconds = CHECK_SECONDS
    while True:
        try:
            await credit_all(database)
        except Unavailable:
            pause_seconds = backoff_seconds
        except Exception:
            # The edge of this loop: an outage that cannot be credited now must not end the worker.
            log.exception("crediting_failed")
            pause_seconds = backoff_seconds
        else:
            pause_seconds = backoff_seconds = CHECK_SECONDS
        await asyncio.sleep(pause_seconds)
        backoff_seconds = min(2 * pause_seconds, LONGEST_BACKOFF_SECONDS)


async def credit_all(
    database: Database,
    *,
    batch: int = BATCH,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> int:
    """Credit until nothing is pending for this process. Returns how many deadlines moved."""
    began, looked_at, credited = time.monotonic(), 0, 0
    batch_began = began
    while not (step := await _credit_batch(database, batch)).is_over:
        looked_at, credited = looked_at + step.looked_at, credited + step.credited
        await pause(max(PAUSE_SECONDS, PAUSE_PER_BATCH * (time.monotonic() - batch_began)))
        batch_began = time.monotonic()
    if looked_at:
        seconds = round(time.monotonic() - began, 1)
        log.info("outage_credited", receipts=looked_at, deadlines=credited, seconds=seconds)
    return credited


async def _credit_batch(database: Database, batch: int) -> CreditStep:
    async with database.reading() as session:
        if not await pending_outages(SessionStatements(session)):
            return CreditStep(0, 0, is_over=True)
    async with database.transaction() as session:
        return await credit_batch(
            SessionStatements(session), await database.now(session), limit=batch
        )
