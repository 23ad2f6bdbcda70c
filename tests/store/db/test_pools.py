"""A pool for each purpose:

none uses up the connections of another, and heavy queries are limited.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import RateLimited, TooSlow, Unavailable
from domain.ids import ProjectId
from store.db import pool_limits as limits
from store.db.database import Database
from store.receipts.queries import ListFilters, list_events
from store.status.heartbeats import read_fact, write_fact
from tests.store.slowness import slow_searches
from tests.support.given import Story

Open = Callable[[Database], AbstractAsyncContextManager[AsyncSession]]

READS: dict[str, Open] = {
    "reading": Database.reading,
    "searching": lambda database: database.searching("shop"),
    "key_lookup": Database.key_lookup,
    "watching": Database.watching,
    "measuring": Database.measuring,
    "loops' reading": lambda database: database.for_loops().reading(),
}
WRITES: dict[str, Open] = {
    "transaction": Database.transaction,
    "heartbeat": Database.heartbeat,
    "loops' transaction": lambda database: database.for_loops().transaction(),
}
MOST_CONNECTIONS = 12  # the ingest connection included


@pytest.fixture
def is_slow(database: Database) -> Iterator[None]:
    with slow_searches(database.url):
        yield


async def use_up(
    stack: AsyncExitStack, database: Database, open_session: Open, connections: int
) -> None:
    for _ in range(connections):
        await stack.enter_async_context(open_session(database))


@pytest.mark.parametrize("name", READS)
async def test_exhausted_pool_does_not_block_another_pool(database: Database, name: str) -> None:
    of_name = {
        "reading": limits.READING,
        "searching": limits.SEARCHING,
        "key_lookup": limits.KEY_LOOKUP,
    }.get(name, limits.WATCHING)
    if name == "loops' reading" and database.dialect == "sqlite":
        of_name = limits.LOOPING
    async with AsyncExitStack() as stack:
        await use_up(stack, database, READS[name], of_name.each or of_name.connections)
        for other in READS.keys() - {name}:
            async with asyncio.timeout(1), READS[other](database) as session:
                assert await read_fact(session, "colour") is None
        for write in WRITES.values():
            async with asyncio.timeout(1), write(database) as session:
                await write_fact(session, "shape", "round")


async def test_blocked_transactions_do_not_block_heartbeats_loops_or_reads(
    postgres_url: str,
) -> None:
    # On SQLite there is one writer, and its transaction blocks all other writes.
    database = Database.open(postgres_url)
    async with AsyncExitStack() as stack:
        await use_up(stack, database, Database.transaction, limits.WRITING.connections)
        for other in (*READS.values(), WRITES["heartbeat"], WRITES["loops' transaction"]):
            async with asyncio.timeout(1), other(database) as session:
                assert await read_fact(session, "colour") is None
    await database.close()


async def test_process_stays_within_its_connection_limit(postgres_url: str) -> None:
    database = Database.open(postgres_url, writers=limits.API_WRITERS)
    counted = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type"
        " = 'client backend'"
    )
    api = (("transaction", 2), ("heartbeat", 1))
    reads = (("reading", 2), ("key_lookup", 1), ("watching", 1), ("measuring", 1))

    async with AsyncExitStack() as stack:
        for name, count in api:
            await use_up(stack, database, WRITES[name], count)
        for name, count in reads:
            await use_up(stack, database, READS[name], count)
        for number in range(limits.SEARCHING.connections):
            session = await stack.enter_async_context(database.searching(str(number)))
        found = await session.scalar(text(counted))

    await database.close()
    assert found == 11  # the ingest connection is the 12th
    assert found < MOST_CONNECTIONS


async def test_name_may_search_twice_at_once_and_another_name_is_served(database: Database) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(database.searching("greedy"))
        with pytest.raises(RateLimited, match="2 lists or searches are running already") as refused:
            async with database.searching("greedy"):
                pass
        async with asyncio.timeout(1), database.searching("other") as session:
            assert await read_fact(session, "colour") is None

    assert refused.value.retry_after_seconds == 1


async def test_cooldown_is_three_times_the_search_and_does_not_delay_another_name(
    database: Database,
) -> None:
    clock = asyncio.get_running_loop().time
    used_seconds = 0.2
    async with database.searching("greedy"), database.searching("greedy"):
        await asyncio.sleep(used_seconds)
    ended = clock()

    async with database.searching("other") as session:
        assert await read_fact(session, "colour") is None
    other = clock() - ended
    async with database.searching("greedy") as session:
        assert await read_fact(session, "colour") is None
    greedy = clock() - ended

    assert greedy >= 3 * used_seconds
    assert other < used_seconds


async def test_shortest_search_has_a_cooldown(database: Database) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    for _ in range(5):
        async with database.searching("greedy") as session:
            assert await read_fact(session, "colour") is None

    # Two permits: the fifth search has waited for two cooldowns of the same permit.
    assert clock() - began >= 2 * 0.1


async def test_search_uses_one_process_of_postgresql(postgres_url: str) -> None:
    database = Database.open(postgres_url)
    async with database.searching("one") as session:
        workers = await session.scalar(text("SHOW max_parallel_workers_per_gather"))
        jit = await session.scalar(text("SHOW jit"))
    await database.close()

    assert (workers, jit) == ("0", "off")


async def test_search_waits_at_most_two_seconds_for_a_permit(database: Database) -> None:
    async with AsyncExitStack() as stack:
        for name in "abc":
            await stack.enter_async_context(database.searching(name))
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable):
            async with database.searching("other"):
                pass

    assert asyncio.get_running_loop().time() - began < 4


@pytest.mark.parametrize("is_writing", [False, True], ids=["reading", "transaction"])
async def test_name_with_many_requests_lets_another_name_go_first(
    database: Database, is_writing: bool
) -> None:
    opened, order = (database.transaction if is_writing else database.reading), []

    async def ask(name: str) -> None:
        async with opened(name) as session:
            await read_fact(session, "colour")
            order.append(name)

    asking = [asyncio.create_task(ask("greedy")) for _ in range(60)]
    await asyncio.sleep(0)
    asking.append(asyncio.create_task(ask("other")))
    await asyncio.gather(*asking)

    # It waits only for those that were being served when it came.
    assert order.index("other") < 30


@pytest.mark.usefixtures("is_slow")
async def test_search_longer_than_two_seconds_ends_with_advice(
    story: Story, database: Database
) -> None:
    for _ in range(30):
        await story.receipt()
    began = asyncio.get_running_loop().time()

    with pytest.raises(TooSlow, match="longer than 2 s: narrow it") as refused:
        async with database.searching("shop") as session:
            await list_events(
                session, ListFilters(project_id=None, q="nothing"), limit=20, cursor=None
            )

    assert 1.5 < asyncio.get_running_loop().time() - began < 6
    assert refused.value.retry_after_seconds
    # The interrupt does not affect the next search.
    async with database.searching("shop") as session:
        page = await list_events(
            session, ListFilters(project_id=ProjectId(story.project.id)), limit=20, cursor=None
        )
    assert len(page.rows) == 20


async def test_metric_that_takes_longer_than_a_second_is_unavailable(postgres_url: str) -> None:
    database = Database.open(postgres_url)

    with pytest.raises(Unavailable):
        async with database.measuring() as session:
            await session.execute(text("SELECT pg_sleep(60)"))
    async with database.measuring() as session:
        assert await session.scalar(text("SELECT 1")) == 1

    await database.close()


async def test_time_limit_of_a_search_applies_only_to_its_transaction(postgres_url: str) -> None:
    # Behind a pooler the next transaction of another pool may have the same server connection.
    database = Database.open(postgres_url)

    async with database.searching("shop") as session:
        within = await session.scalar(text("SHOW statement_timeout"))
        raw = (await (await session.connection()).get_raw_connection()).driver_connection
        assert raw is not None
    after = await raw.fetchval("SHOW statement_timeout")

    await database.close()
    assert (within, after) == ("2s", "0")
