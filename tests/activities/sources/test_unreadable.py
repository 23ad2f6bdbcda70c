"""What a listing cannot read, one event or one link, stops nothing else and is never hidden."""

import json

import pytest

from activities.sources.shopify_pages import read_shopify_page
from domain.sources.source import SourceKind
from tests.activities.sources.listing_setup import Listings
from tests.domain.sources.examples import make_source
from tests.support.given import START
from tests.support.provider import Answer, Json, shopify_order, stripe_event

UNREADABLE_EVENTS = "Some events in the provider's list cannot be read."


@pytest.mark.parametrize(
    "link",
    [
        '<https://x/a?page_info=%00>; rel="next"',
        f'<https://x/a?page_info=abc>; rel="next", <https://x/{"a" * 9_000}>; rel="previous"',
        "<https://x/a>; title=p; REL='next'",
        '<https://[x?page_info=abc>; rel="next"',
    ],
    ids=["NUL", "long", "no cursor", "no address"],
)
async def test_next_page_that_cannot_be_found_is_a_problem(listings: Listings, link: str) -> None:
    source = await listings.source(SourceKind.SHOPIFY_API)
    listings.later(minutes=5)
    order = shopify_order(1, listings.clock.at)
    page = Answer(200, {"orders": [order]}, (("Link", link),))
    listings.provider.faults.answers = [page]

    part = await listings.run(source)

    read = await listings.read(source)
    assert not part.has_more
    assert (read.problem, read.last_listed_at) == ("bad_answer", None)
    assert read.problem_detail == "The provider's link to the next page cannot be read."
    assert len(await listings.seen(source)) == 1


@pytest.mark.parametrize(
    ("link", "cursor"),
    [
        (None, None),
        ("", None),
        ('<https://x/a?page_info=abc>; rel="next"', "abc"),
        ("<https://x/a?page_info=abc>; rel=next", "abc"),
        ("<https://x/a?page_info=abc>;rel='next'", "abc"),
        ('<https://x/a?page_info=abc>; title="p"; REL="last Next"', "abc"),
        ('<https://x/b?page_info=b>; rel="previous", <https://x/a?page_info=abc>; rel=next', "abc"),
        ('<https://x/b?page_info=b&rel=next>; rel="previous"', None),
        ('<https://x/b?page_info=b>; rel="next-archive"', None),
    ],
)
def test_link_is_read_in_every_form(link: str | None, cursor: str | None) -> None:
    source = make_source(kind=SourceKind.SHOPIFY_API, shop_domain="shop.myshopify.com")

    page = read_shopify_page({"orders": [shopify_order(1, START)]}, link, source, START)

    assert (page.cursor, page.says_more) == (cursor, cursor is not None)
    assert not page.is_next_unreadable


def stripe_page(*events: Json) -> bytes:
    return json.dumps({"data": events, "has_more": False}).encode()


async def test_one_bad_byte_or_endless_number_spoils_its_event_only(listings: Listings) -> None:
    source = await listings.source()
    listings.later(minutes=5)
    at = listings.clock.at
    good, named = stripe_event(1, at, id="evt_good"), stripe_event(2, at, id="evt_named")
    named["data"]["object"]["id"] = "in_?"
    spoilt, endless = stripe_event(3, at, id="evt_?"), stripe_event(4, at, created="DIGITS")
    body = stripe_page(good, named, spoilt, endless)
    body = body.replace(b"?", b"\xff").replace(b'"DIGITS"', b"9" * 5_000)
    listings.provider.faults.answers = [Answer(200, body), Answer(200, stripe_page())]

    await listings.run(source)

    read = await listings.read(source)
    assert sorted(await listings.seen(source)) == ["evt_good", "evt_named"]
    assert (read.problem, read.problem_detail) == ("bad_answer", UNREADABLE_EVENTS)
    assert read.last_listed_at is not None


async def test_lone_event_without_an_id_does_not_stop_its_span(listings: Listings) -> None:
    source = await listings.source()
    listings.later(minutes=5)
    body = stripe_page(stripe_event(1, listings.clock.at, id="evt_?")).replace(b"?", b"\xff")
    listings.provider.faults.answers = [Answer(200, body)]

    await listings.run(source)

    read = await listings.read(source)
    assert read.problem_detail == UNREADABLE_EVENTS
    assert read.last_listed_at is not None
