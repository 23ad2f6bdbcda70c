"""Records the SQL statements of requests, for comparing them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from store.db.sql import Row, Statements, Values
from store.ingest.connection import IngestConnection
from tests.api.serving import is_a_request


class RecordingConnection:
    """A real ingest connection that records its statements."""

    def __init__(self, connection: IngestConnection, recorded: list[str]) -> None:
        self._connection, self._recorded = connection, recorded

    @asynccontextmanager
    async def transaction(self, *, short_lock_timeout: bool = False) -> AsyncIterator[Statements]:
        async with self._connection.transaction(
            short_lock_timeout=short_lock_timeout
        ) as statements:
            yield _RecordingStatements(statements, self._recorded)

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[Statements | None]:
        async with self._connection.autocommit() as statements:
            yield None if statements is None else _RecordingStatements(statements, self._recorded)

    async def close(self) -> None:
        await self._connection.close()


class _RecordingStatements:
    def __init__(self, statements: Statements, recorded: list[str]) -> None:
        self._statements, self._recorded = statements, recorded
        self.dialect = statements.dialect

    async def fetch(self, sql: str, *values: Values) -> Any:
        # Without the committer's heartbeats, which come at any time and read the clock.
        is_heartbeat = any(
            part in sql for part in ("heartbeats", "outages", "LOCK TABLE")
        ) or sql.startswith("SELECT floor(")
        if not is_heartbeat:
            self._recorded.append(sql)
        rows: list[Row] = list(await self._statements.fetch(sql, *values))
        return rows


@contextmanager
def recorded_statements(recorded: list[str]) -> Iterator[None]:
    """Records every statement of requests; background tasks of the process are ignored."""

    def record(_: Any, __: Any, sql: str, *___: Any) -> None:
        if is_a_request(asyncio.current_task()):
            recorded.append(sql)

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", record)
