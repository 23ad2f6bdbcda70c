"""SQLAlchemy engines for SQLite and PostgreSQL: how connections are made, checked and dropped.

Only `store.db.pools` and `store.db.database` make engines.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import await_only

from domain.errors import Unavailable
from store.db.errors import (
    BROKEN,
    Follows,
    is_driver_failure,
    judge,
    unavailable,
)
from store.db.postgres import DURABLE, connect_postgres
from store.db.postgres import Connection as PostgresConnection
from store.db.sqlite import BEGIN_WRITING, connect_in_thread, connect_inline, mark_of

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


def _adapted(engine: AsyncEngine, connection: PostgresConnection) -> Any:  # Any: a DBAPI's own
    """The connection as SQLAlchemy's dialect uses it.

    Behind a pooler, no statement is kept and none has a name, because the next transaction may use
    another server session.
    """

    async def connected() -> PostgresConnection:
        return connection

    pooled: dict[str, Any] = {}
    if connection.is_pooled:
        pooled = {
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: "",
        }
    dbapi: Any = engine.sync_engine.dialect.dbapi
    return dbapi.connect(async_creator_fn=connected, **pooled)


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

    engine: AsyncEngine = create_async_engine(
        "postgresql+asyncpg://",
        creator=lambda: _adapted(engine, await_only(connect())),
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
