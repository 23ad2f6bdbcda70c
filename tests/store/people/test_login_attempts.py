"""Tries to sign in are counted in the store, before they are judged:

none made at once slips through.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from domain.security.login_backoff import Limit
from store.db.database import Database
from store.maintenance.retention import purge
from store.people.login_attempts import Counter, charge, counter, is_first_refusal, take_back

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LIMIT = Limit(free=3, first_seconds=10, longest_seconds=60, forgotten_hours=1)
ACCOUNT = counter("account", "ada@example.com", LIMIT)
ADDRESS = counter("address", "192.0.2.1", LIMIT, kept=True)


async def tried(database: Database, *counters: Counter, **later: float) -> int | None:
    async with database.transaction() as session:
        return await charge(session, counters, now=NOW + timedelta(**later))


async def was_right(database: Database, *counters: Counter) -> None:
    async with database.transaction() as session:
        await take_back(session, counters, now=NOW)


async def test_free_tries_then_waits_that_double(database: Database) -> None:
    waits = [await tried(database, ACCOUNT, seconds=at) for at in (0, 0, 0, 0, 9.2, 10, 29.9, 30)]

    assert waits == [None, None, None, 10, 1, None, 1, None]


async def test_concurrent_attempts_are_counted_one_by_one(database: Database) -> None:
    waits = await asyncio.gather(*(tried(database, ACCOUNT, ADDRESS) for _ in range(8)))

    assert sum(wait is None for wait in waits) == LIMIT.free


async def test_a_try_while_waiting_makes_the_wait_no_longer(database: Database) -> None:
    for _ in range(20):
        await tried(database, ACCOUNT)

    assert await tried(database, ACCOUNT, seconds=10) is None


async def test_either_counter_stops_a_try_and_the_other_then_does_not_count_it(
    database: Database,
) -> None:
    other = counter("account", "eve@example.com", LIMIT)
    for _ in range(3):
        await tried(database, ACCOUNT, ADDRESS)

    assert await tried(database, other, ADDRESS) == 10
    assert [await tried(database, other) for _ in range(4)] == [None, None, None, 10]


async def test_successful_sign_in_resets_the_failures_of_the_account(database: Database) -> None:
    for _ in range(3):
        await tried(database, ACCOUNT)
    await was_right(database, ACCOUNT)

    assert [await tried(database, ACCOUNT) for _ in range(4)] == [None, None, None, 10]


async def test_successful_sign_in_keeps_the_failures_of_its_address(database: Database) -> None:
    for _ in range(3):
        await tried(database, ADDRESS)
    await was_right(database, ADDRESS)

    assert [await tried(database, ADDRESS) for _ in range(2)] == [None, 10]


async def test_old_failures_are_forgotten_and_purged(database: Database) -> None:
    for _ in range(3):
        await tried(database, ACCOUNT)
    await tried(database, ADDRESS, minutes=30)

    async with database.transaction() as session:
        assert (await purge(session, NOW + timedelta(minutes=59))).throttles == 0
        assert (await purge(session, NOW + timedelta(minutes=60))).throttles == 1
    assert [await tried(database, ACCOUNT, hours=1) for _ in range(4)] == [None, None, None, 10]


async def refused_first(database: Database, **later: float) -> bool:
    """Whether a try that is refused now is the first one in its wait."""
    async with database.transaction() as session:
        now = NOW + timedelta(**later)
        assert await charge(session, [ACCOUNT, ADDRESS], now=now) is not None
        return await is_first_refusal(session, [ACCOUNT, ADDRESS], now=now)


async def test_one_refusal_is_the_first_of_each_wait(database: Database) -> None:
    for _ in range(3):
        await tried(database, ACCOUNT, ADDRESS)
    in_the_first_wait = await asyncio.gather(*(refused_first(database) for _ in range(6)))
    await tried(database, ACCOUNT, seconds=10)
    in_the_second = [await refused_first(database, seconds=11) for _ in range(3)]

    assert sorted(in_the_first_wait) == [False] * 5 + [True]
    assert in_the_second == [True, False, False]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_failures_outlive_the_process(database: Database) -> None:
    for _ in range(3):
        await tried(database, ACCOUNT)
    another = Database.open(database.url)

    assert await tried(another, ACCOUNT) == 10
    await another.close()


def test_counter_name_does_not_reveal_the_account() -> None:
    assert "ada" not in ACCOUNT.name
    assert ACCOUNT.name != counter("address", "ada@example.com", LIMIT).name
