"""Transactions, read snapshots, the clock, and which errors count as unavailable."""

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from domain.errors import Unavailable
from store.db.database import Clock, Database, dialect_of, sqlite_path
from store.db.engines import SQLITE_PRAGMAS
from store.db.sqlite import connect
from store.status.heartbeats import read_fact, write_fact


async def test_committed_transaction_is_seen_afterwards(database: Database) -> None:
    async with database.transaction() as session:
        await write_fact(session, "colour", "green")

    async with database.reading() as session:
        assert await read_fact(session, "colour") == "green"


async def test_exception_rolls_the_transaction_back_and_propagates(database: Database) -> None:
    async def write_and_fail() -> None:
        async with database.transaction() as session:
            await write_fact(session, "colour", "green")
            raise KeyError

    with pytest.raises(KeyError):
        await write_and_fail()

    async with database.reading() as session:
        assert await read_fact(session, "colour") is None


async def test_reading_cannot_write(database: Database) -> None:
    with pytest.raises((DBAPIError, Unavailable)):
        async with database.reading() as session:
            await session.execute(text("INSERT INTO facts (name, value) VALUES ('a', 'b')"))

    async with database.transaction() as session:
        await write_fact(session, "colour", "green")  # the connection that read does not block it


async def test_reading_works_during_an_open_transaction_and_keeps_its_snapshot(
    database: Database,
) -> None:
    async with database.transaction() as session:
        await write_fact(session, "colour", "green")
    async with database.reading() as reader:
        before = await read_fact(reader, "colour")
        async with database.transaction() as writer:
            await write_fact(writer, "colour", "red")
            during = await read_fact(reader, "colour")
        after = await read_fact(reader, "colour")

    assert (before, during, after) == ("green", "green", "green")


async def test_concurrent_read_then_write_transactions_all_commit(database: Database) -> None:
    async def count_up() -> None:
        async with database.transaction() as session:
            await session.execute(
                text("INSERT INTO facts (name, value) VALUES ('n', '0') ON CONFLICT DO NOTHING")
            )
            lock = " FOR UPDATE" if database.dialect == "postgresql" else ""
            value = (
                await session.execute(text(f"SELECT value FROM facts WHERE name = 'n'{lock}"))
            ).scalar_one()
            await session.execute(
                text("UPDATE facts SET value = :v WHERE name = 'n'"), {"v": str(int(value) + 1)}
            )

    second = Database.open(database.url)
    await asyncio.gather(*(count_up() for _ in range(20)))
    await second.close()

    async with database.reading() as session:
        assert await read_fact(session, "n") == "20"


async def test_two_processes_wait_for_each_other_on_sqlite(sqlite_url: str) -> None:
    databases = [Database.open(sqlite_url, writes_on_loop=n > 0) for n in range(3)]

    async def write(database: Database, number: int) -> None:
        async with database.transaction() as session:
            await session.execute(text("SELECT count(*) FROM facts"))
            await write_fact(session, f"fact {number}", "x")

    await asyncio.gather(*(write(databases[n % 3], n) for n in range(60)))

    async with databases[0].reading() as session:
        assert (await session.execute(text("SELECT count(*) FROM facts"))).scalar_one() == 60
    for database in databases:
        await database.close()


async def test_sqlite_is_set_to_survive_a_power_cut(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)

    async with database.transaction() as session:
        names = ("journal_mode", "synchronous", "foreign_keys")
        found = [(await session.execute(text(f"PRAGMA {name}"))).scalar_one() for name in names]

    await database.close()
    assert found == ["wal", 2, 1]


async def test_clock_is_the_stores_and_includes_its_skew(database: Database) -> None:
    async with database.transaction() as session:
        first = await database.now(session)
        database.clock.skew = timedelta(hours=3)
        second = await database.now(session)

    assert abs(first - datetime.now(UTC)) < timedelta(seconds=5)
    assert timedelta(hours=3) <= second - first < timedelta(hours=3, seconds=5)
    assert first.microsecond % 1000 == 0


async def test_clock_of_postgresql_advances_within_a_transaction(postgres_url: str) -> None:
    database = Database.open(postgres_url)

    async with database.transaction() as session:
        first = await database.now(session)
        await session.execute(text("SELECT pg_sleep(0.01)"))
        second = await database.now(session)

    await database.close()
    assert second > first


async def test_a_store_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    sqlite = Database.open(f"sqlite:///{tmp_path / 'missing' / 'makegood.db'}")
    postgres = Database.open(f"postgresql://nobody@/none?host={tmp_path}")

    for database in (sqlite, postgres):
        with pytest.raises(Unavailable) as refused:
            async with database.transaction() as session:
                await session.execute(text("SELECT 1"))
        assert refused.value.retry_after_seconds
        await database.close()


async def test_a_statement_at_fault_is_not_unavailable(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.transaction() as session:
            await session.execute(
                text("INSERT INTO facts (name, value) VALUES ('a', 'b'), ('a', 'c')")
            )


async def test_lost_connection_is_unavailable_once_and_then_replaced(postgres_url: str) -> None:
    database = Database.open(postgres_url)

    with pytest.raises(Unavailable):
        async with database.transaction() as session:
            await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    async with database.transaction() as session:
        answer = (await session.execute(text("SELECT 1"))).scalar_one()

    await database.close()
    assert answer == 1


async def test_time_limit_of_the_driver_is_unavailable_and_that_of_the_caller_is_not(
    postgres_url: str,
) -> None:
    database = Database.open(postgres_url, statement_seconds=1)

    with pytest.raises(Unavailable):
        async with database.transaction() as session:
            await session.execute(text("SELECT pg_sleep(30)"))
    with pytest.raises(TimeoutError):
        async with database.transaction() as session, asyncio.timeout(0.01):
            await session.execute(text("SELECT pg_sleep(1)"))
    async with database.transaction() as session:
        answer = (await session.execute(text("SELECT 1"))).scalar_one()

    await database.close()
    assert answer == 1


async def test_idle_session_of_postgresql_is_ended_soon(postgres_url: str) -> None:
    database = Database.open(postgres_url)

    async with database.reading() as session:
        found = (
            await session.execute(text("SHOW idle_in_transaction_session_timeout"))
        ).scalar_one()

    await database.close()
    assert found == "15s"


@pytest.mark.parametrize("url", ["mysql://a/b", "", "makegood.db", "postgres://x/y"])
def test_another_kind_of_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite:/// or postgresql://"):
        dialect_of(url)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must name a file"):
        sqlite_path(url)


def test_clock_has_no_skew_by_default() -> None:
    assert Clock().skew == timedelta(0)


async def test_cancelled_transactions_leave_no_rows_and_no_locks(database: Database) -> None:
    async def write(number: int) -> None:
        async with database.transaction() as session:
            await write_fact(session, f"fact {number}", "x")
            await session.execute(text("SELECT count(*) FROM facts"))
            await write_fact(session, f"second fact {number}", "x")

    for delay in (0, 0.0005, 0.002, 0.005, 0.02):
        tasks = [asyncio.create_task(write(number)) for number in range(30)]
        await asyncio.sleep(delay)  # to cancel at another step each time, not to wait for anything
        for task in tasks[::2]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), asyncio.CancelledError}

    async with asyncio.timeout(5), database.transaction() as session:
        first = set(await session.scalars(text("SELECT name FROM facts WHERE name LIKE 'fact %'")))
        second = set(
            await session.scalars(
                text("SELECT substr(name, 8) FROM facts WHERE name LIKE 'second %'")
            )
        )
        await write_fact(session, "last", "x")
    assert first == second


async def test_cancelled_transaction_releases_the_write_lock_although_its_error_is_kept(
    sqlite_url: str,
) -> None:
    # The stored error references the frames of the cancelled task, and these a half-read cursor.
    database = Database.open(sqlite_url)
    loop, is_reading = asyncio.get_running_loop(), asyncio.Event()

    async def write_and_read() -> None:
        async with database.transaction() as session:
            await write_fact(session, "colour", "green")
            driver = (await (await session.connection()).get_raw_connection()).driver_connection
            assert driver is not None
            await driver.create_function(
                "first_row", 1, lambda row: loop.call_soon_threadsafe(is_reading.set) and row
            )
            await session.execute(text("SELECT first_row(1) UNION ALL SELECT 2"))

    cancelled = asyncio.create_task(write_and_read())
    await is_reading.wait()
    cancelled.cancel()
    (kept,) = await asyncio.gather(cancelled, return_exceptions=True)

    async with asyncio.timeout(5), database.transaction() as session:
        assert await read_fact(session, "colour") is None
        await write_fact(session, "colour", "red")
    assert isinstance(kept, asyncio.CancelledError)
    await database.close()


def test_several_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    for number in range(40):  # a tenth of these fails if the switch to WAL is not retried
        opened = threading.Barrier(8)

        def open_and_write(path: Path, opened: threading.Barrier) -> None:
            opened.wait()
            connection = connect(path, SQLITE_PRAGMAS)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE IF NOT EXISTS facts (name)")
            connection.execute("COMMIT")
            connection.close()

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(open_and_write, [tmp_path / f"{number}.db"] * 8, [opened] * 8))


async def test_writer_waits_for_another_process(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    other = sqlite3.connect(sqlite_path(sqlite_url), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def write() -> None:
        async with database.transaction() as session:
            await write_fact(session, "colour", "green")

    waiting = asyncio.create_task(write())
    async with database.reading() as session:
        before = await read_fact(session, "colour")
    other.execute("COMMIT")
    await waiting

    async with database.reading() as session:
        assert (before, await read_fact(session, "colour")) == (None, "green")
    other.close()
    await database.close()
