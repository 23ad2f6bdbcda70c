"""A listing stores every event of its provider once, page by page, span by span."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import update

from activities.sources.part import EVENTS_AT_ONCE
from domain.sources.changes import SourceChanges
from domain.sources.source import Source, SourceKind, SourceProblem
from store.crypto.encryption import Sealer
from store.projects.projects import set_suspended
from store.schema.tables import SOURCES
from store.sources.health import record_problem
from store.sources.sources import change_source, remove_source
from tests.activities.sources.listing_setup import PACE, Listings
from tests.support.given import START
from tests.support.provider import (
    SHOP,
    STRIPE_KEY,
    Asked,
    Provider,
    shopify_order,
    stripe_event,
)
from tests.support.sources import EXPECTS_SHOPIFY, EXPECTS_STRIPE
from tests.support.waiting import wait_until_async

ACCOUNT = "acct_connected"


def add_events(provider: Provider, count: int, *, every_seconds: float = 1.0) -> list[str]:
    """Events at Stripe from `START` on; returns their ids, sorted."""
    events = [
        stripe_event(number, START + timedelta(seconds=number * every_seconds))
        for number in range(count)
    ]
    provider.add_events(*events)
    return [event["id"] for event in events]


async def test_every_event_is_expected_once(listings: Listings) -> None:
    source = await listings.source()
    ids = add_events(listings.provider, 250)
    listings.later(minutes=5)

    part = await listings.run(source)
    again = await listings.run(source)

    assert (part.has_more, part.new, again.new) == (False, 250, 0)
    assert await listings.seen(source) == await listings.expected() == ids
    listed = await listings.read(source)
    assert (listed.last_listed_at, listed.listed_until) == (listings.clock.at, listings.clock.at)
    assert (listed.problem, listed.state.value) == (None, "healthy")


async def test_pages_are_asked_for_one_after_the_other(listings: Listings) -> None:
    source = await listings.source(account=ACCOUNT)
    add_events(listings.provider, 250)
    listings.later(minutes=5)

    await listings.run(source)

    first, *others = listings.provider.asked
    assert first.headers["authorization"] == f"Bearer {STRIPE_KEY}"
    assert first.headers["stripe-account"] == ACCOUNT
    assert first.query == {
        "limit": ["100"],
        "created[gte]": [str(int(START.timestamp()))],
        "created[lte]": [str(int(listings.clock.at.timestamp()))],
        "types[]": ["invoice.paid"],
    }
    cursors = [asked.value("starting_after") for asked in others]
    assert cursors == [f"evt_provider_{number:06}" for number in (150, 50, 0)]


async def test_spans_are_a_day_at_most_and_the_oldest_comes_first(listings: Listings) -> None:
    source = await listings.source()
    ids = add_events(listings.provider, 72, every_seconds=3_600)
    listings.later(days=3, minutes=1)

    await listings.run(source)

    assert await listings.seen(source) == ids
    spans = spans_of(listings.provider.asked)
    assert all(until - since <= timedelta(days=1) for since, until in spans)
    assert (spans[0][0], spans[-1][1]) == (START, listings.clock.at)
    overlaps = [before[1] - after[0] for before, after in pairwise(spans)]
    assert overlaps == [timedelta(hours=1)] * len(overlaps)


def spans_of(asked: list[Asked]) -> list[tuple[datetime, datetime]]:
    """The spans that Stripe was asked for, each once, in order."""
    spans = ((instant(one, "created[gte]"), instant(one, "created[lte]")) for one in asked)
    return list(dict.fromkeys(spans))


def instant(asked: Asked, name: str) -> datetime:
    return datetime.fromtimestamp(int(asked.value(name) or 0), UTC)


async def test_killed_run_goes_on_after_its_last_stored_page(listings: Listings) -> None:
    source = await listings.source()
    ids = add_events(listings.provider, 250)
    listings.later(minutes=5)
    listings.activities = listings.build(replace(PACE, part_seconds=0.0))
    part = await listings.part(source)
    assert (part.has_more, part.pages, len(await listings.seen(source))) == (True, 1, 100)
    listings.provider.asked.clear()

    listings.activities = listings.build()
    await listings.run(source)

    assert listings.provider.asked[0].value("starting_after") == "evt_provider_000150"
    assert await listings.seen(source) == ids


async def test_page_is_stored_in_short_transactions_and_a_killed_run_repeats_it(
    listings: Listings,
) -> None:
    source = await listings.source()
    ids = add_events(listings.provider, 100)
    listings.later(minutes=5)
    listings.activities = listings.build(replace(PACE, pause_seconds=3_600.0))
    run = asyncio.create_task(listings.part(source))

    async def is_pausing() -> bool:
        return len(await listings.seen(source)) == EVENTS_AT_ONCE

    await wait_until_async(is_pausing, what="the first transaction of the page")
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    listings.provider.asked.clear()

    listings.activities = listings.build()
    part = await listings.run(source)

    assert listings.provider.asked[0].value("starting_after") is None
    assert part.new == 100 - EVENTS_AT_ONCE
    assert await listings.seen(source) == ids


async def test_listing_overlaps_by_an_hour(listings: Listings) -> None:
    source = await listings.source()
    listings.later(hours=3)
    await listings.run(source)
    late = stripe_event(1, listings.clock.at - timedelta(minutes=59))
    listings.provider.add_events(late)
    listings.later(minutes=5)

    await listings.run(source)

    assert await listings.seen(source) == [late["id"]]
    listings.provider.add_events(stripe_event(2, listings.clock.at - timedelta(minutes=64)))
    assert (await listings.run(source)).new == 0
    listings.provider.add_events(stripe_event(3, listings.clock.at - timedelta(minutes=59)))
    assert (await listings.run(source)).new == 1


async def test_event_before_the_source_makes_nothing(listings: Listings) -> None:
    listings.provider.add_events(stripe_event(1, START - timedelta(seconds=1)))
    source = await listings.source()
    listings.later(minutes=5)

    await listings.run(source)

    assert await listings.seen(source) == []


async def test_days_of_downtime_leave_no_hole(listings: Listings) -> None:
    source = await listings.source()
    await listings.run(source)
    ids = add_events(listings.provider, 29 * 24, every_seconds=3_600)
    listings.later(days=29)

    await listings.run(source)

    assert await listings.seen(source) == ids
    assert await listings.gaps(source.id) == []


async def test_what_the_provider_does_not_keep_is_a_gap_with_one_alert(listings: Listings) -> None:
    source = await listings.source()
    await listings.run(source)
    add_events(listings.provider, 40, every_seconds=86_400)
    listings.later(days=40)

    await listings.run(source)
    await listings.run(source)

    horizon = listings.clock.at - timedelta(days=30)
    assert [tuple(gap) for gap in await listings.gaps(source.id)] == [
        (START, horizon, listings.clock.at)
    ]
    assert len(await listings.alerts()) == 1
    oldest = spans_of(listings.provider.asked)[1][0]
    assert oldest == horizon
    assert len(await listings.seen(source)) == 30


async def test_gap_of_a_run_that_stood_for_a_month_is_recorded(listings: Listings) -> None:
    source = await listings.source()
    add_events(listings.provider, 250)
    listings.later(minutes=5)
    listings.provider.faults.valid_requests = 1
    await listings.run(source)
    listings.provider.faults.valid_requests = None
    listings.later(days=31)

    await listings.run(source)

    (gap,) = await listings.gaps(source.id)
    assert gap.from_at == START
    assert (await listings.read(source)).listed_until == listings.clock.at


@pytest.mark.parametrize("what", ["pause", "suspend", "remove"])
async def test_nothing_is_listed_of_what_does_not_work(
    listings: Listings, sealer: Sealer, what: str
) -> None:
    source = await listings.source()
    listings.later(minutes=5)
    async with listings.database.transaction() as session:
        match what:
            case "pause":
                await change(listings, sealer, source, is_paused=True, session=session)
            case "suspend":
                await set_suspended(session, source.project_id, suspended=True, now=START)
            case _:
                await remove_source(session, source.project_id, source.id, START)

    part = await listings.part(source)

    assert not part.has_more
    assert listings.provider.asked == []


async def change(
    listings: Listings, sealer: Sealer, source: Source, *, session: object, **changes: object
) -> None:
    await change_source(
        session,  # type: ignore[arg-type]
        sealer,
        project_id=source.project_id,
        source_id=source.id,
        changes=SourceChanges(**changes),  # type: ignore[arg-type]
        now=listings.clock.at,
    )


async def test_changed_source_is_read_again_before_its_next_page(
    listings: Listings, sealer: Sealer
) -> None:
    source = await listings.source()
    add_events(listings.provider, 150)
    listings.later(minutes=5)
    listings.provider.faults.valid_requests = 1
    await listings.run(source)
    listings.provider.faults.valid_requests = None
    async with listings.database.transaction() as session:
        await change(listings, sealer, source, is_paused=True, session=session)
    assert (await listings.run(source)).pages == 0
    async with listings.database.transaction() as session:
        await change(listings, sealer, source, is_paused=False, session=session)

    await listings.run(source)

    assert len(await listings.seen(source)) == 150


async def test_run_that_was_overtaken_says_nothing_of_the_source(
    listings: Listings, sealer: Sealer
) -> None:
    source = await listings.source()
    listings.later(minutes=5)
    listings.provider.faults.hangs.set()
    run = asyncio.create_task(listings.part(source))
    await wait_until_async(lambda: len(listings.provider.asked) == 1, what="the page is asked for")
    async with listings.database.transaction() as session:
        await change(listings, sealer, source, name="Changed", session=session)
        await record_problem(session, source.id, SourceProblem.KEY_REFUSED, "why", START)
    listings.provider.faults.hangs.clear()

    part = await run

    assert (part.has_more, part.pages) == (True, 0)
    assert (await listings.read(source)).problem == "key_refused"


async def test_secret_that_cannot_be_decrypted_is_a_problem(listings: Listings) -> None:
    source = await listings.source()
    async with listings.database.transaction() as session:
        await session.execute(update(SOURCES).values(sealed_secret=b"\x01" + bytes(40)))
    listings.later(minutes=5)

    part = await listings.run(source)

    assert not part.has_more
    assert (await listings.read(source)).problem == "secret_unreadable"
    assert listings.provider.asked == []


async def test_more_types_than_stripe_filters_by_are_listed_all(listings: Listings) -> None:
    expects = tuple(replace(EXPECTS_STRIPE, event_type=f"own.type_{n}") for n in range(21))
    source = await listings.source(expects=expects)
    listings.provider.add_events(
        stripe_event(1, START, type="own.type_20"), stripe_event(2, START, type="other")
    )
    listings.later(minutes=5)

    await listings.run(source)

    assert listings.provider.asked[0].value("types[]") is None
    assert await listings.seen(source) == ["evt_provider_000001"]


async def test_orders_of_a_shop_are_listed_by_their_last_change(listings: Listings) -> None:
    fulfilled = replace(EXPECTS_SHOPIFY, event_type="orders/fulfilled", effect_type="seat_update")
    source = await listings.source(SourceKind.SHOPIFY_API, expects=(EXPECTS_SHOPIFY, fulfilled))
    moment = START + timedelta(minutes=1)
    listings.provider.orders = [
        shopify_order(number, moment + timedelta(seconds=number)) for number in range(230)
    ]
    listings.provider.orders[7] |= {"financial_status": "pending"}
    listings.provider.orders[8] |= {"fulfillment_status": "fulfilled"}
    listings.provider.orders[9] |= {"created_at": "2026-01-01T00:00:00Z", "processed_at": None}
    listings.later(minutes=9)

    await listings.run(source)

    ids = [str(order["id"]) for order in listings.provider.orders]
    assert await listings.seen(source) == sorted([*ids[:7], ids[8], ids[8], *ids[10:]])
    first, *others = listings.provider.asked
    assert first.path.startswith("/admin/api/")
    assert first.value("status") == "any"
    assert len(others) == 2
    assert all(set(asked.query) == {"limit", "fields", "page_info"} for asked in others)
    assert (await listings.read(source)).shop_domain == SHOP
