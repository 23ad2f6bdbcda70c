"""A write that has begun completes, despite a cancellation or a short store outage."""

import asyncio

import pytest

from activities.storing import retry_until_stored, run_uncancelled
from domain.errors import Unavailable


class SlowStore:
    """Accepts a write after `refusals` refusals, and not before `opened` is set."""

    def __init__(self, *, refusals: int = 0) -> None:
        self.calls = 0
        self.has_record = False
        self.opened = asyncio.Event()
        self._refusals = refusals

    async def record(self) -> str:
        self.calls += 1
        if self.calls <= self._refusals:
            raise Unavailable(retry_after_seconds=1)
        await self.opened.wait()
        self.has_record = True
        return "recorded"


async def test_write_is_retried_after_a_short_store_outage() -> None:
    store = SlowStore(refusals=2)
    store.opened.set()

    assert await retry_until_stored(store.record, seconds=5) == "recorded"
    assert store.calls == 3


async def test_retries_end_in_time_when_the_store_stays_unavailable() -> None:
    store = SlowStore(refusals=1_000)

    with pytest.raises(Unavailable):
        await retry_until_stored(store.record, seconds=0.3)

    assert store.calls == 2


async def test_cancellation_waits_for_a_running_write() -> None:
    store = SlowStore()
    task = asyncio.create_task(run_uncancelled(store.record))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    task.cancel()
    store.opened.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.has_record
