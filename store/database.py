"""Opens the store, SQLite or PostgreSQL, and holds its one `transaction()`; also what time it is.

`transaction()` alone commits; `reading()` sees one snapshot and cannot write. Nothing here knows a table. Built once per process
by the compositions of API, worker and CLI; a test opens its own.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

import asyncpg
from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from domain.errors import Unavailable
from domain.instants import from_milliseconds, milliseconds
from store.failures import BROKEN, is_session_failure, name_driver_failure, unavailable
from store.sqlite_connections import BEGIN_WRITING, connect_in_thread, connect_inline
from store.statements import Dialect, SessionStatements, Statements

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 30
TURN_SECONDS = 15
SQLITE_READERS = 4
POSTGRES_CONNECTIONS = 15
LOOK_UP_CONNECTIONS = 2  # one of them for keys that are in use, whatever else is asked (`api.auth`)
MIGRATION_LOCK = 72_338_000  # any number that is ours
# FULL: an acknowledged receipt survives a power cut. WAL: readers and the one writer do not wait for each other.
SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA wal_autocheckpoint = 16000",  # pages, 64 MiB: a checkpoint stops the front door, so let it be rare
    "PRAGMA secure_delete = ON",  # what is overwritten or deleted is zeroed in the file: a data key that is destroyed is gone
    "PRAGMA temp_store = MEMORY",  # else each upsert writes an undo journal to a file
)
# A session that holds rows and says nothing, or whose host is gone, is ended soon: others wait for what it holds.
POSTGRES_SESSION = {
    "application_name": "makegood",
    "idle_in_transaction_session_timeout": "15s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


class Clock:
    """The one clock of a store: PostgreSQL's own, the host's on SQLite. `skew` is zero but in tests that skip time."""

    def __init__(self, skew: timedelta = timedelta(0)) -> None:
        self.skew = skew

    async def now(self, statements: Statements) -> datetime:
        """This instant, in whole milliseconds; on PostgreSQL it goes on within a transaction."""
        match statements.dialect:
            case "sqlite":
                at = from_milliseconds(milliseconds(datetime.now(UTC)))
            case "postgresql":
                rows = await statements.fetch("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
                at = from_milliseconds(rows[0][0])
        return at + self.skew


class Database:
    """An opened store."""

    def __init__(self, *, url: str, clock: Clock, writing: "_Lane", reading: "_Lane", looking_up: "_Lane") -> None:
        self.url = url
        self.clock = clock
        self.dialect = dialect_of(url)
        self._writing = writing
        self._reading = reading
        self._looking_up = looking_up

    @classmethod
    def open(
        cls, url: str, *, clock: Clock | None = None, statement_seconds: int = STATEMENT_SECONDS, writes_on_loop: bool = False
    ) -> Self:
        """A store at `sqlite:///path` or `postgresql://…`; it connects when it is first used.

        `writes_on_loop`: on SQLite the event loop itself writes, which costs less, and waits for the disk.

        Raises: ValueError when the URL is of neither form.
        """
        is_sqlite = dialect_of(url) == "sqlite"
        writing, reading, looking_up = (
            _sqlite_lanes(sqlite_path(url), on_loop=writes_on_loop) if is_sqlite else _postgres_lanes(url, statement_seconds)
        )
        return cls(url=url, clock=clock or Clock(), writing=writing, reading=reading, looking_up=looking_up)

    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A session whose work is committed at the end, or none of it when an exception leaves the block. Not to be nested.

        Raises: Unavailable when the store cannot be reached or cannot commit now.
        """
        return _session(self._writing)

    def reading(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A session that sees one snapshot, takes no write lock, and cannot write.

        Raises: Unavailable when the store cannot be reached.
        """
        return _session(self._reading)

    def looking_up(self) -> AbstractAsyncContextManager[AsyncSession]:
        """As `reading`, for the short question that a request waits for before anything else: no list or search is in its way.

        Raises: Unavailable when the store cannot be reached.
        """
        return _session(self._looking_up)

    async def now(self, session: AsyncSession) -> datetime:
        """This instant by the store's clock."""
        return await self.clock.now(SessionStatements(session))

    async def close(self) -> None:
        """Close every connection; sessions still open lose theirs."""
        await self._writing.engine.dispose()
        await self._reading.engine.dispose()
        await self._looking_up.engine.dispose()


def dialect_of(url: str) -> Dialect:
    """Which of the two stores a URL names. Raises: ValueError when neither; the message does not repeat the URL."""
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        return "sqlite"
    if scheme == "postgresql":
        return "postgresql"
    raise ValueError("the database URL must begin with sqlite:/// or postgresql://")


def sqlite_path(url: str) -> Path:
    """The file of a `sqlite:///path`. Raises: ValueError for a database in memory, which two processes cannot share."""
    name = make_url(url).database
    if not name or name == ":memory:":
        raise ValueError("the database URL must name a file: sqlite:///path")
    return Path(name)


async def connect_postgres(
    url: str, *, statement_seconds: int | None = STATEMENT_SECONDS
) -> "asyncpg.Connection[asyncpg.Record]":
    """A raw connection; asyncpg reads the URL itself, so that sockets, `sslmode` and several hosts work as libpq has them."""
    return await asyncpg.connect(
        url, timeout=CONNECT_SECONDS, command_timeout=statement_seconds, server_settings=POSTGRES_SESSION
    )


@dataclass(frozen=True, slots=True)
class _Lane:
    """An engine, and who may use it next: as many as it has connections, first come, first served.

    The pool's own queue would do but for one thing: those waiting in it are not woken when making a connection fails or is
    cancelled, and on SQLite there is one connection to wait for.
    """

    engine: AsyncEngine
    turns: asyncio.Semaphore


@asynccontextmanager
async def _session(lane: _Lane) -> AsyncIterator[AsyncSession]:
    try:
        async with asyncio.timeout(TURN_SECONDS):
            await lane.turns.acquire()
    except TimeoutError as error:
        raise unavailable() from error
    try:
        async with AsyncSession(lane.engine, expire_on_commit=False) as session, session.begin():
            await _connected(session)
            yield session
    except DBAPIError as error:
        if is_session_failure(error):
            raise unavailable() from error
        raise
    finally:
        lane.turns.release()


async def _connected(session: AsyncSession) -> None:
    """Check a connection out now: what breaks here is the store's, while the block's own errors are the caller's."""
    try:
        await session.connection()
    except BROKEN as error:
        raise unavailable() from error


def _sqlite_lanes(path: Path, *, on_loop: bool = False) -> tuple[_Lane, _Lane, _Lane]:
    # One writing connection: SQLite has one writer anyway, and waiting for a turn is fair where polling the lock is not.
    # On the loop, its BEGIN waits for the writer's place without stopping the loop, so that the lock's own waiting is off.
    connect: Callable[[], Awaitable[Any]] = partial(connect_in_thread, path, SQLITE_PRAGMAS)
    if on_loop:
        connect = partial(connect_inline, path, (*SQLITE_PRAGMAS, "PRAGMA busy_timeout = 0"))
    writing = _sqlite_engine(connect, connections=1, begin=BEGIN_WRITING)
    connect = partial(connect_in_thread, path, (*SQLITE_PRAGMAS, "PRAGMA query_only = ON"))
    reading = _sqlite_engine(connect, connections=SQLITE_READERS, begin="BEGIN")
    looking_up = _sqlite_engine(connect, connections=LOOK_UP_CONNECTIONS, begin="BEGIN")
    return (
        _Lane(writing, asyncio.Semaphore(1)),
        _Lane(reading, asyncio.Semaphore(SQLITE_READERS)),
        _Lane(looking_up, asyncio.Semaphore(LOOK_UP_CONNECTIONS)),
    )


# Any: the driver's connection, or one with its interface.
def _sqlite_engine(connect: Callable[[], Awaitable[Any]], *, connections: int, begin: str) -> AsyncEngine:
    engine = create_async_engine(
        "sqlite+aiosqlite:///",
        async_creator=connect,
        poolclass=AsyncAdaptedQueuePool,  # not by itself, since the URL names no file
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # an error would quote the values of its statement, and a log the error
    )

    @event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _postgres_lanes(url: str, statement_seconds: int) -> tuple[_Lane, _Lane, _Lane]:
    engine, turns = _postgres_engine(url, statement_seconds=statement_seconds), asyncio.Semaphore(POSTGRES_CONNECTIONS)
    looking_up = _postgres_engine(url, statement_seconds=statement_seconds, connections=LOOK_UP_CONNECTIONS)
    # Writing and reading share a pool; REPEATABLE READ is PostgreSQL's name for one snapshot.
    snapshot: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    return (
        _Lane(engine, turns),
        _Lane(engine.execution_options(**snapshot), turns),
        _Lane(looking_up.execution_options(**snapshot), asyncio.Semaphore(LOOK_UP_CONNECTIONS)),
    )


def _postgres_engine(url: str, *, statement_seconds: int | None, connections: int = POSTGRES_CONNECTIONS) -> AsyncEngine:
    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        try:
            return await connect_postgres(url, statement_seconds=statement_seconds)
        except BROKEN as error:
            raise unavailable() from error

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "handle_error", name_driver_failure)
    return engine


async def run_alone(url: str, work: Callable[[Connection], None]) -> None:
    """Do the work in one transaction that no other such work runs beside: migrations.

    Raises: OSError when the store cannot be reached; SQLAlchemyError when it refuses.
    """
    is_sqlite = dialect_of(url) == "sqlite"
    # No limit of time: a later migration may have a large table to go through.
    engine = _sqlite_lanes(sqlite_path(url))[0].engine if is_sqlite else _postgres_engine(url, statement_seconds=None)
    try:
        async with engine.begin() as connection:
            if not is_sqlite:
                await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            await connection.run_sync(work)
    except Unavailable as error:
        raise ConnectionError(f"the store refused the connection: {error.__cause__}") from error
    finally:
        await engine.dispose()
