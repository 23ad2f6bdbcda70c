"""The raw connection of ingest, which runs one transaction at a time.

1. SQLite: a connection of its own on the event loop. It does not use SQLite's busy handler to wait
   for the write lock, because that would block the event loop.
2. PostgreSQL: a connection of asyncpg.

It reconnects by itself. A transaction that cannot begin or commit raises, and stores nothing.
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
from store.db.engines import SQLITE_PRAGMAS
from store.db.errors import BROKEN, Follows, judge
from store.db.postgres import Connection, connect_postgres
from store.db.sql import PostgresStatements, SqliteStatements, Statements
from store.db.sqlite import FileMark, begin_writing, connect, mark_of

LOCK_TIMEOUT = "5s"  # for a key or a receipt that another process has locked
SHORT_LOCK_TIMEOUT = "200ms"  # for one whose lock timed out before
LONGEST_PAUSE_SECONDS = 0.004
OUTBOX_CHANNEL = "makegood_outbox"
# A single receipt notifies a dispatcher at once. In a stream of receipts the dispatchers run
# anyway.
NOTIFY_EVERY_SECONDS = 0.1


class LockTimeout(Exception):
    """Another process holds a lock for too long: on a key (`is_of_key`) or on a receipt.

    A time limit of the server that is shorter than ours counts as well.
    """

    def __init__(self, *, is_of_key: bool) -> None:
        super().__init__()
        self.is_of_key = is_of_key


class IngestConnection(Protocol):
    """The source of the committer's transactions."""

    def transaction(
        self, *, short_lock_timeout: bool = False
    ) -> AbstractAsyncContextManager[Statements]:
        """Open the transaction of one batch; it commits at the end of the block.

        `short_lock_timeout`: wait at most `SHORT_LOCK_TIMEOUT` for each lock.

        Raises: LockTimeout.
        """
        ...

    def autocommit(self) -> AbstractAsyncContextManager[Statements | None]:
        """Statements that each commit by themselves, which saves round trips.

        None on SQLite, where it would only add syncs.
        """
        ...

    async def close(self) -> None: ...


def open_ingest_connection(url: str) -> IngestConnection:
    """The ingest connection of the store at `url`. It connects on first use.

    Raises:
        ValueError: the URL names neither SQLite nor PostgreSQL.
    """
    match dialect_of(url):
        case "sqlite":
            return SqliteIngestConnection(sqlite_path(url))
        case "postgresql":
            return PostgresIngestConnection(url)


def is_store_failure(error: Exception) -> bool:
    """Whether the store is at fault, so that retrying the members of a batch one by one would fail.

    A deadlock, a lost race or a lock timeout is a failure of the batch: its members can succeed one
    by one.
    """
    if isinstance(error, LockTimeout):
        return False
    return isinstance(error, Unavailable) or judge(error) in (
        Follows.UNAVAILABLE,
        Follows.RECONNECT,
    )


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed later, although it failed on its own now."""
    return judge(error) is Follows.AGAIN


def _is_server_lost(error: BaseException) -> bool:
    """Whether PostgreSQL itself reports that this server or session cannot write any more."""
    return isinstance(error, asyncpg.PostgresError) and judge(error) is Follows.RECONNECT


class SqliteIngestConnection:
    """The committer's connection to SQLite: `BEGIN IMMEDIATE`, synchronous FULL."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._connection: sqlite3.Connection | None = None
        self._files: tuple[FileMark | None, FileMark | None] | None = None

    @asynccontextmanager
    async def transaction(self, *, short_lock_timeout: bool = False) -> AsyncIterator[Statements]:
        """A transaction that waits for the one write lock, whatever `short_lock_timeout` is."""
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
    async def autocommit(self) -> AsyncIterator[None]:
        """None: each statement would need a sync of its own."""
        yield None

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            pragmas = (*SQLITE_PRAGMAS, "PRAGMA busy_timeout = 0")
            self._connection = connect(self._path, pragmas, creates=False, cached_statements=256)
            self._files = None
        return self._connection

    def _refuse_moved(self) -> None:
        """Check that the files were not removed or replaced, because SQLite would go on writing to
        them.

        Raises: OSError.
        """
        files = (mark_of(self._path), mark_of(self._log))
        self._files = self._files or files
        if self._files != files or files[0] is None:
            raise OSError("the database's files were replaced or removed")

    def _abandon(self, *, is_lost: bool) -> None:
        """Roll back. If the rollback fails or the file is lost, drop the connection."""
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


class PostgresIngestConnection:
    """The committer's connection to PostgreSQL.

    After a commit it notifies the dispatchers (`NOTIFY_EVERY_SECONDS`).
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None
        self._notified_at = 0.0

    @asynccontextmanager
    async def transaction(self, *, short_lock_timeout: bool = False) -> AsyncIterator[Statements]:
        timeout = SHORT_LOCK_TIMEOUT if short_lock_timeout else LOCK_TIMEOUT
        async with self._guarded() as connection:
            is_set = not (short_lock_timeout or connection.is_pooled)  # for the session
            limit = "" if is_set else f"; SET LOCAL lock_timeout = '{timeout}'"
            await connection.execute(f"BEGIN{limit}")
            yield PostgresStatements(connection)
            await connection.execute("COMMIT")

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[Statements | None]:
        """None behind a pooler: the lock timeout of a session may be another client's there."""
        if (await self._connect()).is_pooled:
            yield None
            return
        async with self._guarded() as connection:
            yield PostgresStatements(connection)

    @asynccontextmanager
    async def _guarded(self) -> AsyncIterator[Connection]:
        """The connection; after an error it is rolled back, or dropped."""
        connection = await self._connect()
        try:
            yield connection
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError) as error:
            await self._abandon(connection)
            # The context names the relation in every language of the server's messages.
            raise LockTimeout(is_of_key='"idempotency' in (error.context or "")) from error
        except BaseException as error:
            await self._abandon(connection, is_lost=_is_server_lost(error))
            raise
        await self._notify(connection)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close(timeout=2)
            self._connection = None

    async def _connect(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            connection = await connect_postgres(self._url)
            if not connection.is_pooled:
                await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
            self._connection = connection
        return self._connection

    async def _abandon(self, connection: Connection, *, is_lost: bool = False) -> None:
        """Roll back. If the rollback fails or the server is lost, drop the connection."""
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
            connection.terminate()  # the rows are committed, and the dispatchers poll as well
