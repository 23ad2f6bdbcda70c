"""A commit is on disk before it is acknowledged, whatever cluster, database or role are set to."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from pydantic import SecretStr, TypeAdapter
from sqlalchemy import text

from config.fields import DatabaseUrl
from config.service_urls import OF_LIBPQ_ALONE
from store.crypto.encryption import Sealer
from store.crypto.tokens import new_event_id
from store.db.database import Database
from store.db.durability import find_flaws
from store.db.postgres import connect_postgres, each_host
from store.ingest.connection import open_ingest_connection
from store.ingest.idempotency_keys import RESPONSE_RETENTION
from store.ingest.insert_receipts import NewRow, insert_receipts
from store.projects.projects import create_project
from tests.support.given import new_receipt

# `off` becomes `on`. Any other value is the owner's choice, also `local`, which waits for this
# server's disk.
KEPT = {
    "off": "on",
    "on": "on",
    "local": "local",
    "remote_write": "remote_write",
    "remote_apply": "remote_apply",
}


@pytest.fixture
async def administrator(postgres_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection that sets nothing itself. Settings of the database are reset afterwards."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.execute(f"ALTER DATABASE {postgres_url.rpartition('/')[2]} RESET ALL")
    await connection.execute("ALTER ROLE postgres RESET ALL")
    await connection.close()


async def set_for(
    administrator: "asyncpg.Connection[asyncpg.Record]", what: str, value: str
) -> None:
    name = (
        await administrator.fetchval("SELECT current_database()")
        if what == "DATABASE"
        else "postgres"
    )
    await administrator.execute(f"ALTER {what} {name} SET synchronous_commit = {value}")


@pytest.mark.parametrize("what", ["DATABASE", "ROLE"])
@pytest.mark.parametrize("value", KEPT)
async def test_every_writer_commits_to_disk_whatever_the_database_is_set_to(
    postgres_url: str, administrator: "asyncpg.Connection[asyncpg.Record]", what: str, value: str
) -> None:
    await set_for(administrator, what, value)
    database, ingest_connection = Database.open(postgres_url), open_ingest_connection(postgres_url)

    found = set()
    for opened in (
        database.transaction(),
        database.heartbeat(),
        database.for_loops().transaction(),
    ):
        async with opened as session:
            found.add(await session.scalar(text("SHOW synchronous_commit")))
    for short_lock_timeout in (False, True):
        async with ingest_connection.transaction(
            short_lock_timeout=short_lock_timeout
        ) as statements:
            found.add((await statements.fetch("SHOW synchronous_commit"))[0][0])

    await ingest_connection.close()
    await database.close()
    assert found == {KEPT[value]}


async def test_receipt_stored_by_one_autocommitted_statement_is_on_disk_before_its_response(
    postgres_url: str, sealer: Sealer, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    database = Database.open(postgres_url)
    async with database.transaction() as session:
        shop = await create_project(
            session, sealer, name="shop", livemode=False, now=await database.now(session)
        )
    await set_for(administrator, "DATABASE", "off")
    ingest_connection = open_ingest_connection(postgres_url)
    is_flushed = []

    for _ in range(20):
        receipt = new_receipt(shop.project.id)
        row = NewRow(new_event_id(), receipt.request_id, "", receipt, None)
        async with ingest_connection.autocommit() as statements:
            assert statements is not None
            await insert_receipts(statements, timedelta(), [row], retention=RESPONSE_RETENTION)
            (flushed,) = await statements.fetch(
                "SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()"
            )
            is_flushed.append(flushed[0])

    await ingest_connection.close()
    await database.close()
    assert is_flushed == [True] * 20


async def test_setting_of_a_transaction_does_not_stay_on_its_server_connection(
    postgres_url: str, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    # A pooler gives the same server connection to the next transaction of any program.
    await set_for(administrator, "DATABASE", "off")
    connection = await connect_postgres(postgres_url)

    async with connection.transaction():
        within = await connection.fetchval("SHOW synchronous_commit")
    after = await connection.fetchval("SHOW synchronous_commit")

    await connection.close()
    assert (within, after) == ("on", "off")


async def test_setting_that_is_off_is_found_with_its_source(
    postgres_url: str, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await set_for(administrator, "ROLE", "off")
    database = Database.open(postgres_url)

    async with database.watching() as session:
        flaws = await find_flaws(session)

    await database.close()
    # The tests' own server is not durable at all.
    assert [(flaw.setting, flaw.source, flaw.is_ours) for flaw in flaws] == [
        ("fsync", "command line", True),
        ("full_page_writes", "command line", True),
        ("synchronous_commit", "user", False),
    ]
    assert str(flaws[2]).startswith("synchronous_commit is off (set by: user): ")


async def test_sqlite_has_no_settings_to_check(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)

    async with database.watching() as session:
        assert await find_flaws(session) == ()

    await database.close()


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://a:b@one/d?sslmode=require", ("postgresql://a:b@one/d?sslmode=require",)),
        (
            "postgresql://a:b@one:1,two:2/d",
            ("postgresql://a:b@one:1/d", "postgresql://a:b@two:2/d"),
        ),
        (
            "postgresql://one,[::1]:5/d?x=1",
            ("postgresql://one/d?x=1", "postgresql://[::1]:5/d?x=1"),
        ),
        ("postgresql:///d?host=one,two", ("postgresql:///d?host=one,two",)),
    ],
)
def test_url_of_several_hosts_names_each(url: str, hosts: tuple[str, ...]) -> None:
    assert each_host(url) == hosts


@pytest.mark.parametrize("name", sorted(OF_LIBPQ_ALONE))
async def test_options_that_settings_reject_are_those_that_the_server_rejects(
    name: str, postgres_url: str
) -> None:
    value = "127.0.0.1" if name == "hostaddr" else "1"

    with pytest.raises(
        asyncpg.PostgresError, match=f'unrecognized configuration parameter "{name}"'
    ):
        await connect_postgres(f"{postgres_url}{'&' if '?' in postgres_url else '?'}{name}={value}")


def test_hosts_that_settings_accept_are_parsed_without_an_error() -> None:
    for hosts in ("[::1]:1,db", "[2001:db8::1]", "[::ffff:127.0.0.1]:65535", "one,two:5433"):
        url = f"postgresql://a:b@{hosts}/d"
        assert TypeAdapter(DatabaseUrl).validate_python(SecretStr(url)).get_secret_value() == url
        assert len(each_host(url)) == hosts.count(",") + 1
