"""One interface for SQL that runs both on the raw ingest connection and in ordinary sessions.

SQL is written once, with `$1 $2 …` for its values, in the dialect that SQLite and PostgreSQL share.
The caller begins and commits. Used by `store.receipts.transitions` and `store.ingest.group_commit`.
"""

import re
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, Protocol

import asyncpg
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

Dialect = Literal["sqlite", "postgresql"]
Row = Sequence[Any]  # Any: the SQL decides the types of the columns
Value = str | int | float | bytes | bool | None
Values = Value | Sequence[Value]  # a sequence becomes an array, on PostgreSQL only


class Statements(Protocol):
    """A connection inside a transaction."""

    @property
    def dialect(self) -> Dialect: ...

    async def fetch(self, sql: str, *values: Values) -> Sequence[Row]:
        """Execute a statement and return its rows. Without RETURNING there are none."""
        ...


class SqliteStatements:
    """A raw SQLite connection, called on the event loop.

    A statement takes microseconds; handing it to a thread would take longer.
    """

    dialect: Dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: Values) -> Sequence[Row]:
        parameters = {str(number): value for number, value in enumerate(values, 1)}
        return self._connection.execute(sql, parameters).fetchall()


class PostgresStatements:
    """A raw asyncpg connection, which caches prepared statements."""

    dialect: Dialect = "postgresql"

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: Values) -> Sequence[Row]:
        rows: Sequence[Row] = await self._connection.fetch(sql, *values)
        return rows


class SessionStatements:
    """The connection of an ordinary session, for transitions in the same transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        is_sqlite = session.get_bind().dialect.name == "sqlite"
        self.dialect: Dialect = "sqlite" if is_sqlite else "postgresql"

    async def fetch(self, sql: str, *values: Values) -> Sequence[Row]:
        parameters = {f"p{number}": value for number, value in enumerate(values, 1)}
        result = await self._session.execute(_with_named_parameters(sql), parameters)
        if not result.returns_rows:  # type: ignore[attr-defined]  # a CursorResult
            return []
        return [tuple(row) for row in result]


@lru_cache(maxsize=512)
def _with_named_parameters(sql: str) -> TextClause:
    return text(re.sub(r"\$(\d+)", r":p\1", sql))


async def limit_lock_wait(st: Statements) -> None:
    """Limit each wait for a locked row to one second in this transaction.

    For loops that have other receipts to process. SQLite has no row locks, only the write lock.
    """
    if st.dialect == "postgresql":
        await st.fetch("SET LOCAL lock_timeout = '1s'")


async def look_up_rows(st: Statements) -> None:
    """Make PostgreSQL find every row by an index, one by one, for the rest of the transaction.

    For statements that read a small part of large tables. Without statistics, or by a plan that was
    kept from when the tables were small, PostgreSQL would read, sort or hash all of them. Rows that
    an index has in order are still sorted among equals.
    """
    if st.dialect == "postgresql":
        ways = ("seqscan", "bitmapscan", "sort", "hashjoin", "mergejoin")
        chosen = ", ".join(f"set_config('enable_{way}', 'off', true)" for way in ways)
        await st.fetch(f"SELECT {chosen}")


def among(dialect: Dialect, ids: str) -> str:
    """The condition that a column is one of the texts of a JSON list, `ids` such as `$1`.

    PostgreSQL builds an array once, so it uses the index whatever it assumes about the length.
    """
    if dialect == "sqlite":
        return f"IN (SELECT value FROM json_each({ids}))"  # noqa: S608 - the number of a value
    return f"= ANY(ARRAY(SELECT json_array_elements_text(CAST({ids} AS json))))"


def each(dialect: Dialect, texts: str) -> str:
    """The texts of a JSON list as rows `given.value`. `texts` is as for `among`."""
    if dialect == "sqlite":
        return f"json_each({texts}) AS given"
    return f"json_array_elements_text(CAST({texts} AS json)) AS given(value)"


def lock_free_rows(dialect: Dialect) -> str:
    """The end of a SELECT that locks its rows and leaves out those that others have locked.

    SQLite has no row locks: the transaction is the only writer.
    """
    return " FOR UPDATE SKIP LOCKED" if dialect == "postgresql" else ""
