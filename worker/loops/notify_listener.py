"""Wakes the dispatcher when PostgreSQL says that the outbox has something new. SQLite has no such thing and is polled.

A lost connection is made again, after pauses that grow; meanwhile the dispatcher's own poll goes on. Run by `worker.main`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from store.db.errors import BROKEN
from store.db.postgres import connect_postgres
from store.ingest.connection import OUTBOX_CHANNEL

RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 10.0
# A connection that is dead behind a proxy says nothing: it is asked.
ALIVE_EVERY_SECONDS = 15.0

log = structlog.get_logger(__name__)


async def listen_loop(
    database_url: str,
    wake: Callable[[], None],
    *,
    alive_every_seconds: float = ALIVE_EVERY_SECONDS,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call `wake` for each notification, for ever. The server is asked so often whether it is there and takes writes."""
    retry_seconds = RETRY_SECONDS
    while True:
        began = time.monotonic()
        try:
            await _listen(database_url, wake, alive_every_seconds)
        except BROKEN as error:
            log.warning("listen_lost", error=type(error).__name__)
        except Exception:
            # The edge of this loop: without it the dispatcher polls, and nothing is lost.
            log.exception("listen_failed")
        if time.monotonic() - began > LONGEST_RETRY_SECONDS:
            retry_seconds = RETRY_SECONDS
        await pause(retry_seconds)
        retry_seconds = min(2 * retry_seconds, LONGEST_RETRY_SECONDS)


async def _listen(database_url: str, wake: Callable[[], None], alive_every_seconds: float) -> None:
    connection = await connect_postgres(database_url)
    try:
        await connection.add_listener(OUTBOX_CHANNEL, lambda *_: wake())
        wake()
        while True:
            await asyncio.sleep(alive_every_seconds)
            if await connection.fetchval("SHOW transaction_read_only", timeout=RETRY_SECONDS * 5) == "on":
                raise ConnectionError("this server takes no writes any more, so that nobody notifies here")
    finally:
        with suppress(*BROKEN):
            await connection.close(timeout=1)
