"""A lane for each purpose: none uses up another one's connections, and what is heavy is bounded."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import RateLimited, TooSlow, Unavailable
from domain.ids import ProjectId
from store.db import pools as lanes
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
MOST_CONNECTIONS = 18  # with the front door's


@pytest.fixture
def is_slow(database: Database) -> Iterator[None]:
    with slow_searches(database.url):
        yield


async def everything_taken(stack: AsyncExitStack, database: Database, open_session: Open, places: int) -> None:
    for _ in range(places):
        await stack.enter_async_context(open_session(database))


@pytest.mark.parametrize("name", READS)
async def test_lane_that_is_used_up_keeps_no_other_one_waiting(database: Database, name: str) -> None:
    bounds = {"reading": lanes.READING, "searching": lanes.SEARCHING, "key_lookup": lanes.LOOKING_UP}.get(name, lanes.WATCHING)
    bounds = lanes.LOOPING if name == "loops' reading" and database.dialect == "sqlite" else bounds
    async with AsyncExitStack() as stack:
        await everything_taken(stack, database, READS[name], bounds.each or bounds.connections)
        for other in READS.keys() - {name}:
            async with asyncio.timeout(1), READS[other](database) as session:
                assert await read_fact(session, "colour") is None
        for write in WRITES.values():
            async with asyncio.timeout(1), write(database) as session:
                await write_fact(session, "shape", "round")


async def test_acts_that_wait_for_ever_keep_neither_heartbeats_nor_loops_nor_reads_waiting(postgres_url: str) -> None:
    # On SQLite there is one writer, and who holds its place keeps all others from writing.
    database = Database.open(postgres_url)
    async with AsyncExitStack() as stack:
        await everything_taken(stack, database, Database.transaction, lanes.WRITING.connections)
        for other in (*READS.values(), WRITES["heartbeat"], WRITES["loops' transaction"]):
            async with asyncio.timeout(1), other(database) as session:
                assert await read_fact(session, "colour") is None
    await database.close()


async def test_process_takes_no_more_connections_than_it_did_with_one_pool(postgres_url: str) -> None:
    database = Database.open(postgres_url)
    counted = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    api = (("transaction", 5), ("heartbeat", 1))
    reads = (("reading", 3), ("key_lookup", 2), ("watching", 1), ("measuring", 1))

    async with AsyncExitStack() as stack:
        for name, places in api:
            await everything_taken(stack, database, WRITES[name], places)
        for name, places in reads:
            await everything_taken(stack, database, READS[name], places)
        for number in range(lanes.SEARCHING.connections):
            session = await stack.enter_async_context(database.searching(str(number)))
        found = await session.scalar(text(counted))

    await database.close()
    assert found == 16  # and the front door's is the 17th
    assert found < MOST_CONNECTIONS


async def test_one_name_searches_twice_at_once_and_another_one_is_served(database: Database) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(database.searching("greedy"))
        with pytest.raises(RateLimited, match="2 lists or searches are running already") as refused:
            async with database.searching("greedy"):
                pass
        async with asyncio.timeout(1), database.searching("other") as session:
            assert await read_fact(session, "colour") is None

    assert refused.value.retry_after_seconds == 1


async def test_name_rests_three_times_as_long_as_it_searched_and_another_one_does_not_wait(database: Database) -> None:
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


async def test_name_rests_a_moment_after_the_shortest_search(database: Database) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    for _ in range(5):
        async with database.searching("greedy") as session:
            assert await read_fact(session, "colour") is None

    # Two places: the fifth has waited for two rests of the same place.
    assert clock() - began >= 2 * 0.1


async def test_search_has_one_process_of_postgres(postgres_url: str) -> None:
    database = Database.open(postgres_url)
    async with database.searching("one") as session:
        workers = await session.scalar(text("SHOW max_parallel_workers_per_gather"))
        jit = await session.scalar(text("SHOW jit"))
    await database.close()

    assert (workers, jit) == ("0", "off")


async def test_search_waits_no_longer_than_two_seconds_for_what_others_hold(database: Database) -> None:
    async with AsyncExitStack() as stack:
        for name in "abc":
            await stack.enter_async_context(database.searching(name))
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable):
            async with database.searching("other"):
                pass

    assert asyncio.get_running_loop().time() - began < 4


@pytest.mark.parametrize("is_writing", [False, True], ids=["reading", "transaction"])
async def test_who_asks_for_much_at_once_lets_the_next_one_go_before(database: Database, is_writing: bool) -> None:
    opened, order = (database.transaction if is_writing else database.reading), []

    async def ask(name: str) -> None:
        async with opened(name) as session:
            await read_fact(session, "colour")
            order.append(name)

    asking = [asyncio.create_task(ask("greedy")) for _ in range(60)]
    await asyncio.sleep(0)
    asking.append(asyncio.create_task(ask("other")))
    await asyncio.gather(*asking)

    # After those that were being served when it came; how long they take is the machine's.
    assert order.index("other") < 30


@pytest.mark.usefixtures("is_slow")
async def test_search_that_takes_longer_than_two_seconds_is_ended_and_says_what_to_do(story: Story, database: Database) -> None:
    for _ in range(30):
        await story.receipt()
    began = asyncio.get_running_loop().time()

    with pytest.raises(TooSlow, match="longer than 2 s: narrow it") as refused:
        async with database.searching("shop") as session:
            await list_events(session, ListFilters(q="nothing"), limit=20, cursor=None)

    assert 1.5 < asyncio.get_running_loop().time() - began < 6
    assert refused.value.retry_after_seconds
    # What ended it ends nothing that comes after.
    async with database.searching("shop") as session:
        page = await list_events(session, ListFilters(project_id=ProjectId(story.project.id)), limit=20, cursor=None)
    assert len(page.rows) == 20


async def test_figure_that_takes_longer_than_a_second_is_unavailable(postgres_url: str) -> None:
    database = Database.open(postgres_url)

    with pytest.raises(Unavailable):
        async with database.measuring() as session:
            await session.execute(text("SELECT pg_sleep(60)"))
    async with database.measuring() as session:
        assert await session.scalar(text("SELECT 1")) == 1

    await database.close()


async def test_limit_of_a_search_holds_for_its_transaction_alone(postgres_url: str) -> None:
    # Behind a pooler the next transaction of another lane may have the same server connection.
    database = Database.open(postgres_url)

    async with database.searching("shop") as session:
        within = await session.scalar(text("SHOW statement_timeout"))
        raw = (await (await session.connection()).get_raw_connection()).driver_connection
        assert raw is not None
    after = await raw.fetchval("SHOW statement_timeout")

    await database.close()
    assert (within, after) == ("2s", "0")
