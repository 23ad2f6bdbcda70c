"""Connection pools, one for each purpose, so that one purpose cannot use up what another needs.

A pool has a few connections and fair permits (`store.db.permits`). A pool for heavy queries also
has a time limit for its statements. Errors inside a session are classified here: if the store is at
fault, the caller gets `Unavailable`. Only `store.db.database` makes and uses pools.
"""

import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry

from domain.errors import RateLimited, TooSlow, Unavailable
from store.db.errors import (
    BROKEN,
    RETRY_AFTER_SECONDS,
    Follows,
    is_driver_failure,
    is_time_limit,
    judge,
    unavailable,
)
from store.db.outage_log import OutageLog
from store.db.permits import Permits
from store.db.pool_limits import PoolLimits
from store.db.postgres import DURABLE, ONE_PROCESS, connect_postgres
from store.db.postgres import Connection as PostgresConnection
from store.db.sqlite import BEGIN_WRITING, connect_in_thread, connect_inline, mark_of, time_limit

# How much longer than the server the driver waits before it gives up a statement.
DRIVER_MARGIN_SECONDS = 2.0
# FULL: an acknowledged receipt survives a power cut. WAL: readers and the one writer do not wait
# for each other.
SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA wal_autocheckpoint = 16000",  # pages, 64 MiB: a checkpoint stops ingest, so it is rare
    "PRAGMA secure_delete = ON",  # deleted content is zeroed: a destroyed key is gone
    "PRAGMA temp_store = MEMORY",  # otherwise each upsert writes an undo journal to a file
)


class Generation:
    """Counts how often the store was lost. Connections from before a loss are not used again."""

    def __init__(self) -> None:
        self.number = 0

    def end(self) -> None:
        self.number += 1


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


def sqlite_engine(
    path: Path,
    *,
    connections: int = 1,
    writes: bool = True,
    on_loop: bool = False,
    creates: bool = False,
) -> AsyncEngine:
    """A SQLAlchemy engine on the file. `creates`: make the file if it does not exist."""
    # Any: the driver's connection, or one with its interface.
    connect: Callable[[], Awaitable[Any]]
    if on_loop:
        # BEGIN waits for the write lock without blocking the loop, so SQLite's own waiting is off.
        connect = partial(connect_inline, path, (*SQLITE_PRAGMAS, "PRAGMA busy_timeout = 0"))
    else:
        pragmas = SQLITE_PRAGMAS if writes else (*SQLITE_PRAGMAS, "PRAGMA query_only = ON")
        connect = partial(connect_in_thread, path, pragmas, creates=creates)
    engine = create_async_engine(
        "sqlite+aiosqlite:///",
        async_creator=connect,
        poolclass=AsyncAdaptedQueuePool,  # not the default, because the URL names no file
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # otherwise an error, and then the log, would quote the parameters
    )
    begin = BEGIN_WRITING if writes else "BEGIN"

    @event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    @event.listens_for(engine.sync_engine, "connect")
    def mark(_: object, record: ConnectionPoolEntry) -> None:
        record.info["file"] = mark_of(path)

    @event.listens_for(engine.sync_engine, "checkout")
    def refuse_moved(_: object, record: ConnectionPoolEntry, __: object) -> None:
        # SQLite would go on writing to a file that was replaced or removed, without an error.
        if record.info.get("file") != mark_of(path):
            raise DisconnectionError("the database's file was replaced or removed")

    @event.listens_for(engine.sync_engine, "handle_error")
    def drop_lost(context: ExceptionContext) -> None:
        if judge(context.original_exception) is Follows.RECONNECT:
            context.is_disconnect, context.invalidate_pool_on_disconnect = True, True

    return engine


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


def snapshots(engine: AsyncEngine) -> AsyncEngine:
    """The same connections, for read-only sessions."""
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def postgres_engine(
    url: str,
    generation: Generation,
    *,
    connections: int,
    statement_seconds: float | None,
    at_begin: str = DURABLE,
    may_be_standby: bool = False,
) -> AsyncEngine:
    """A SQLAlchemy engine that replaces its connections after the store was lost."""

    async def connect() -> PostgresConnection:
        try:
            made_in = generation.number
            made = await connect_postgres(
                url,
                statement_seconds=statement_seconds,
                at_begin=at_begin,
                may_be_standby=may_be_standby,
            )
        except BROKEN as error:
            raise unavailable() from error
        made.made_in = made_in
        return made

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,
    )

    @event.listens_for(engine.sync_engine, "checkout")
    # Any: the dialect's own connection around ours.
    def refuse_old(adapted: Any, _: object, __: object) -> None:
        connection = adapted.driver_connection
        if connection.made_in < generation.number or connection.is_expired:
            raise DisconnectionError("the store was lost since this connection was made")

    @event.listens_for(engine.sync_engine, "handle_error")
    def drop_lost(context: ExceptionContext) -> Unavailable | None:
        if judge(context.sqlalchemy_exception or context.original_exception) is Follows.RECONNECT:
            context.is_disconnect = True
            # One slow statement does not mean that the other connections are lost.
            if not isinstance(context.original_exception, TimeoutError):
                generation.end()
        if not is_driver_failure(context.original_exception):
            return None
        # asyncpg raises some errors, such as its time limit, past SQLAlchemy. Only the driver
        # raises here, so a caller's own TimeoutError in a session's block stays unchanged.
        context.is_disconnect, context.invalidate_pool_on_disconnect = True, False
        return unavailable()

    return engine
