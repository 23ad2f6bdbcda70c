"""Who may use a lane next: in order, nobody more than one may have, and nothing lost when waits are cancelled."""

import asyncio

import pytest

from store.db.permits import Permits

SOON = 5.0


async def test_places_are_given_in_the_order_of_asking() -> None:
    turns, order = Permits(1), []

    async def use(number: int) -> None:
        await turns.take("", seconds=SOON)
        order.append(number)
        await asyncio.sleep(0)
        turns.release("")

    await asyncio.gather(*(use(number) for number in range(10)))

    assert order == list(range(10))


async def test_name_has_no_more_places_than_one_may_have_and_the_next_name_passes_by() -> None:
    turns = Permits(3, each=2)
    await turns.take("greedy", seconds=SOON)
    await turns.take("greedy", seconds=SOON)

    assert turns.has_all("greedy")
    with pytest.raises(TimeoutError):
        await turns.take("greedy", seconds=0.01)
    await turns.take("other", seconds=SOON)
    assert not turns.has_all("other")


async def test_name_with_fewest_places_comes_first() -> None:
    turns, order = Permits(2, each=2), []
    await turns.take("greedy", seconds=SOON)
    await turns.take("greedy", seconds=SOON)

    async def wait(name: str) -> None:
        await turns.take(name, seconds=SOON)
        order.append(name)

    waits = [asyncio.create_task(wait(name)) for name in ("greedy", "greedy", "other")]
    await asyncio.sleep(0)
    turns.release("greedy")
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)

    assert order == ["other"]
    for name in ("greedy", "other", "greedy"):
        turns.release(name)
    await asyncio.gather(*waits)
    assert order == ["other", "greedy", "greedy"]


async def test_wait_that_is_cancelled_as_its_turn_comes_passes_the_place_on() -> None:
    turns = Permits(1)
    await turns.take("a", seconds=SOON)
    waits = [asyncio.create_task(turns.take(name, seconds=SOON)) for name in ("b", "c")]
    await asyncio.sleep(0)

    turns.release("a")
    waits[0].cancel()
    await asyncio.wait(waits)

    assert waits[0].cancelled()
    assert waits[1].exception() is None
    turns.release("c")
    await turns.take("d", seconds=0.01)


async def test_one_place_goes_round_the_names_that_wait_for_it() -> None:
    turns, order = Permits(1), []
    await turns.take("greedy", seconds=SOON)

    async def use(name: str) -> None:
        await turns.take(name, seconds=SOON)
        order.append(name)
        await asyncio.sleep(0)
        turns.release(name)

    using = [asyncio.create_task(use(name)) for name in ("greedy", "greedy", "greedy", "a", "b")]
    await asyncio.sleep(0)
    turns.release("greedy")
    await asyncio.gather(*using)

    assert order == ["a", "b", "greedy", "greedy", "greedy"]


async def test_place_that_rests_is_free_for_others_and_not_for_its_name() -> None:
    turns = Permits(1)
    await turns.take("greedy", seconds=SOON)
    turns.release("greedy", rest_seconds=SOON)

    await turns.take("other", seconds=0.01)
    turns.release("other")
    with pytest.raises(TimeoutError):
        await turns.take("greedy", seconds=0.01)


async def test_place_that_has_rested_goes_to_who_waits_for_it() -> None:
    turns = Permits(1)
    await turns.take("greedy", seconds=SOON)
    turns.release("greedy", rest_seconds=0.01)

    await turns.take("greedy", seconds=SOON)

    turns.release("greedy")
    assert not turns.has_all("greedy")
