"""What was begun to be recorded is recorded, through a cancellation and a store that is away for a moment."""

import asyncio

import pytest

from activities.storing import finished, recorded
from domain.errors import Unavailable


class Ledger:
    """Takes what it is told after so many refusals, and not before `opened` is set."""

    def __init__(self, *, refusals: int = 0) -> None:
        self.asked = 0
        self.has_it = False
        self.opened = asyncio.Event()
        self._refusals = refusals

    async def record(self) -> str:
        self.asked += 1
        if self.asked <= self._refusals:
            raise Unavailable(retry_after_seconds=1)
        await self.opened.wait()
        self.has_it = True
        return "recorded"


async def test_store_that_is_away_for_a_moment_is_asked_again() -> None:
    ledger = Ledger(refusals=2)
    ledger.opened.set()

    assert await recorded(ledger.record, seconds=5) == "recorded"
    assert ledger.asked == 3


async def test_store_that_stays_away_is_given_up_in_time() -> None:
    ledger = Ledger(refusals=1_000)

    with pytest.raises(Unavailable):
        await recorded(ledger.record, seconds=0.3)

    assert ledger.asked == 2


async def test_cancellation_waits_for_the_record_that_runs() -> None:
    ledger = Ledger()
    task = asyncio.create_task(finished(ledger.record))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    task.cancel()
    ledger.opened.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert ledger.has_it
