"""Connection pools, one for each purpose, so that one purpose cannot use up what another needs.

A pool has a few connections and fair permits (`store.db.permits`). A pool for heavy queries also
has a time limit for its statements. Errors inside a session are classified here: if the store is at
fault, the caller gets `Unavailable`. Only `store.db.database` makes and uses pools.
"""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from domain.errors import RateLimited, TooSlow, Unavailable
from store.db.engines import Generation, postgres_engine, snapshots, sqlite_engine
from store.db.errors import (
    BROKEN,
    RETRY_AFTER_SECONDS,
    Follows,
    is_time_limit,
    judge,
    unavailable,
)
from store.db.outage_log import OutageLog
from store.db.permits import Permits
from store.db.pool_limits import PoolLimits
from store.db.postgres import DURABLE, ONE_PROCESS
from store.db.sqlite import time_limit

# How much longer than the server the driver waits before it gives up a statement.
DRIVER_MARGIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Pool:
    """A connection pool with its limits and permits."""

    engine: AsyncEngine
    limits: PoolLimits
    permits: Permits
    outages: OutageLog

    @asynccontextmanager
    async def session(self, name: str = "") -> AsyncIterator[AsyncSession]:
        """A session in a transaction that commits at the end of the block. `name` holds the permit.

        Raises: Unavailable; RateLimited when `name` is at its limit and none of its permits becomes
            free in time.
        """
        try:
            await self.permits.acquire(name, seconds=self.limits.permit_seconds)
        except TimeoutError as error:
            raise self._no_permit(name) from error
        began = time.monotonic()
        try:
            async with (
                AsyncSession(self.engine, expire_on_commit=False) as session,
                session.begin(),
            ):
                await self._connect(session)
                with time_limit(await _sqlite_connection(session), self.limits.limit_seconds):
                    yield session
        except DBAPIError as error:
            if self.limits.each is not None and is_time_limit(error):
                raise _too_slow(self.limits.limit_seconds) from error
            follows = judge(error)
            if follows in {Follows.RECONNECT, Follows.UNAVAILABLE}:
                self.outages.failed(error.orig or error)
            if follows is not Follows.STATEMENT:
                raise unavailable() from error
            raise
        finally:
            cooldown_seconds = self.limits.cooldown_after(time.monotonic() - began)
            self.permits.release(name, cooldown_seconds=cooldown_seconds)

    async def _connect(self, session: AsyncSession) -> None:
        """Check out a connection. An error here is the store's, one of the block the caller's."""
        try:
            await session.connection()
        # InvalidRequestError: connections are lost as fast as they are made.
        except (*BROKEN, InvalidRequestError) as error:
            self.outages.failed(error)
            raise unavailable() from error
        except Unavailable as error:
            self.outages.failed(error.__cause__ or error)
            raise
        self.outages.succeeded()

    def _no_permit(self, name: str) -> RateLimited | Unavailable:
        if self.limits.each is None:
            return unavailable()
        if self.permits.has_all(name):
            return RateLimited(
                f"{self.limits.each} lists or searches are running already, or ended just now: wait"
                " for them.",
                retry_after_seconds=1,
            )
        return unavailable("Many lists and searches are running: try again soon.")


def _too_slow(seconds: float | None) -> TooSlow:
    return TooSlow(
        f"This search took longer than {seconds:g} s: narrow it, by a span of time, a filter or a"
        " whole id.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


async def _sqlite_connection(session: AsyncSession) -> sqlite3.Connection | None:
    """The raw connection of a SQLite session. None on PostgreSQL, which has its own time limits."""
    if session.get_bind().dialect.name != "sqlite":
        return None
    driver = (await (await session.connection()).get_raw_connection()).driver_connection
    found = getattr(driver, "_conn", None)
    return found if isinstance(found, sqlite3.Connection) else None


def sqlite_pool(
    path: Path,
    limits: PoolLimits,
    outages: OutageLog,
    *,
    writes: bool = False,
    on_loop: bool = False,
) -> Pool:
    """A pool on a file that exists. A pool that writes has one connection.

    `on_loop`: the event loop itself writes.
    """
    # SQLite has one writer anyway. Waiting for a permit is fair; polling the write lock is not.
    connections = 1 if writes else limits.connections
    engine = sqlite_engine(path, connections=connections, writes=writes, on_loop=on_loop)
    return Pool(engine, limits, Permits(connections, each=limits.each), outages)


def postgres_pool(
    url: str,
    limits: PoolLimits,
    generation: Generation,
    outages: OutageLog,
    *,
    statement_seconds: float,
    writes: bool = False,
) -> Pool:
    """A pool of sessions that write, or of sessions that see one snapshot (REPEATABLE READ)."""
    limit, lock_seconds = limits.limit_seconds, limits.lock_seconds
    timeout = ""
    if limit is not None:
        timeout = f"{ONE_PROCESS}; SET LOCAL statement_timeout = {round(limit * 1000)}"
    lock = "" if lock_seconds is None else f"SET LOCAL lock_timeout = {round(lock_seconds * 1000)}"
    engine = postgres_engine(
        url,
        generation,
        connections=limits.connections,
        statement_seconds=statement_seconds if limit is None else limit + DRIVER_MARGIN_SECONDS,
        at_begin="; ".join(filter(None, (DURABLE if writes else "", timeout, lock))),
        may_be_standby=not writes,
    )
    permits = Permits(limits.connections, each=limits.each)
    return Pool(engine if writes else snapshots(engine), limits, permits, outages)
