"""The two kinds of SQLite connections, with the interface of aiosqlite that SQLAlchemy's dialect uses.

In the worker, the one that writes runs each statement where it is asked for: it takes microseconds, and a transaction has a
dozen. Sent to a thread, each would wait some four times for its turn on a busy event loop, while the one writer's place is held.
Only waiting for that place leaves the loop to others. All others have a thread each: an API must not stand while the disk is
slow. Made by `store.db.database`.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import aiosqlite

BUSY_SECONDS = 10
BEGIN_WRITING = "BEGIN IMMEDIATE"
FIRST_PAUSE_SECONDS = 0.001
LONGEST_PAUSE_SECONDS = 0.02

FileMark = tuple[int, int]


class Connection(sqlite3.Connection):
    """A connection whose end is the end of its transaction.

    A closed connection lives on while a cursor of it does, its transaction with it: the error of a cancelled task, kept by
    somebody, would hold the writer's place until it is forgotten.
    """

    def close(self) -> None:
        if self.in_transaction:
            self.rollback()
        super().close()


async def connect_in_thread(path: Path, pragmas: Sequence[str], *, creates: bool = False) -> aiosqlite.Connection:
    """A connection that runs its statements in a thread of its own."""
    connection = aiosqlite.Connection(partial(connect, path, pragmas, creates=creates), iter_chunk_size=64)
    connection._thread.daemon = True  # as SQLAlchemy does: a connection not closed must not keep the process alive
    try:
        return await connection
    except sqlite3.Error:
        # Its thread still has a word for this loop, which may be about to close.
        await asyncio.to_thread(connection._thread.join)
        raise


async def connect_inline(path: Path, pragmas: Sequence[str]) -> "InlineConnection":
    """A connection that runs its statements on the event loop; it waits up to `BUSY_SECONDS` for the writer's place."""
    # It may be closed from another thread, when what was left open is collected.
    return InlineConnection(connect(path, pragmas, check_same_thread=False, creates=False))


# Any: sqlite3's own options.
def connect(path: Path, pragmas: Sequence[str], *, creates: bool = True, **options: Any) -> Connection:
    """A raw connection that begins nothing by itself; a file that does not exist is made only where this `creates`.

    The driver's own BEGIN is deferred, and a deferred transaction that reads, then writes, fails at once when another has
    written in between.

    Raises: sqlite3.OperationalError when the file cannot be opened, or is held for longer than `BUSY_SECONDS`.
    """
    address = f"{path.absolute().as_uri()}?mode={'rwc' if creates else 'rw'}"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY_SECONDS, factory=Connection, **options)
    try:
        for pragma in pragmas:
            _set(connection, pragma)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def mark_of(path: Path) -> FileMark | None:
    """What distinguishes a file from another one of the same name; None where no file exists."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _set(connection: sqlite3.Connection, pragma: str) -> None:
    """Set one; the first switch of a new file to WAL fails at once, whatever the lock's waiting, when several do it."""
    give_up_at = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(pragma)
            return
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > give_up_at:
                raise
        time.sleep(FIRST_PAUSE_SECONDS)


async def begin_writing(on: sqlite3.Connection | sqlite3.Cursor, longest_pause_seconds: float) -> None:
    """Take the writer's place, pausing while another process has it: the lock's own waiting would stop the loop.

    Raises: sqlite3.OperationalError, `SQLITE_BUSY` when it was not given within `BUSY_SECONDS`.
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


class InlineCursor:
    """A cursor whose calls are coroutines and never wait, except for the writer's place."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Self:  # Any: what a statement is given
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
