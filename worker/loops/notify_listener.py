"""Notifies the dispatcher when PostgreSQL sends a NOTIFY about new outbox rows.

SQLite has no NOTIFY and is polled.

A lost connection is opened again, after pauses that grow. Meanwhile the dispatcher polls. A pooler
cannot listen: set `MAKEGOOD_DATABASE_DIRECT_URL`, or the dispatcher only polls. Run by
`worker.build`.
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
# A connection that is dead behind a proxy raises no error, so it is checked.
ALIVE_EVERY_SECONDS = 15.0
POOLED_EVERY_SECONDS = 60.0

log = structlog.get_logger(__name__)


class BehindPooler(Exception):
    """The database URL leads to a pooler, where a session cannot listen."""


async def listen_loop(
    database_url: str,
    notify: Callable[[], None],
    *,
    alive_every_seconds: float = ALIVE_EVERY_SECONDS,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call `notify` for each notification, for ever.

    Check so often that the server answers and accepts writes.
    """
    retry_seconds, is_logged = RETRY_SECONDS, False
    while True:
        began = time.monotonic()
        try:
            await _listen(database_url, notify, alive_every_seconds)
        except BehindPooler:
            if not is_logged:
                log.info("listen_needs_direct_connection", fix="set MAKEGOOD_DATABASE_DIRECT_URL")
            is_logged = True
            await pause(POOLED_EVERY_SECONDS)
        except BROKEN as error:
            log.warning("listen_lost", error=type(error).__name__)
        except Exception:
            # The edge of this loop: without notifications the dispatcher polls, and nothing is
            # lost.
            log.exception("listen_failed")
        if time.monotonic() - began > LONGEST_RETRY_SECONDS:
            retry_seconds = RETRY_SECONDS
        await pause(retry_seconds)
        retry_seconds = min(2 * retry_seconds, LONGEST_RETRY_SECONDS)


async def _listen(
    database_url: str, notify: Callable[[], None], alive_every_seconds: float
) -> None:
    connection = await connect_postgres(database_url)
    try:
        if connection.is_pooled:
            raise BehindPooler
        await connection.add_listener(OUTBOX_CHANNEL, lambda *_: notify())
        notify()
        while True:
            await asyncio.sleep(alive_every_seconds)
            if (
                await connection.fetchval("SHOW transaction_read_only", timeout=RETRY_SECONDS * 5)
                == "on"
            ):
                raise ConnectionError(
                    "this server no longer accepts writes, so no process notifies here"
                )
    finally:
        with suppress(*BROKEN):
            await connection.close(timeout=1)
