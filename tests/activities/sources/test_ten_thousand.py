"""Ten thousand events at the provider: exactly the incidents of those that were never receipted.

Ten hours pass in steps of half an hour. 2 % of the events have no receipt ever, 5 % are listed
after their receipt, all others before. The provider repeats events on every page, is down for an
hour, and throttles; the app sends 1 % of its receipts twice.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from domain.ids import EventId
from domain.projects import CreatedProject
from store.db.sql import SessionStatements
from store.receipts.deadlines import Opened, open_incident
from store.schema.tables import INCIDENTS, RECEIPTS
from tests.activities.sources.listing_setup import Listings
from tests.store.ingest.desk import Desk, committing
from tests.support.given import START
from tests.support.provider import stripe_event, throttled
from worker.sources.health import SourceHealth

EVENTS, STEPS = 10_000, 20
STEP = timedelta(minutes=30)
DOWN = (6, 7)  # steps: an hour
THROTTLED = 12
AT_ONCE = 64  # callers of the app


def is_lost(number: int) -> bool:
    return number % 50 == 7


def is_receipted_first(number: int) -> bool:
    return number % 20 == 3


def is_repeated(number: int) -> bool:
    return number % 100 == 11


@pytest.fixture
async def desk(listings: Listings, project: CreatedProject) -> AsyncIterator[Desk]:
    """The app's way in, by the clock of the listings."""
    async with committing(listings.database, project) as desk:
        yield desk


@pytest.mark.timeout(300)  # half a minute, and longer beside other processes
async def test_exactly_the_incidents_of_what_was_never_receipted(
    listings: Listings, desk: Desk
) -> None:
    source, health = await listings.source(), SourceHealth(listings.database)
    listings.provider.faults.repeats = True
    of_step = EVENTS // STEPS
    for step in range(STEPS):
        numbers = range(step * of_step, (step + 1) * of_step)
        begins_at, width = listings.clock.at, STEP / of_step
        happen(listings, {n: begins_at + width * i for i, n in enumerate(numbers)})
        listings.later(minutes=30)
        receipted = [n for n in numbers if not is_lost(n)]
        await send(desk, (n for n in receipted if is_receipted_first(n)))
        listings.provider.faults.is_down = step in DOWN
        if step == THROTTLED:
            listings.provider.faults.answers = [throttled("90")]
        await listings.run(source)
        await send(desk, (n for n in receipted if not is_receipted_first(n)))
        await open_due(listings)
        await health.turn()
    listings.later(minutes=20)
    await listings.run(source)
    await open_due(listings)
    listings.later(minutes=20)
    await open_due(listings)

    lost = [stripe_event(n, START)["id"] for n in range(EVENTS) if is_lost(n)]
    opened = await incidents(listings)
    assert sorted(row.provider_event_id for row in opened) == lost
    assert len(opened) == 200
    assert {row.reason for row in opened} == {"missing_receipt"}
    assert all(row.opened_at >= row.deadline_at for row in opened)
    assert all(row.deadline_at >= row.occurred_at + timedelta(minutes=15) for row in opened)
    assert len(set(await listings.seen(source))) == EVENTS
    assert await count_receipts(listings) == EVENTS
    assert (await listings.read(source)).problem is None
    assert [found for found, _ in await listings.alerts()] == [source.id]  # it was down


def happen(listings: Listings, moments: dict[int, datetime]) -> None:
    events = [stripe_event(number, at) for number, at in moments.items()]
    listings.provider.add_events(*events)


async def send(desk: Desk, numbers: Iterable[int]) -> None:
    """The app sends the receipts of these events, some of them twice."""
    todo = itertools.chain.from_iterable([n] * (1 + is_repeated(n)) for n in numbers)
    while batch := list(itertools.islice(todo, AT_ONCE)):
        await asyncio.gather(*(desk.say(receipt_of(desk, number)) for number in batch))


def receipt_of(desk: Desk, number: int) -> Any:
    event_id = stripe_event(number, START)["id"]
    return desk.receipt(
        provider_event_id=event_id,
        stripe_event_id=event_id,
        internal_reference=f"order {number}",
        timeout_minutes=10_080.0,
    )


async def open_due(listings: Listings) -> None:
    """Open what is due now, as the workflows do, and look too early at all others."""
    of_expected = select(RECEIPTS.c.event_id).where(RECEIPTS.c.state == "expected")
    async with listings.database.reading() as session:
        event_ids = list(await session.scalars(of_expected))
        due = of_expected.where(RECEIPTS.c.deadline_at <= listings.clock.at)
        expected_to_open = set(await session.scalars(due))
    opened = set()
    async with listings.database.transaction() as session:
        for event_id in event_ids:
            found = await open_incident(
                SessionStatements(session), EventId(event_id), listings.clock.at
            )
            if isinstance(found, Opened):
                opened.add(event_id)
    assert opened == expected_to_open


async def incidents(listings: Listings) -> list[Any]:
    columns = (RECEIPTS.c.provider_event_id, RECEIPTS.c.deadline_at, RECEIPTS.c.occurred_at)
    opened = select(*columns, INCIDENTS.c.reason, INCIDENTS.c.opened_at).join(
        INCIDENTS, INCIDENTS.c.event_id == RECEIPTS.c.event_id
    )
    async with listings.database.reading() as session:
        return list((await session.execute(opened)).all())


async def count_receipts(listings: Listings) -> int:
    async with listings.database.reading() as session:
        return len(list(await session.scalars(select(RECEIPTS.c.event_id))))
