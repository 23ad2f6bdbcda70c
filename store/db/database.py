"""Opens the store, SQLite or PostgreSQL, with a connection pool for each purpose; also the clock.

Only `transaction()` and `heartbeat()` commit. All other sessions see one snapshot and cannot write.
Each process of the API, the worker and the command line opens one `Database`; a test opens its own.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Unavailable
from domain.values.timestamps import from_unix_ms, to_unix_ms
from store.db import pool_limits as limits
from store.db.engines import Generation, postgres_engine, snapshots, sqlite_engine
from store.db.outage_log import OutageLog
from store.db.pools import Pool, postgres_pool, sqlite_pool
from store.db.postgres import STATEMENT_SECONDS
from store.db.sql import Dialect, SessionStatements, Statements

MIGRATION_LOCK = 72_338_000  # an arbitrary number that only Makegood uses
# Selects no row but needs the rights that a heartbeat needs. A read-only node, a standby and a role
# without the right refuse it.
_PROBE = text("SELECT process FROM heartbeats WHERE false FOR UPDATE")


class Clock:
    """The clock of a store: PostgreSQL's own, or the host's on SQLite.

    `skew` is zero, except in tests that skip time.
    """

    def __init__(self, skew: timedelta = timedelta(0)) -> None:
        self.skew = skew

    async def now(self, statements: Statements) -> datetime:
        """The time in whole milliseconds. On PostgreSQL it advances within a transaction."""
        match statements.dialect:
            case "sqlite":
                at = from_unix_ms(to_unix_ms(datetime.now(UTC)))
            case "postgresql":
                ((now_ms,),) = await statements.fetch(
                    "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
                )
                at = from_unix_ms(now_ms)
        return at + self.skew


@dataclass(frozen=True, slots=True)
class Pools:
    """The pools of a process, one for each purpose. No pool waits for another one."""

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
    """An opened store. Each method that opens a session is named after its purpose.

    One purpose cannot use up the connections of another.
    """

    def __init__(self, *, url: str, clock: Clock, pools: Pools) -> None:
        self.url = url
        self.clock = clock
        self.dialect = dialect_of(url)
        self._pools = pools
        self._writing, self._reading = pools.writing, pools.reading

    @classmethod
    def open(
        cls,
        url: str,
        *,
        clock: Clock | None = None,
        statement_seconds: int = STATEMENT_SECONDS,
        writes_on_loop: bool = False,
        writers: int = limits.WRITING.connections,
    ) -> Self:
        """Open a store at `sqlite:///path` or `postgresql://…`. It connects on first use.

        `writes_on_loop`: on SQLite the event loop itself writes. This costs less, but the loop
        waits for the disk. `writers`: how many sessions write at once, on PostgreSQL.

        Raises: ValueError when the URL is of neither form.
        """
        is_sqlite = dialect_of(url) == "sqlite"
        pools = (
            _sqlite_pools(sqlite_path(url), on_loop=writes_on_loop)
            if is_sqlite
            else _postgres_pools(url, statement_seconds, writers)
        )
        return cls(url=url, clock=clock or Clock(), pools=pools)

    def transaction(self, name: str = "") -> AbstractAsyncContextManager[AsyncSession]:
        """A session that commits at the end of the block, or rolls back on an exception. Do not
        nest it.

        `name` is a project or a user. A name with many requests at once lets other names go first.

        Raises: Unavailable when the store cannot be reached or cannot commit now.
        """
        return self._writing.session(name)

    def reading(self, name: str = "") -> AbstractAsyncContextManager[AsyncSession]:
        """A session that sees one snapshot, takes no write lock and cannot write.

        For queries that an index answers at once. `name` as for `transaction`.

        Raises: Unavailable when the store cannot be reached.
        """
        return self._reading.session(name)

    def searching(self, name: str) -> AbstractAsyncContextManager[AsyncSession]:
        """As `reading`, for lists, searches and counts.

        A statement may take 2 s. `name`, a project or a user, may have two sessions at once.

        Raises: Unavailable when it takes too long or the store cannot be reached; RateLimited.
        """
        return self._pools.searching.session(name)

    def key_lookup(self) -> AbstractAsyncContextManager[AsyncSession]:
        """As `reading`, for the lookup of an API key, which every request waits for first.

        Raises: Unavailable when the store cannot be reached.
        """
        return self._pools.key_lookup.session()

    def heartbeat(self) -> AbstractAsyncContextManager[AsyncSession]:
        """As `transaction`, for the heartbeat of a process. A statement may take 10 s.

        Raises: Unavailable when the store cannot be reached or cannot commit now.
        """
        return self._pools.heartbeat.session()

    def watching(self) -> AbstractAsyncContextManager[AsyncSession]:
        """As `reading`, for readiness. A statement may take 2 s.

        Raises: Unavailable when the store cannot be reached.
        """
        return self._pools.watching.session()

    def measuring(self) -> AbstractAsyncContextManager[AsyncSession]:
        """As `reading`, for metrics of the whole store. A statement may take 1 s.

        Raises: Unavailable when it takes too long, or the store cannot be reached.
        """
        return self._pools.measuring.session()

    def for_loops(self) -> Self:
        """The same store for background loops: its `transaction` and `reading` have pools of their
        own.

        On SQLite there is one writer, and all share its permit. Closing the original store closes
        this one too.
        """
        background = type(self)(url=self.url, clock=self.clock, pools=self._pools)
        background._writing, background._reading = self._pools.looping, self._pools.looping_reading
        return background

    async def check_writable(self) -> None:
        """Return if the store can be written now. Changes nothing.

        Raises: Unavailable, or an error of SQLAlchemy.
        """
        async with self.heartbeat() as session:
            if self.dialect == "postgresql":  # on SQLite, the transaction has taken the write lock
                await session.execute(_PROBE)

    async def now(self, session: AsyncSession) -> datetime:
        """The current time by the store's clock."""
        return await self.clock.now(SessionStatements(session))

    async def close(self) -> None:
        """Close every connection. Open sessions lose theirs."""
        for pool in (getattr(self._pools, name) for name in Pools.__slots__):
            await pool.engine.dispose()


def dialect_of(url: str) -> Dialect:
    """The dialect that a URL names.

    Raises: ValueError for any other URL. The message does not repeat the URL.
    """
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        return "sqlite"
    if scheme == "postgresql":
        return "postgresql"
    raise ValueError("the database URL must begin with sqlite:/// or postgresql://")


def sqlite_path(url: str) -> Path:
    """The file of a `sqlite:///path`.

    Raises: ValueError for a database in memory, which two processes cannot share.
    """
    name = make_url(url).database
    if not name or name == ":memory:":
        raise ValueError("the database URL must name a file: sqlite:///path")
    return Path(name)


def _sqlite_pools(path: Path, *, on_loop: bool) -> Pools:
    pool = partial(sqlite_pool, path, outages=OutageLog())
    writing = pool(limits.WRITING, writes=True, on_loop=on_loop)
    return Pools(
        writing=writing,
        reading=pool(limits.READING),
        searching=pool(limits.SEARCHING),
        key_lookup=pool(limits.KEY_LOOKUP),
        heartbeat=pool(limits.HEARTBEAT, writes=True, on_loop=on_loop),
        watching=pool(limits.WATCHING),
        measuring=pool(limits.MEASURING),
        looping=writing,
        looping_reading=pool(limits.LOOPING),
    )


def _postgres_pools(url: str, statement_seconds: float, writers: int) -> Pools:
    generation, outages = Generation(), OutageLog()

    def pool(of: limits.PoolLimits, *, writes: bool = False) -> Pool:
        return postgres_pool(
            url, of, generation, outages, statement_seconds=statement_seconds, writes=writes
        )

    looping = pool(limits.LOOPING, writes=True)
    return Pools(
        writing=pool(replace(limits.WRITING, connections=writers), writes=True),
        reading=pool(limits.READING),
        searching=pool(limits.SEARCHING),
        key_lookup=pool(limits.KEY_LOOKUP),
        heartbeat=pool(limits.HEARTBEAT, writes=True),
        watching=pool(limits.WATCHING),
        measuring=pool(limits.MEASURING),
        looping=looping,
        looping_reading=Pool(snapshots(looping.engine), looping.limits, looping.permits, outages),
    )


async def run_alone(url: str, work: Callable[[Connection], None]) -> None:
    """Run `work` in one transaction. Only one such transaction runs at a time. For migrations.

    Raises: OSError when the store cannot be reached; SQLAlchemyError when it refuses.
    """
    is_sqlite = dialect_of(url) == "sqlite"
    # No time limit: a later migration may have to rewrite a large table.
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
