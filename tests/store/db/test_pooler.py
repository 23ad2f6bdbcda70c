"""The store behind a real PgBouncer, whose server connections several clients share."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from sqlalchemy import text

from store.db.database import Database
from store.db.postgres import connect_postgres
from store.ingest.connection import open_ingest_connection
from store.receipts.queries import ListFilters, list_events
from store.revisions import migration_state
from store.status.heartbeats import read_fact, write_fact
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import Postgres

SIZE = 3  # server connections, fewer than one process uses


@pytest.fixture(params=["transaction", "session"])
def pooler_mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pooled_url(postgres: Postgres, postgres_url: str, pooler_mode: str) -> Iterator[str]:
    name = postgres_url.rpartition("/")[2]
    size = SIZE if pooler_mode == "transaction" else 60
    with running_pgbouncer(postgres, name, mode=pooler_mode, size=size) as url:
        yield url


async def test_processes_read_write_and_search_at_once(pooled_url: str) -> None:
    databases = [Database.open(pooled_url) for _ in range(4)]

    async def use(database: Database, number: int) -> str | None:
        async with database.transaction() as session:
            await write_fact(session, f"fact_{number}", str(number))
        async with database.searching(str(number)) as session:
            await list_events(session, ListFilters(project_id=None), limit=10, cursor=None)
        async with database.reading() as session:
            return await read_fact(session, f"fact_{number}")

    found = await asyncio.gather(*(use(databases[i % 4], i) for i in range(60)))

    for database in databases:
        await database.close()
    assert found == [str(i) for i in range(60)]


async def test_limits_of_a_transaction_hold_and_do_not_outlive_it(
    pooled_url: str, pooler_mode: str
) -> None:
    database = Database.open(pooled_url)
    async with database.transaction() as session:
        inside = await session.scalar(text("SHOW idle_in_transaction_session_timeout"))
        commit = await session.scalar(text("SHOW synchronous_commit"))
    await database.close()
    plain = await asyncpg.connect(pooled_url, statement_cache_size=0)
    outside = await plain.fetchval("SHOW idle_in_transaction_session_timeout")
    await plain.close()

    assert (inside, commit) == ("15s", "on")
    if pooler_mode == "transaction":
        assert outside == "0"


async def test_ingest_commits_and_waits_no_longer_than_its_lock_timeout(pooled_url: str) -> None:
    ingest = open_ingest_connection(pooled_url)
    async with ingest.autocommit() as statements:
        assert statements is None
    async with ingest.transaction() as st:
        (row,) = await st.fetch("SELECT current_setting('lock_timeout')")
    async with ingest.transaction(short_lock_timeout=True) as st:
        (short,) = await st.fetch("SELECT current_setting('lock_timeout')")
    await ingest.close()

    assert (row[0], short[0]) == ("5s", "200ms")


async def test_pooler_is_detected_and_a_server_is_not(pooled_url: str, postgres_url: str) -> None:
    pooled, direct = await connect_postgres(pooled_url), await connect_postgres(postgres_url)
    declared = await connect_postgres(f"{postgres_url}?pooler=transaction")

    assert [pooled.is_pooled, direct.is_pooled, declared.is_pooled] == [True, False, True]
    for connection in (pooled, direct, declared):
        await connection.close()


@pytest.mark.parametrize("mode", ["session", "transactions", ""])
async def test_unknown_pooler_is_refused_by_name(mode: str) -> None:
    with pytest.raises(ValueError, match="option pooler"):
        await connect_postgres(f"postgresql://127.0.0.1:1/makegood?pooler={mode}")


async def test_migrations_are_read_through_a_pooler(pooled_url: str) -> None:
    current, newest = await asyncio.to_thread(migration_state, pooled_url)

    assert current == newest
