"""A listing holds one page in memory, however many there are."""

import gc
import tracemalloc
from datetime import timedelta

import pytest

from domain.sources.source import Source
from tests.activities.sources.listing_setup import Listings
from tests.support.given import START
from tests.support.provider import Asked, stripe_event

FEW, MANY = 500, 10_000
# What the caches of libraries take, such as one of 128 parsed addresses. All events take 20 MB.
CACHES_BYTES = 500_000


class Counted(list[Asked]):
    """Requests that are counted and not kept, since the provider has the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def append(self, _: Asked) -> None:
        self.count += 1


async def peak_bytes(listings: Listings, source: Source) -> int:
    """The most memory that Python held while the source was listed, beyond that before."""
    gc.collect()
    usual = gc.get_threshold()
    gc.set_threshold(700, 10, 10)  # Python's own: those of the tests let more cycles gather
    tracemalloc.start()
    try:
        await listings.run(source)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.set_threshold(*usual)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_memory_does_not_grow_with_the_number_of_events(listings: Listings) -> None:
    listings.provider.faults.ignores_types = True
    peaks = []
    for count in (FEW, FEW, MANY):  # the first run fills caches
        source = await listings.source()
        begins_at = listings.clock.at
        listings.later(hours=3)
        listings.provider.add_events(
            *(
                stripe_event(number, begins_at + timedelta(seconds=number), type="of.another")
                for number in range(count)
            )
        )
        listings.provider.asked = asked = Counted()
        peaks.append(await peak_bytes(listings, source))
        assert asked.count == count // 100 + 1
    assert listings.clock.at > START

    assert peaks[2] < peaks[1] + CACHES_BYTES
