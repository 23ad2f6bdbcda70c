"""Wakes the dispatcher when PostgreSQL says that the outbox has something new. SQLite has no such thing and is polled.

A lost connection is made again; meanwhile the dispatcher's own poll goes on. Run by `worker.main`.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from store.database import connect_postgres
from store.failures import BROKEN
from store.front_door import OUTBOX_CHANNEL

RETRY_SECONDS = 1.0
# A connection that is dead behind a proxy says nothing: it is asked.
ALIVE_EVERY_SECONDS = 15.0

log = structlog.get_logger(__name__)


async def keep_listening(database_url: str, wake: Callable[[], None]) -> None:
    """Call `wake` for each notification, for ever."""
    while True:
        try:
            await _listen(database_url, wake)
        except BROKEN as error:
            log.warning("listen_lost", error=type(error).__name__)
        except Exception:
            # The edge of this loop: without it the dispatcher polls, and nothing is lost.
            log.exception("listen_failed")
        await asyncio.sleep(RETRY_SECONDS)


async def _listen(database_url: str, wake: Callable[[], None]) -> None:
    connection = await connect_postgres(database_url)
    try:
        await connection.add_listener(OUTBOX_CHANNEL, lambda *_: wake())
        wake()
        while True:
            await asyncio.sleep(ALIVE_EVERY_SECONDS)
            await connection.fetch("SELECT 1", timeout=RETRY_SECONDS * 5)
    finally:
        with suppress(*BROKEN):
            await connection.close(timeout=1)
