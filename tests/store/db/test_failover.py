"""A store that cannot be written any more is unavailable, and is found again without a restart."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from domain.errors import Unavailable
from store.db.database import Database, sqlite_path
from store.ingest.connection import IngestConnection, is_store_failure, open_ingest_connection
from store.migrate import migrate
from store.status.heartbeats import read_fact, write_fact
from tests.support.postgres import TEMPLATE, Postgres, running_postgres
from tests.support.waiting import wait_until_async


async def is_written(database: Database, name: str) -> bool:
    """Whether the fact could be written. The only expected refusal is `Unavailable`."""
    try:
        async with database.transaction() as session:
            await write_fact(session, name, "x")
    except Unavailable as refused:
        return refused.retry_after_seconds is None  # which no test expects
    return True


async def is_taken_in(ingest_connection: IngestConnection, name: str) -> bool:
    """The same through the ingest connection."""
    try:
        async with ingest_connection.transaction() as statements:
            await statements.fetch("INSERT INTO facts (name, value) VALUES ($1, $2)", name, "x")
    except (asyncpg.PostgresError, asyncpg.InternalClientError, sqlite3.Error, OSError) as error:
        return not is_store_failure(error)  # which no test expects
    return True


@asynccontextmanager
async def read_only(
    postgres: Postgres, *, for_all_sessions: bool, name: str
) -> AsyncIterator[None]:
    """A provider's disk guard or a node that takes no writes:

    for the whole server, or for new sessions only.
    """
    whom = "SYSTEM" if for_all_sessions else f"DATABASE {name}"
    postgres.execute(
        f"ALTER {whom} SET default_transaction_read_only = on", "SELECT pg_reload_conf()"
    )
    try:
        yield
    finally:
        postgres.execute(
            "SET default_transaction_read_only = off",
            f"ALTER DATABASE {name} RESET default_transaction_read_only",
            "ALTER SYSTEM RESET default_transaction_read_only",
            "SELECT pg_reload_conf()",
        )
        await wait_until_async(
            lambda: shows_writing(postgres.url("postgres")), what="the server has read its settings"
        )


async def shows_writing(url: str) -> bool:
    connection = await asyncpg.connect(url)
    shown = await connection.fetchval("SHOW default_transaction_read_only")
    await connection.close()
    return bool(shown == "off")


@pytest.mark.parametrize(
    "for_all_sessions", [True, False], ids=["of every session", "of new sessions"]
)
async def test_server_that_turns_read_only_is_unavailable_until_it_can_be_written_again(
    postgres: Postgres, postgres_url: str, for_all_sessions: bool
) -> None:
    database, ingest_connection = Database.open(postgres_url), open_ingest_connection(postgres_url)
    assert await is_written(database, "before")
    assert await is_taken_in(ingest_connection, "before too")

    async with read_only(
        postgres, for_all_sessions=for_all_sessions, name=postgres_url.rpartition("/")[2]
    ):
        if not for_all_sessions:  # existing sessions go on until they end
            postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ="
                " 'makegood'",
                database=postgres_url.rpartition("/")[2],
            )

        async def refused() -> bool:
            return not await is_written(database, "during") and not await is_taken_in(
                ingest_connection, "during too"
            )

        await wait_until_async(refused, what="nothing can be written")
        with pytest.raises(Unavailable):
            await database.check_writable()
        # Reads still work.
        async with database.reading() as session:
            assert await read_fact(session, "before") == "x"

    await wait_until_async(lambda: is_written(database, "after"), what="sessions write again")
    await wait_until_async(
        lambda: is_taken_in(ingest_connection, "after too"), what="ingest writes again"
    )
    await database.check_writable()
    await ingest_connection.close()
    await database.close()


async def test_new_primary_is_found_among_several_hosts_and_reads_follow(
    postgres: Postgres,
) -> None:
    name = postgres.create(template=TEMPLATE)
    with running_postgres() as second:
        second.create(name)
        await asyncio.to_thread(migrate, second.url(name))
        first_host, second_host = (
            server.url(name).partition("@")[2].partition("/")[0] for server in (postgres, second)
        )
        url = f"postgresql://postgres@127.0.0.1:1,{first_host},{second_host}/{name}"
        database, ingest_connection = Database.open(url), open_ingest_connection(url)
        assert await is_written(database, "on the first")
        assert await is_taken_in(ingest_connection, "on the first too")
        async with database.key_lookup() as session:
            assert await read_fact(session, "on the first") == "x"

        async with read_only(postgres, for_all_sessions=True, name=name):
            await wait_until_async(
                lambda: is_written(database, "on the second"), what="sessions write to the second"
            )
            await wait_until_async(
                lambda: is_taken_in(ingest_connection, "on the second too"),
                what="ingest does",
            )
            async with database.key_lookup() as session:
                assert await read_fact(session, "on the second") == "x"
                assert await read_fact(session, "on the first") is None

        await ingest_connection.close()
        await database.close()
    postgres.drop(name)


async def test_listener_and_writers_do_not_connect_to_a_standby(
    postgres: Postgres, postgres_url: str
) -> None:
    from store.db.postgres import connect_postgres

    async with read_only(postgres, for_all_sessions=True, name=postgres_url.rpartition("/")[2]):

        async def is_refused() -> bool:
            try:
                connection = await connect_postgres(postgres_url)
            except asyncpg.TargetServerAttributeNotMatched:
                return True
            await connection.close()
            return False

        await wait_until_async(is_refused, what="new connections are refused")
        connection = await connect_postgres(postgres_url, may_be_standby=True)
        assert not connection.is_expired
        await wait_until_async(
            lambda: connection.is_expired, what="it is used for a short time only"
        )
        await connection.close()


@pytest.mark.parametrize("writes_on_loop", [False, True], ids=["thread", "loop"])
async def test_moved_file_takes_no_writes_until_it_is_back(
    sqlite_url: str, writes_on_loop: bool
) -> None:
    database, ingest_connection = (
        Database.open(sqlite_url, writes_on_loop=writes_on_loop),
        open_ingest_connection(sqlite_url),
    )
    path = sqlite_path(sqlite_url)
    away = path.with_name("away.db")
    assert await is_written(database, "before")
    assert await is_taken_in(ingest_connection, "before too")

    path.rename(away)
    refused = [
        await is_written(database, "during"),
        await is_taken_in(ingest_connection, "during too"),
    ]
    is_made_anew = path.exists()
    away.rename(path)

    assert refused == [False, False]
    assert not is_made_anew
    assert await is_written(database, "after")
    assert await is_taken_in(ingest_connection, "after too")
    async with database.reading() as session:
        assert await read_fact(session, "before") == "x"
    await ingest_connection.close()
    await database.close()


async def test_removed_write_ahead_log_is_noticed_before_the_next_receipt(sqlite_url: str) -> None:
    ingest_connection = open_ingest_connection(sqlite_url)
    assert await is_taken_in(ingest_connection, "before")
    log = Path(f"{sqlite_path(sqlite_url)}-wal")

    log.unlink()
    assert not await is_taken_in(ingest_connection, "during")
    assert await is_taken_in(ingest_connection, "after")

    await ingest_connection.close()
    with sqlite3.connect(sqlite_path(sqlite_url)) as connection:
        found = {
            name
            for (name,) in connection.execute(
                "SELECT name FROM facts WHERE name IN ('before', 'during', 'after')"
            )
        }
    connection.close()
    assert found == {"before", "after"}


async def test_file_that_is_no_database_any_more_is_unavailable(sqlite_url: str) -> None:
    path = sqlite_path(sqlite_url)
    kept = path.with_name("kept.db")
    path.rename(kept)
    path.write_bytes(b"certainly no database, for long enough to be looked at " * 40)
    database, ingest_connection = Database.open(sqlite_url), open_ingest_connection(sqlite_url)

    assert [await is_written(database, "a"), await is_taken_in(ingest_connection, "b")] == [
        False,
        False,
    ]
    shutil.move(kept, path)
    assert [await is_written(database, "a"), await is_taken_in(ingest_connection, "b")] == [
        True,
        True,
    ]

    await ingest_connection.close()
    await database.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=16777216", "makegood-test", str(path))
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system of its own takes Linux and root")
    yield path
    subprocess.run(("umount", "--lazy", str(path)), check=True)


async def test_read_only_file_system_is_unavailable_until_it_is_writable(
    sqlite_template: Path, disk: Path
) -> None:
    path = disk / "makegood.db"
    shutil.copyfile(sqlite_template, path)
    remount = ("mount", "-o", "remount,{}", str(disk))
    url = f"sqlite:///{path}"

    subprocess.run([word.format("ro") for word in remount], check=True)
    database, ingest_connection = Database.open(url), open_ingest_connection(url)
    during = [
        await is_written(database, "during"),
        await is_taken_in(ingest_connection, "during too"),
    ]
    subprocess.run([word.format("rw") for word in remount], check=True)
    after = [await is_written(database, "after"), await is_taken_in(ingest_connection, "after too")]

    await ingest_connection.close()
    await database.close()
    assert (during, after) == ([False, False], [True, True])


async def test_read_only_session_is_replaced_by_one_that_can_write(sqlite_url: str) -> None:
    # A connection that was opened while the file was read-only stays read-only.
    database = Database.open(sqlite_url)

    async with database.transaction() as session:
        await session.execute(text("PRAGMA query_only = ON"))
    assert not await is_written(database, "during")
    assert await is_written(database, "after")

    await database.close()
