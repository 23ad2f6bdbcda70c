"""The raw transactions of the front door, one at a time: on SQLite a connection of its own on the event loop, on PostgreSQL one
through asyncpg. It reconnects by itself; a transaction that cannot begin or commit raises, and nothing of it is stored.

On SQLite waiting for the one writer's place happens off the lock's own busy handler, since that would stop the event loop.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import asyncpg

from domain.errors import Unavailable
from store.database import SQLITE_PRAGMAS, connect_postgres, dialect_of, sqlite_path
from store.failures import BROKEN, is_driver_failure, is_postgres_failure, is_sqlite_failure
from store.sqlite_connections import begin_writing, connect
from store.statements import PostgresStatements, SqliteStatements, Statements

LOCK_TIMEOUT = "5s"  # for a key that another process has claimed and not yet committed, or a receipt that it moves
HURRIED_LOCK_TIMEOUT = "200ms"  # for one that was waited for in vain before
LONGEST_PAUSE_SECONDS = 0.004
OUTBOX_CHANNEL = "makegood_outbox"
NOTIFY_EVERY_SECONDS = 0.1  # a lone receipt wakes a dispatcher at once; in a stream they are awake anyway


class LockNotGiven(Exception):
    """Another process holds a lock for too long: on a key that it claimed (`is_of_key`), or on the receipt that it moves."""

    def __init__(self, *, is_of_key: bool) -> None:
        super().__init__()
        self.is_of_key = is_of_key


class FrontDoor(Protocol):
    """Where the committer's transactions come from."""

    def transaction(self, *, is_hurried: bool = False) -> AbstractAsyncContextManager[Statements]:
        """`is_hurried`: wait for no lock of another process that is held for longer than a moment.

        Raises: LockNotGiven in time.
        """
        ...

    def outside_transaction(self) -> AbstractAsyncContextManager[Statements | None]:
        """Statements that commit each by itself, where that saves round trips; None where it would only cost syncs."""
        ...

    async def close(self) -> None: ...


def open_front_door(url: str) -> FrontDoor:
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
    """Whether the store, not a statement, is at fault: trying the members of a batch singly would not help."""
    if isinstance(error, sqlite3.Error):
        return is_sqlite_failure(error)
    if isinstance(error, asyncpg.PostgresError):
        # A deadlock or a lost race is the batch's, not the store's: its members succeed singly.
        return is_postgres_failure(error.sqlstate) and not isinstance(error, asyncpg.TransactionRollbackError)
    return isinstance(error, Unavailable) or is_driver_failure(error)


class SqliteFrontDoor:
    """One connection, `BEGIN IMMEDIATE`, synchronous FULL."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    @asynccontextmanager
    async def transaction(self, *, is_hurried: bool = False) -> AsyncIterator[Statements]:
        """There is one lock, and it is waited for in any case."""
        connection = self._connect()
        await begin_writing(connection, LONGEST_PAUSE_SECONDS)
        try:
            yield SqliteStatements(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
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
            self._connection = connect(self._path, (*SQLITE_PRAGMAS, "PRAGMA busy_timeout = 0"), cached_statements=256)
        return self._connection


class PostgresFrontDoor:
    """One connection; `NOTIFY` wakes the dispatchers after a commit, at most every few milliseconds."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._notified_at = 0.0

    @asynccontextmanager
    async def transaction(self, *, is_hurried: bool = False) -> AsyncIterator[Statements]:
        async with self.outside_transaction() as statements:
            connection = await self._connect()
            await connection.execute(f"BEGIN; SET LOCAL lock_timeout = '{HURRIED_LOCK_TIMEOUT}'" if is_hurried else "BEGIN")
            yield statements
            await connection.execute("COMMIT")

    @asynccontextmanager
    async def outside_transaction(self) -> AsyncIterator[Statements]:
        connection = await self._connect()
        try:
            yield PostgresStatements(connection)
        except asyncpg.LockNotAvailableError as error:
            await self._abandon(connection)
            # PostgreSQL names the relation, in whatever language.
            raise LockNotGiven(is_of_key='"idempotency' in (error.context or "")) from error
        except BaseException:
            await self._abandon(connection)
            raise
        await self._notify(connection)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close(timeout=2)
            self._connection = None

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect_postgres(self._url)
            await self._connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        return self._connection

    async def _abandon(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Roll back; a connection that cannot even do that is given up."""
        try:
            await connection.execute("ROLLBACK", timeout=2)
        except BROKEN:
            connection.terminate()

    async def _notify(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        now = asyncio.get_running_loop().time()
        if now - self._notified_at < NOTIFY_EVERY_SECONDS:
            return
        self._notified_at = now
        try:
            await connection.execute(f"NOTIFY {OUTBOX_CHANNEL}")
        except BROKEN:
            connection.terminate()  # what was said is committed; the dispatchers poll as well
