"""The cache of sources: how long it trusts, and what a flood of made-up ids costs."""

import asyncio
from dataclasses import replace

import pytest

from api.hooks.known_sources import (
    MAXIMUM_CACHED,
    MAXIMUM_WAITING_LOOKUPS,
    REFRESH_SECONDS,
    TRUST_SECONDS,
    CalledSource,
    KnownSources,
)
from domain.errors import Unavailable
from domain.ids import ProjectId, SourceId
from tests.domain.sources.examples import make_source
from tests.support.waiting import wait_until_async

SOURCE_ID = "src_" + "a" * 32
CALLED = CalledSource(make_source(id=SourceId(SOURCE_ID)), is_suspended=False, secret="whsec_x")


def made_up(number: int) -> str:
    return f"src_{number:032x}"


class Store:
    """Finds `stored` by id, and counts the look-ups. `release` is cleared to hold them back."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.stored: dict[str, CalledSource] = {SOURCE_ID: CALLED}
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self.release = asyncio.Event()
        self.release.set()
        self.sources = KnownSources(find=self.find, clock=lambda: self.now)

    async def find(self, source_id: str) -> CalledSource | None:
        self.asked.append(source_id)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        found = self.stored.get(source_id)
        await self.release.wait()
        self.at_once -= 1
        return found


async def changed_during_look_up(
    store: Store,
) -> tuple[asyncio.Task[CalledSource | None], CalledSource]:
    """A look-up that is held back, and the source as it was stored since."""
    store.release.clear()
    first = asyncio.create_task(store.sources.called(SOURCE_ID))
    await wait_until_async(lambda: store.at_once == 1)
    changed = replace(CALLED, is_suspended=True)
    store.stored[SOURCE_ID] = changed
    return first, changed


async def test_source_is_looked_up_once_and_trusted() -> None:
    store = Store()

    found = await asyncio.gather(*(store.sources.called(SOURCE_ID) for _ in range(50)))
    store.now += REFRESH_SECONDS
    again = await store.sources.called(SOURCE_ID)

    assert {id(one) for one in found} == {id(CALLED)}
    assert again is CALLED
    assert store.asked == [SOURCE_ID]


async def test_source_in_use_is_read_again_in_the_background() -> None:
    store = Store()
    await store.sources.called(SOURCE_ID)
    store.now += REFRESH_SECONDS + 0.1
    paused = replace(CALLED, is_suspended=True)
    store.stored[SOURCE_ID] = paused

    before = [await store.sources.called(SOURCE_ID) for _ in range(3)]
    await wait_until_async(lambda: len(store.asked) == 2 and not store.at_once)

    assert before == [CALLED] * 3
    assert await store.sources.called(SOURCE_ID) is paused
    assert len(store.asked) == 2


async def test_look_up_afresh_begins_after_the_call() -> None:
    store = Store()
    first, changed = await changed_during_look_up(store)
    afresh = [asyncio.create_task(store.sources.called_afresh(SOURCE_ID)) for _ in range(20)]
    await asyncio.sleep(0)
    store.release.set()

    assert await asyncio.gather(*afresh) == [changed] * 20
    assert await first is CALLED
    assert len(store.asked) == 2


async def test_removed_source_is_gone_after_the_trusted_time() -> None:
    store = Store()
    await store.sources.called(SOURCE_ID)
    del store.stored[SOURCE_ID]
    store.now += TRUST_SECONDS

    assert await store.sources.called(SOURCE_ID) is None


@pytest.mark.parametrize("of", ["source", "project"])
async def test_change_in_this_process_counts_at_once(of: str) -> None:
    store = Store()
    await store.sources.called(SOURCE_ID)
    changed = replace(CALLED, is_suspended=True)
    store.stored[SOURCE_ID] = changed

    if of == "source":
        store.sources.forget(SourceId(SOURCE_ID))
    else:
        store.sources.forget_project(ProjectId("prj_1"))

    assert await store.sources.called(SOURCE_ID) is changed


async def test_source_that_is_added_after_a_call_is_known_at_once() -> None:
    store = Store()
    del store.stored[SOURCE_ID]
    await store.sources.called(SOURCE_ID)
    store.stored[SOURCE_ID] = CALLED

    store.sources.forget(SourceId(SOURCE_ID))

    assert await store.sources.called(SOURCE_ID) is CALLED


async def test_look_up_that_began_before_a_change_is_not_trusted() -> None:
    store = Store()
    first, changed = await changed_during_look_up(store)
    store.sources.forget(SourceId(SOURCE_ID))
    store.release.set()
    await first

    assert await store.sources.called(SOURCE_ID) is changed


@pytest.mark.parametrize(
    "source_id", ["", "src_", "src_" + "A" * 32, "src_" + "a" * 33, SOURCE_ID + "\n", "x" * 10_000]
)
async def test_text_that_is_no_id_costs_no_query(source_id: str) -> None:
    store = Store()

    assert await store.sources.called(source_id) is None
    assert store.asked == []


async def test_unknown_id_is_cached() -> None:
    store = Store()

    answers = [await store.sources.called(made_up(1)) for _ in range(5)]

    assert answers == [None] * 5
    assert store.asked == [made_up(1)]


async def test_made_up_ids_are_looked_up_one_at_a_time_in_a_bounded_queue() -> None:
    store = Store()
    await store.sources.called(SOURCE_ID)
    store.release.clear()
    count = MAXIMUM_WAITING_LOOKUPS + 50

    flood = [asyncio.create_task(store.sources.called(made_up(n))) for n in range(count)]
    await wait_until_async(lambda: sum(task.done() for task in flood) == 50)
    known = await store.sources.called(SOURCE_ID)
    store.release.set()
    answers = await asyncio.gather(*flood, return_exceptions=True)

    assert known is CALLED
    assert answers.count(None) == MAXIMUM_WAITING_LOOKUPS
    assert sum(isinstance(answer, Unavailable) for answer in answers) == 50
    assert store.most_at_once == 1


async def test_cache_is_bounded_and_keeps_sources_before_made_up_ids() -> None:
    store = Store()
    await store.sources.called(SOURCE_ID)

    for number in range(MAXIMUM_CACHED + 10):
        await store.sources.called(made_up(number))
    asked = len(store.asked)

    assert await store.sources.called(SOURCE_ID) is CALLED
    assert len(store.asked) == asked
    assert len(store.sources._known) <= MAXIMUM_CACHED


async def test_store_that_fails_is_asked_again() -> None:
    store = Store()
    works = store.find
    failures = [Unavailable()]

    async def find(source_id: str) -> CalledSource | None:
        if failures:
            raise failures.pop()
        return await works(source_id)

    sources = KnownSources(find=find, clock=lambda: store.now)

    with pytest.raises(Unavailable):
        await sources.called(SOURCE_ID)
    assert await sources.called(SOURCE_ID) is CALLED
