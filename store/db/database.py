"""Opens the store, SQLite or PostgreSQL, with a lane of connections for each purpose; also what time it is.

`transaction()` and `heartbeat()` alone commit; the others see one snapshot and cannot write. Built once per process by the
compositions of API, worker and CLI; a test opens its own.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Unavailable
from domain.values.timestamps import from_unix_ms, to_unix_ms
from store.db import pools as lanes
from store.db.pools import Generation, Pool, postgres_engine, postgres_pool, snapshots, sqlite_engine, sqlite_pool
from store.db.postgres import STATEMENT_SECONDS
from store.db.sql import Dialect, SessionStatements, Statements

MIGRATION_LOCK = 72_338_000  # any number that is ours
# Names nothing, and takes what a beat takes: a read-only node, a standby and a role without the right refuse it.
_PROBE = text("SELECT process FROM heartbeats WHERE false FOR UPDATE")


class Clock:
    """The one clock of a store: PostgreSQL's own, the host's on SQLite. `skew` is zero but in tests that skip time."""

    def __init__(self, skew: timedelta = timedelta(0)) -> None:
        self.skew = skew

    async def now(self, statements: Statements) -> datetime:
        """This instant, in whole milliseconds; on PostgreSQL it goes on within a transaction."""
        match statements.dialect:
            case "sqlite":
                at = from_unix_ms(to_unix_ms(datetime.now(UTC)))
            case "postgresql":
                rows = await statements.fetch("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
                at = from_unix_ms(rows[0][0])
        return at + self.skew


@dataclass(frozen=True, slots=True)
class Pools:
    """The pools of a process, one for each purpose; a later one waits for none of the others."""

    writing: Pool
    reading: Pool
    searching: Pool
    key_lookup: Pool
    heartbeat: Pool
    watching: Pool
    measuring: Pool
    looping: Pool
    looping_reading: Pool


class Database:
    """An opened store. Each method that opens a session names what it is for; one purpose cannot use up another's connections."""

    def __init__(self, *, url: str, clock: Clock, pools: Pools) -> None:
        self.url = url
        self.clock = clock
        self.dialect = dialect_of(url)
        self._lanes = pools
        self._writing, self._reading = pools.writing, pools.reading

    @classmethod
    def open(
        cls, url: str, *, clock: Clock | None = None, statement_seconds: int = STATEMENT_SECONDS, writes_on_loop: bool = False
    ) -> Self:
        """A store at `sqlite:///path` or `postgresql://…`; it connects when it is first used.

        `writes_on_loop`: on SQLite the event loop itself writes, which costs less, and waits for the disk.

        Raises: ValueError when the URL is of neither form.
        """
        is_sqlite = dialect_of(url) == "sqlite"
        pools = _sqlite_pools(sqlite_path(url), on_loop=writes_on_loop) if is_sqlite else _postgres_pools(url, statement_seconds)
        return cls(url=url, clock=clock or Clock(), pools=pools)

    def transaction(self, name: str = "") -> AbstractAsyncContextManager[AsyncSession]:
        """A session whose work is committed at the end, or none of it when an exception leaves the block. Not to be nested.

        `name` is whose work it is: one who asks for much at once lets another one go before.

        Raises: Unavailable when the store cannot be reached or cannot commit now.
        """
        return self._writing.session(name)

    def reading(self, name: str = "") -> AbstractAsyncContextManager[AsyncSession]:
        """A session that sees one snapshot, takes no write lock, and cannot write. For what an index finds at once.

        `name` as for `transaction`.

        Raises: Unavailable when the store cannot be reached.
        """
        return self._reading.session(name)

    def searching(self, name: str) -> AbstractAsyncContextManager[AsyncSession]:
        """As `reading`, for lists, searches and counts. A statement has 2 s, and `name`, a project or a person, two at once.

        Raises: Unavailable when it takes too long, or the store cannot be reached; RateLimited.
        """
        return self._lanes.searching.session(name)

    def key_lookup(self) -> AbstractAsyncContextManager[AsyncSession]:
        """As `reading`, for the short question that a request waits for before anything else.

        Raises: Unavailable when the store cannot be reached.
        """
        return self._lanes.key_lookup.session()

    def heartbeat(self) -> AbstractAsyncContextManager[AsyncSession]:
        """As `transaction`, for the sign that a process lives. A statement has 10 s.

        Raises: Unavailable when the store cannot be reached or cannot commit now.
        """
        return self._lanes.heartbeat.session()

    def watching(self) -> AbstractAsyncContextManager[AsyncSession]:
        """As `reading`, for readiness. A statement has 2 s.

        Raises: Unavailable when the store cannot be reached.
        """
        return self._lanes.watching.session()

    def measuring(self) -> AbstractAsyncContextManager[AsyncSession]:
        """As `reading`, for figures of the whole store. A statement has 1 s.

        Raises: Unavailable when it takes too long, or the store cannot be reached.
        """
        return self._lanes.measuring.session()

    def for_loops(self) -> Self:
        """The same store for what runs in the background: its `transaction` and `reading` are lanes of their own.

        On SQLite there is one writer, whose turns all share. It is closed with the store that it was made from.
        """
        of_loops = type(self)(url=self.url, clock=self.clock, pools=self._lanes)
        of_loops._writing, of_loops._reading = self._lanes.looping, self._lanes.looping_reading
        return of_loops

    async def check_writable(self) -> None:
        """Return when the store can be written now; nothing is changed.

        Raises: Unavailable, or SQLAlchemy's errors.
        """
        async with self.heartbeat() as session:
            if self.dialect == "postgresql":  # on SQLite, the transaction has taken the writer's place
                await session.execute(_PROBE)

    async def now(self, session: AsyncSession) -> datetime:
        """This instant by the store's clock."""
        return await self.clock.now(SessionStatements(session))

    async def close(self) -> None:
        """Close every connection; sessions still open lose theirs."""
        for lane in (getattr(self._lanes, name) for name in Pools.__slots__):
            await lane.engine.dispose()


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


def _sqlite_pools(path: Path, *, on_loop: bool) -> Pools:
    writing = sqlite_pool(path, lanes.WRITING, writes=True, on_loop=on_loop)
    return Pools(
        writing=writing,
        reading=sqlite_pool(path, lanes.READING),
        searching=sqlite_pool(path, lanes.SEARCHING),
        key_lookup=sqlite_pool(path, lanes.LOOKING_UP),
        heartbeat=sqlite_pool(path, lanes.HEARTBEAT, writes=True, on_loop=on_loop),
        watching=sqlite_pool(path, lanes.WATCHING),
        measuring=sqlite_pool(path, lanes.MEASURING),
        looping=writing,
        looping_reading=sqlite_pool(path, lanes.LOOPING),
    )


def _postgres_pools(url: str, statement_seconds: float) -> Pools:
    generation = Generation()

    def lane(bounds: lanes.Bounds, *, writes: bool = False) -> Pool:
        return postgres_pool(url, bounds, generation, statement_seconds=statement_seconds, writes=writes)

    looping = lane(lanes.LOOPING, writes=True)
    return Pools(
        writing=lane(lanes.WRITING, writes=True),
        reading=lane(lanes.READING),
        searching=lane(lanes.SEARCHING),
        key_lookup=lane(lanes.LOOKING_UP),
        heartbeat=lane(lanes.HEARTBEAT, writes=True),
        watching=lane(lanes.WATCHING),
        measuring=lane(lanes.MEASURING),
        looping=looping,
        looping_reading=Pool(snapshots(looping.engine), looping.bounds, looping.turns),
    )


async def run_alone(url: str, work: Callable[[Connection], None]) -> None:
    """Do the work in one transaction that no other such work runs beside: migrations.

    Raises: OSError when the store cannot be reached; SQLAlchemyError when it refuses.
    """
    is_sqlite = dialect_of(url) == "sqlite"
    # No limit of time: a later migration may have a large table to go through.
    if is_sqlite:
        engine = sqlite_engine(sqlite_path(url), creates=True)
    else:
        engine = postgres_engine(url, Generation(), connections=1, statement_seconds=None)
    try:
        async with engine.begin() as connection:
            if not is_sqlite:
                await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            await connection.run_sync(work)
    except Unavailable as error:
        raise ConnectionError(f"the store refused the connection: {error.__cause__}") from error
    finally:
        await engine.dispose()
