"""The raw transactions of the front door, one at a time: on SQLite a connection of its own on the event loop, on PostgreSQL one
through asyncpg. It reconnects by itself; a transaction that cannot begin or commit raises, and nothing of it is stored.

On SQLite waiting for the one writer's place happens off the lock's own busy handler, since that would stop the event loop.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

import asyncpg

from domain.errors import Unavailable
from store.db.database import dialect_of, sqlite_path
from store.db.errors import BROKEN, Follows, judge
from store.db.pools import SQLITE_PRAGMAS
from store.db.postgres import Connection, connect_postgres
from store.db.sql import PostgresStatements, SqliteStatements, Statements
from store.db.sqlite import FileMark, begin_writing, connect, mark_of

LOCK_TIMEOUT = "5s"  # for a key that another process has claimed and not yet committed, or a receipt that it moves
HURRIED_LOCK_TIMEOUT = "200ms"  # for one that was waited for in vain before
LONGEST_PAUSE_SECONDS = 0.004
OUTBOX_CHANNEL = "makegood_outbox"
NOTIFY_EVERY_SECONDS = 0.1  # a lone receipt wakes a dispatcher at once; in a stream they are awake anyway


class LockTimeout(Exception):
    """Another process holds a lock for too long: on a key that it claimed (`is_of_key`), or on the receipt that it moves.

    So it also counts when the server's own time limit ends the wait, where it is shorter than ours.
    """

    def __init__(self, *, is_of_key: bool) -> None:
        super().__init__()
        self.is_of_key = is_of_key


class IngestConnection(Protocol):
    """Where the committer's transactions come from."""

    def transaction(self, *, short_lock_timeout: bool = False) -> AbstractAsyncContextManager[Statements]:
        """`short_lock_timeout`: wait for no lock of another process that is held for longer than a moment.

        Raises: LockTimeout in time.
        """
        ...

    def outside_transaction(self) -> AbstractAsyncContextManager[Statements | None]:
        """Statements that commit each by itself, where that saves round trips; None where it would only cost syncs."""
        ...

    async def close(self) -> None: ...


def open_front_door(url: str) -> IngestConnection:
    """The front door of the store at `url`; it connects when it is first used.

    Raises:
        ValueError: the URL names neither SQLite nor PostgreSQL.
    """
    match dialect_of(url):
        case "sqlite":
            return SqliteFrontDoor(sqlite_path(url))
        case "postgresql":
            return PostgresFrontDoor(url)


def is_store_failure(error: Exception) -> bool:
    """Whether the store, not a statement, is at fault: trying the members of a batch singly would not help.

    A deadlock, a lost race or a lock that is not given is the batch's: its members succeed singly.
    """
    if isinstance(error, LockTimeout):
        return False
    return isinstance(error, Unavailable) or judge(error) in (Follows.UNAVAILABLE, Follows.RECONNECT)


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed later, although it failed by itself now."""
    return judge(error) is Follows.AGAIN


def _is_elsewhere(error: BaseException) -> bool:
    """Whether PostgreSQL itself says that this server, or this session, takes nothing more."""
    return isinstance(error, asyncpg.PostgresError) and judge(error) is Follows.RECONNECT


class SqliteFrontDoor:
    """One connection, `BEGIN IMMEDIATE`, synchronous FULL."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._connection: sqlite3.Connection | None = None
        self._files: tuple[FileMark | None, FileMark | None] | None = None

    @asynccontextmanager
    async def transaction(self, *, short_lock_timeout: bool = False) -> AsyncIterator[Statements]:
        """There is one lock, and it is waited for in any case."""
        try:
            connection = self._connect()
            await begin_writing(connection, LONGEST_PAUSE_SECONDS)
            self._refuse_moved()
            yield SqliteStatements(connection)
            self._refuse_moved()
            connection.execute("COMMIT")
        except BaseException as error:
            self._abandon(is_lost=judge(error) is Follows.RECONNECT)
            raise

    @asynccontextmanager
    async def outside_transaction(self) -> AsyncIterator[None]:
        """Never: each statement would be a sync of its own."""
        yield None

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            pragmas = (*SQLITE_PRAGMAS, "PRAGMA busy_timeout = 0")
            self._connection, self._files = connect(self._path, pragmas, creates=False, cached_statements=256), None
        return self._connection

    def _refuse_moved(self) -> None:
        """Refuse files that were removed or replaced: SQLite would go on writing to them, and nothing of it would be kept.

        Raises: OSError.
        """
        files = (mark_of(self._path), mark_of(self._log))
        self._files = self._files or files
        if self._files != files or files[0] is None:
            raise OSError("the database's files are other ones")

    def _abandon(self, *, is_lost: bool) -> None:
        """Roll back; a connection that cannot even do that, or whose file is lost, is given up."""
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            is_lost = True
        if is_lost:
            self._connection = None
            with suppress(sqlite3.Error):
                connection.close()


class PostgresFrontDoor:
    """One connection; `NOTIFY` wakes the dispatchers after a commit, at most every few milliseconds."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None
        self._notified_at = 0.0

    @asynccontextmanager
    async def transaction(self, *, short_lock_timeout: bool = False) -> AsyncIterator[Statements]:
        async with self.outside_transaction() as statements:
            connection = await self._connect()
            await connection.execute(
                f"BEGIN; SET LOCAL lock_timeout = '{HURRIED_LOCK_TIMEOUT}'" if short_lock_timeout else "BEGIN"
            )
            yield statements
            await connection.execute("COMMIT")

    @asynccontextmanager
    async def outside_transaction(self) -> AsyncIterator[Statements]:
        connection = await self._connect()
        try:
            yield PostgresStatements(connection)
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError) as error:
            await self._abandon(connection)
            # PostgreSQL names the relation, in whatever language.
            raise LockTimeout(is_of_key='"idempotency' in (error.context or "")) from error
        except BaseException as error:
            await self._abandon(connection, is_lost=_is_elsewhere(error))
            raise
        await self._notify(connection)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close(timeout=2)
            self._connection = None

    async def _connect(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            connection = await connect_postgres(self._url)
            await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
            self._connection = connection
        return self._connection

    async def _abandon(self, connection: Connection, *, is_lost: bool = False) -> None:
        """Roll back; a connection that cannot even do that, or to a server that cannot write, is given up."""
        if is_lost:
            connection.terminate()
            return
        try:
            await connection.execute("ROLLBACK", timeout=2)
        except BROKEN:
            connection.terminate()

    async def _notify(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._notified_at < NOTIFY_EVERY_SECONDS:
            return
        self._notified_at = now
        try:
            await connection.execute(f"NOTIFY {OUTBOX_CHANNEL}")
        except BROKEN:
            connection.terminate()  # what was said is committed; the dispatchers poll as well
