"""Permits:

first in first out, a limit for each name, and no permit is lost when a wait is cancelled.
"""

import asyncio

import pytest

from store.db.permits import Permits

SOON = 5.0


async def test_permits_are_granted_first_in_first_out() -> None:
    permits, order = Permits(1), []

    async def use(number: int) -> None:
        await permits.acquire("", seconds=SOON)
        order.append(number)
        await asyncio.sleep(0)
        permits.release("")

    await asyncio.gather(*(use(number) for number in range(10)))

    assert order == list(range(10))


async def test_name_at_its_limit_waits_and_another_name_overtakes_it() -> None:
    permits = Permits(3, each=2)
    await permits.acquire("greedy", seconds=SOON)
    await permits.acquire("greedy", seconds=SOON)

    assert permits.has_all("greedy")
    with pytest.raises(TimeoutError):
        await permits.acquire("greedy", seconds=0.01)
    await permits.acquire("other", seconds=SOON)
    assert not permits.has_all("other")


async def test_name_with_fewest_permits_goes_first() -> None:
    permits, order = Permits(2, each=2), []
    await permits.acquire("greedy", seconds=SOON)
    await permits.acquire("greedy", seconds=SOON)

    async def wait(name: str) -> None:
        await permits.acquire(name, seconds=SOON)
        order.append(name)

    waits = [asyncio.create_task(wait(name)) for name in ("greedy", "greedy", "other")]
    await asyncio.sleep(0)
    permits.release("greedy")
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)

    assert order == ["other"]
    for name in ("greedy", "other", "greedy"):
        permits.release(name)
    await asyncio.gather(*waits)
    assert order == ["other", "greedy", "greedy"]


async def test_wait_cancelled_as_it_is_granted_passes_the_permit_on() -> None:
    permits = Permits(1)
    await permits.acquire("a", seconds=SOON)
    waits = [asyncio.create_task(permits.acquire(name, seconds=SOON)) for name in ("b", "c")]
    await asyncio.sleep(0)

    permits.release("a")
    waits[0].cancel()
    await asyncio.wait(waits)

    assert waits[0].cancelled()
    assert waits[1].exception() is None
    permits.release("c")
    await permits.acquire("d", seconds=0.01)


async def test_one_permit_goes_round_the_waiting_names() -> None:
    permits, order = Permits(1), []
    await permits.acquire("greedy", seconds=SOON)

    async def use(name: str) -> None:
        await permits.acquire(name, seconds=SOON)
        order.append(name)
        await asyncio.sleep(0)
        permits.release(name)

    using = [asyncio.create_task(use(name)) for name in ("greedy", "greedy", "greedy", "a", "b")]
    await asyncio.sleep(0)
    permits.release("greedy")
    await asyncio.gather(*using)

    assert order == ["a", "b", "greedy", "greedy", "greedy"]


async def test_permit_in_cooldown_is_free_for_others_but_not_for_its_name() -> None:
    permits = Permits(1)
    await permits.acquire("greedy", seconds=SOON)
    permits.release("greedy", cooldown_seconds=SOON)

    await permits.acquire("other", seconds=0.01)
    permits.release("other")
    with pytest.raises(TimeoutError):
        await permits.acquire("greedy", seconds=0.01)


async def test_permit_goes_to_its_waiting_name_after_the_cooldown() -> None:
    permits = Permits(1)
    await permits.acquire("greedy", seconds=SOON)
    permits.release("greedy", cooldown_seconds=0.01)

    await permits.acquire("greedy", seconds=SOON)

    permits.release("greedy")
    assert not permits.has_all("greedy")
