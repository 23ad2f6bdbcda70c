"""The two kinds of SQLite connections, with the interface of aiosqlite that SQLAlchemy's dialect
uses.

1. Inline: each statement runs on the event loop. The worker's writing connection is inline. A
   statement takes microseconds, and a transaction has about twelve. In a thread, each statement
   would wait about four times for a busy event loop while the transaction holds the write lock.
   Only the wait for the write lock yields to the event loop.
2. In a thread: all other connections. A slow disk must not block the event loop of the API.

Made by `store.db.database`.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import aiosqlite

BUSY_SECONDS = 10
INTERRUPT_EVERY_SECONDS = 0.05
BEGIN_WRITING = "BEGIN IMMEDIATE"
FIRST_PAUSE_SECONDS = 0.001
LONGEST_PAUSE_SECONDS = 0.02

FileMark = tuple[int, int]


class Connection(sqlite3.Connection):
    """A connection that rolls back its transaction when it is closed.

    A closed connection stays alive while one of its cursors does, and so does its transaction. So a
    stored exception of a cancelled task would keep the write lock.
    """

    def close(self) -> None:
        if self.in_transaction:
            self.rollback()
        super().close()


async def connect_in_thread(
    path: Path, pragmas: Sequence[str], *, creates: bool = False
) -> aiosqlite.Connection:
    """A connection that runs its statements in a thread of its own."""
    open_file = partial(connect, path, pragmas, creates=creates)
    connection = aiosqlite.Connection(open_file, iter_chunk_size=64)
    # As SQLAlchemy does: a connection that is not closed must not keep the process alive.
    connection._thread.daemon = True
    try:
        return await connection
    except sqlite3.Error:
        # Its thread still has a result to deliver to this loop, which may be about to close.
        await asyncio.to_thread(connection._thread.join)
        raise


async def connect_inline(path: Path, pragmas: Sequence[str]) -> "InlineConnection":
    """A connection that runs its statements on the event loop.

    It waits up to `BUSY_SECONDS` for the write lock.
    """
    # The garbage collector may close a connection that was left open from another thread.
    return InlineConnection(connect(path, pragmas, check_same_thread=False, creates=False))


# Any: sqlite3's own options.
def connect(
    path: Path, pragmas: Sequence[str], *, creates: bool = True, **options: Any
) -> Connection:
    """A raw connection without implicit transactions. `creates`: make the file if it does not
    exist.

    The driver's implicit BEGIN is deferred. A deferred transaction that reads and then writes fails
    at once if another one has written in between.

    Raises: sqlite3.OperationalError when the file cannot be opened, or stays locked for longer than
        `BUSY_SECONDS`.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'rwc' if creates else 'rw'}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_SECONDS,
        factory=Connection,
        **options,
    )
    try:
        for pragma in pragmas:
            _set_pragma(connection, pragma)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def mark_of(path: Path) -> FileMark | None:
    """Device and inode of a file, which change when it is replaced. None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _set_pragma(connection: sqlite3.Connection, pragma: str) -> None:
    """Set a pragma, with retries.

    When several connections switch a new file to WAL, all but one fail at once, despite the
    timeout.
    """
    give_up_at = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(pragma)
            return
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > give_up_at:
                raise
        time.sleep(FIRST_PAUSE_SECONDS)


async def begin_writing(
    on: sqlite3.Connection | sqlite3.Cursor, longest_pause_seconds: float
) -> None:
    """Take the write lock. Sleep between tries: SQLite's own waiting would block the event loop.

    Raises: sqlite3.OperationalError, with `SQLITE_BUSY` after `BUSY_SECONDS`.
    """
    loop = asyncio.get_running_loop()
    give_up_at, pause_seconds = loop.time() + BUSY_SECONDS, FIRST_PAUSE_SECONDS
    while True:
        try:
            on.execute(BEGIN_WRITING)
            return
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or loop.time() > give_up_at:
                raise
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 2, longest_pause_seconds)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


@contextmanager
def time_limit(
    connection: sqlite3.Connection | None, limit_seconds: float | None
) -> Iterator[None]:
    """Interrupt statements of the block after `limit_seconds`. SQLite has no time limit itself."""
    if connection is None or limit_seconds is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        # Repeated: it ends only a statement that runs at this moment, and there are gaps between
        # two.
        connection.interrupt()
        timers.append(loop.call_later(INTERRUPT_EVERY_SECONDS, interrupt))

    timers = [loop.call_later(limit_seconds, interrupt)]
    try:
        yield
    finally:
        timers[-1].cancel()


class InlineCursor:
    """A cursor whose calls are coroutines. They only wait for the write lock."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    async def __aenter__(self) -> Self:
        return self

    # Any: the parameters of a statement.
    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Self:
        if sql == BEGIN_WRITING:
            await begin_writing(self._cursor, LONGEST_PAUSE_SECONDS)
        else:
            self._cursor.execute(sql, parameters)
        return self

    async def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> Self:
        self._cursor.executemany(sql, parameters)
        return self

    async def fetchall(self) -> list[Any]:
        return self._cursor.fetchall()

    async def fetchone(self) -> Any:
        return self._cursor.fetchone()

    async def fetchmany(self, size: int = 1) -> list[Any]:
        return self._cursor.fetchmany(size)

    async def close(self) -> None:
        self._cursor.close()

    @property
    def description(self) -> Any:
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        return self._cursor.lastrowid

    @property
    def arraysize(self) -> int:
        return self._cursor.arraysize


class InlineConnection:
    """A connection as SQLAlchemy's aiosqlite dialect expects it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: sqlite3.Connection | None = connection

    def cursor(self) -> InlineCursor:
        return InlineCursor(self._opened().cursor())

    async def create_function(self, *values: Any, **named: Any) -> None:
        self._opened().create_function(*values, **named)

    async def commit(self) -> None:
        self._opened().commit()

    async def rollback(self) -> None:
        self._opened().rollback()

    async def close(self) -> None:
        self.stop()

    def stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError("no active connection")
        return self._connection
