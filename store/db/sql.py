"""One small port for SQL that must run both in the front door's raw transactions and in ordinary sessions.

SQL is written once, with `$1 $2 …` for its values and in the dialect that SQLite and PostgreSQL share. Who calls begins and
commits; nothing here does. Used by `store.receipts.transitions` and `store.ingest.group_commit`.
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
Row = Sequence[Any]  # Any: a row's columns are of the types that its SQL names
Value = str | int | float | bytes | bool | None
Values = Value | Sequence[Value]  # a sequence becomes an array, on PostgreSQL only


class Statements(Protocol):
    """A connection inside a transaction."""

    @property
    def dialect(self) -> Dialect: ...

    async def fetch(self, sql: str, *values: Values) -> Sequence[Row]:
        """The rows that a statement returns; none for one without RETURNING."""
        ...


class SqliteStatements:
    """A raw SQLite connection, called on the event loop: a statement takes microseconds, a thread's hand-over many more."""

    dialect: Dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: Values) -> Sequence[Row]:
        return self._connection.execute(sql, {str(number): value for number, value in enumerate(values, 1)}).fetchall()


class PostgresStatements:
    """A raw asyncpg connection; it keeps the statements prepared."""

    dialect: Dialect = "postgresql"

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: Values) -> Sequence[Row]:
        rows: Sequence[Row] = await self._connection.fetch(sql, *values)
        return rows


class SessionStatements:
    """An ordinary session's connection, for moves beside its other queries."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self.dialect: Dialect = "sqlite" if session.get_bind().dialect.name == "sqlite" else "postgresql"

    async def fetch(self, sql: str, *values: Values) -> Sequence[Row]:
        clause = _named(sql)
        result = await self._session.execute(clause, {f"p{number}": value for number, value in enumerate(values, 1)})
        return [tuple(row) for row in result] if result.returns_rows else []  # type: ignore[attr-defined]  # a CursorResult


@lru_cache(maxsize=512)
def _named(sql: str) -> TextClause:
    return text(re.sub(r"\$(\d+)", r":p\1", sql))


async def limit_lock_wait(st: Statements) -> None:
    """Wait a second at most for a row that another process holds, in this transaction: a loop has others to do.

    SQLite has no rows to wait for, only its writer's place.
    """
    if st.dialect == "postgresql":
        await st.fetch("SET LOCAL lock_timeout = '1s'")
