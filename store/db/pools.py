"""The pools of connections, one for each purpose, so that no purpose can use up what another one needs.

A lane has a few connections, turns that are taken in order, and, for what may be heavy, a time limit for its statements. What
breaks in a session is judged here: a store at fault is `Unavailable`. Made and used by `store.db.database` alone.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
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
from store.db.errors import BROKEN, RETRY_AFTER_SECONDS, Follows, is_driver_failure, is_time_limit, judge, unavailable
from store.db.permits import Permits
from store.db.postgres import DURABLE, ONE_PROCESS, connect_postgres
from store.db.postgres import Connection as PostgresConnection
from store.db.sqlite import BEGIN_WRITING, connect_in_thread, connect_inline, mark_of

INTERRUPT_EVERY_SECONDS = 0.05
DRIVER_MARGIN_SECONDS = 2.0  # until the driver gives a statement up that the server has not ended
# FULL: an acknowledged receipt survives a power cut. WAL: readers and the one writer do not wait for each other.
SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA wal_autocheckpoint = 16000",  # pages, 64 MiB: a checkpoint stops the front door, so let it be rare
    "PRAGMA secure_delete = ON",  # what is overwritten or deleted is zeroed in the file: a data key that is destroyed is gone
    "PRAGMA temp_store = MEMORY",  # else each upsert writes an undo journal to a file
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many connections a lane has, and how long a turn is waited for.

    `each` is how many of them one name has at most. `limit_seconds` is how long a statement may take, None for the usual;
    `lock_seconds` how long it waits for a row of PostgreSQL that somebody else has locked. A place rests `rests` times as long as
    it was used, within `rest_seconds`, before its name has it again: so one name has a bounded share of the processors.
    """

    connections: int
    turn_seconds: float = 15
    each: int | None = None
    limit_seconds: float | None = None
    lock_seconds: float | None = None
    rests: float = 0.0
    rest_seconds: tuple[float, float] = (0.1, 2.0)

    def rest_after(self, used_seconds: float) -> float:
        """How long a place rests; a request costs more than its statements, so that a fast one rests too."""
        least, most = self.rest_seconds
        return min(max(used_seconds * self.rests, least), most) if self.rests else 0.0


# On PostgreSQL an API process has 18 connections at most, with its front door's, and a worker 14, with its listener's.
# Who waits for a locked row holds a connection: for no longer than the front door waits.
WRITING = Bounds(connections=6, lock_seconds=5)
READING = Bounds(connections=3, turn_seconds=3)
SEARCHING = Bounds(connections=3, turn_seconds=2, each=2, limit_seconds=2, rests=3)
# One of them for keys that are in use, whatever else is asked (`api.auth.api_keys`).
LOOKING_UP = Bounds(connections=2, turn_seconds=5, limit_seconds=2)
HEARTBEAT = Bounds(connections=1, turn_seconds=5, limit_seconds=10)
WATCHING = Bounds(connections=1, turn_seconds=2, limit_seconds=2)
MEASURING = Bounds(connections=1, turn_seconds=2, limit_seconds=1)
LOOPING = Bounds(connections=3)


class Generation:
    """Counts how often the store was lost: a connection that is older than the last loss is not used again."""

    def __init__(self) -> None:
        self.number = 0

    def end(self) -> None:
        self.number += 1


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool of connections, and who may use it next."""

    engine: AsyncEngine
    bounds: Bounds
    turns: Permits

    @asynccontextmanager
    async def session(self, name: str = "") -> AsyncIterator[AsyncSession]:
        """A session in a transaction that is committed at the end of the block; `name` is who is given a turn.

        Raises: Unavailable; RateLimited when `name` has all places that one may have, and none becomes free in time.
        """
        try:
            await self.turns.take(name, seconds=self.bounds.turn_seconds)
        except TimeoutError as error:
            raise self._no_permit(name) from error
        began = time.monotonic()
        try:
            async with AsyncSession(self.engine, expire_on_commit=False) as session, session.begin():
                await _connected(session)
                with _interrupted(await _sqlite_connection(session), self.bounds.limit_seconds):
                    yield session
        except DBAPIError as error:
            if self.bounds.each is not None and is_time_limit(error):
                raise _too_slow(self.bounds.limit_seconds) from error
            if judge(error) is not Follows.STATEMENT:
                raise unavailable() from error
            raise
        finally:
            self.turns.release(name, rest_seconds=self.bounds.rest_after(time.monotonic() - began))

    def _no_permit(self, name: str) -> RateLimited | Unavailable:
        if self.bounds.each is None:
            return unavailable()
        if self.turns.has_all(name):
            detail = f"{self.bounds.each} lists or searches are running already, or ended just now: wait for them."
            return RateLimited(detail, retry_after_seconds=1)
        return unavailable("Many lists and searches are running: try again soon.")


def _too_slow(seconds: float | None) -> TooSlow:
    detail = f"This search took longer than {seconds:g} s: narrow it, by a span of time, a filter or a whole id."
    return TooSlow(detail, retry_after_seconds=RETRY_AFTER_SECONDS)


async def _connected(session: AsyncSession) -> None:
    """Check a connection out now: what breaks here is the store's, while the block's own errors are the caller's."""
    try:
        await session.connection()
    except (*BROKEN, InvalidRequestError) as error:  # the latter when connections are lost as fast as they are made
        raise unavailable() from error


async def _sqlite_connection(session: AsyncSession) -> sqlite3.Connection | None:
    """The raw connection of a SQLite session; None on PostgreSQL, which ends long statements itself."""
    if session.get_bind().dialect.name != "sqlite":
        return None
    driver = (await (await session.connection()).get_raw_connection()).driver_connection
    found = getattr(driver, "_conn", None)
    return found if isinstance(found, sqlite3.Connection) else None


@contextmanager
def _interrupted(connection: sqlite3.Connection | None, limit_seconds: float | None) -> Iterator[None]:
    """End the statements of the block once it has taken so long; SQLite has no limit of its own."""
    if connection is None or limit_seconds is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        # Again and again: it ends only what runs at this moment, and between two statements nothing does.
        connection.interrupt()
        timers.append(loop.call_later(INTERRUPT_EVERY_SECONDS, interrupt))

    timers = [loop.call_later(limit_seconds, interrupt)]
    try:
        yield
    finally:
        timers[-1].cancel()


def sqlite_pool(path: Path, bounds: Bounds, *, writes: bool = False, on_loop: bool = False) -> Pool:
    """A lane of a file that exists; where it writes, it has one connection. `on_loop`: the event loop itself writes."""
    # SQLite has one writer anyway, and waiting for a turn is fair where polling the lock is not.
    # On the loop, its BEGIN waits for the writer's place without stopping the loop, so that the lock's own waiting is off.
    connections = 1 if writes else bounds.connections
    engine = sqlite_engine(path, connections=connections, writes=writes, on_loop=on_loop)
    return Pool(engine, bounds, Permits(connections, each=bounds.each))


def sqlite_engine(
    path: Path, *, connections: int = 1, writes: bool = True, on_loop: bool = False, creates: bool = False
) -> AsyncEngine:
    """An engine on the file; `creates` it where there is none."""
    # Any: the driver's connection, or one with its interface.
    connect: Callable[[], Awaitable[Any]]
    if on_loop:
        connect = partial(connect_inline, path, (*SQLITE_PRAGMAS, "PRAGMA busy_timeout = 0"))
    else:
        pragmas = SQLITE_PRAGMAS if writes else (*SQLITE_PRAGMAS, "PRAGMA query_only = ON")
        connect = partial(connect_in_thread, path, pragmas, creates=creates)
    engine = create_async_engine(
        "sqlite+aiosqlite:///",
        async_creator=connect,
        poolclass=AsyncAdaptedQueuePool,  # not by itself, since the URL names no file
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # an error would quote the values of its statement, and a log the error
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
        # A file that was replaced or removed is written no more, although SQLite would do so without an error.
        if record.info.get("file") != mark_of(path):
            raise DisconnectionError("the database's file is another one")

    @event.listens_for(engine.sync_engine, "handle_error")
    def drop_lost(context: ExceptionContext) -> None:
        if judge(context.original_exception) is Follows.RECONNECT:
            context.is_disconnect, context.invalidate_pool_on_disconnect = True, True

    return engine


def postgres_pool(url: str, bounds: Bounds, generation: Generation, *, statement_seconds: float, writes: bool = False) -> Pool:
    """A lane of sessions that write, or of such that see one snapshot, which REPEATABLE READ is PostgreSQL's name for."""
    limit = bounds.limit_seconds
    timeout = "" if limit is None else f"{ONE_PROCESS}; SET LOCAL statement_timeout = {round(limit * 1000)}"
    lock = "" if bounds.lock_seconds is None else f"SET LOCAL lock_timeout = {round(bounds.lock_seconds * 1000)}"
    engine = postgres_engine(
        url,
        generation,
        connections=bounds.connections,
        statement_seconds=statement_seconds if limit is None else limit + DRIVER_MARGIN_SECONDS,
        at_begin="; ".join(filter(None, (DURABLE if writes else "", timeout, lock))),
        may_be_standby=not writes,
    )
    return Pool(engine if writes else snapshots(engine), bounds, Permits(bounds.connections, each=bounds.each))


def snapshots(engine: AsyncEngine) -> AsyncEngine:
    """The same connections, for sessions that read."""
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
    """An engine whose connections are made again once the store was lost."""

    async def connect() -> PostgresConnection:
        try:
            made_in = generation.number
            made = await connect_postgres(
                url, statement_seconds=statement_seconds, at_begin=at_begin, may_be_standby=may_be_standby
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
            if not isinstance(context.original_exception, TimeoutError):  # one slow statement says nothing of the others
                generation.end()
        if not is_driver_failure(context.original_exception):
            return None
        # What asyncpg raises past SQLAlchemy, such as its time limit. Named here, where nothing but the driver raises: a
        # caller's own TimeoutError in a session's block stays what it is.
        context.is_disconnect, context.invalidate_pool_on_disconnect = True, False
        return unavailable()

    return engine
