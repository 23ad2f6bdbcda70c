"""What a provider can do wrong: each is a clear state of the source, and nothing is lost."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from domain.sources.source import SourceKind
from tests.activities.sources.listing_setup import PACE, Listings
from tests.activities.sources.test_listing import add_events
from tests.support.given import START
from tests.support.provider import (
    Answer,
    Json,
    shopify_order,
    stripe_event,
    throttled,
)

WAITS = replace(PACE, retry_seconds=(0.01,), patience_seconds=0.05)
HUGE = b'{"data": [' + b" " * 9_000_000 + b'], "has_more": false}'
DEEP = b"[" * 100_000


async def problem_of(listings: Listings) -> tuple[object, str | None]:
    """The problem of the only source, and its detail."""
    source = await listings.source()
    add_events(listings.provider, 250)
    listings.later(minutes=5)
    await listings.run(source)
    read = await listings.read(source)
    return read.problem, read.problem_detail


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([Answer(401, {"error": {"type": "invalid_request_error"}})], "key_refused"),
        ([Answer(403, {})], "key_refused"),
        ([Answer(404, {})], "bad_answer"),
        ([Answer(307, b"", (("Location", "https://example.com/"),))], "bad_answer"),
        ([Answer(200, b"<html>")], "bad_answer"),
        ([Answer(200, b"\xff\xfe")], "bad_answer"),
        ([Answer(200, DEEP)], "bad_answer"),
        ([Answer(200, [])], "bad_answer"),
        ([Answer(200, {"data": {}, "has_more": False})], "bad_answer"),
        ([Answer(200, {"data": [], "has_more": "no"})], "bad_answer"),
        ([Answer(200, {"data": [None, 1, "x"], "has_more": True})], "bad_answer"),
        ([Answer(200, HUGE)] * 3, "bad_answer"),
        ([Answer(500, {})] * 4, "unreachable"),
        ([None] * 4, "unreachable"),
    ],
    ids=[
        *("401", "403", "404", "redirect", "html", "bytes", "deep", "array", "object"),
        *("no_bool", "no_events", "huge", "500", "closed"),
    ],
)
async def test_answer_without_a_page_is_a_problem_and_ends_the_run(
    listings: Listings, answers: list[Answer | None], problem: str
) -> None:
    listings.provider.faults.answers = list(answers)

    found, detail = await problem_of(listings)

    assert found == problem
    assert detail
    assert len(listings.provider.asked) == len(answers)


async def test_problem_never_quotes_the_provider(listings: Listings) -> None:
    echo = {"error": {"code": "rk_test_ofTheTests", "message": "Bearer rk_test_ofTheTests"}}
    listings.provider.faults.answers = [Answer(401, echo)]

    _, detail = await problem_of(listings)

    assert detail == ("The provider answered 401. The key is revoked, or may not read this.")


async def test_failure_that_passes_is_no_problem(listings: Listings) -> None:
    listings.provider.faults.answers = [Answer(503, {}), None, throttled()]

    assert await problem_of(listings) == (None, None)


async def test_next_good_listing_ends_the_problem(listings: Listings) -> None:
    listings.provider.faults.is_down = True
    await problem_of(listings)
    (source,) = await listings.all()
    listings.provider.faults.is_down = False
    listings.later(minutes=5)

    await listings.run(source)

    assert (await listings.read(source)).problem is None
    assert len(await listings.seen(source)) == 250


async def test_page_that_is_too_long_is_asked_for_in_parts(listings: Listings) -> None:
    source = await listings.source()
    ids = add_events(listings.provider, 30)
    listings.provider.faults.answers = [Answer(200, HUGE)]
    listings.later(minutes=5)

    await listings.run(source)

    assert await listings.seen(source) == ids
    assert [one.value("limit") for one in listings.provider.asked[:3]] == ["100", "10", "100"]


async def test_retry_after_is_waited_for_by_the_workflow(listings: Listings) -> None:
    source = await listings.source()
    ids = add_events(listings.provider, 150)
    listings.later(minutes=5)
    listings.provider.faults.answers = [throttled("120")]

    part = await listings.part(source)

    assert (part.has_more, part.wait_seconds) == (True, 120)
    assert (await listings.read(source)).problem == "throttled"
    assert not (await listings.run(source)).has_more
    assert (await listings.read(source)).problem is None
    assert await listings.seen(source) == ids


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [(None, 60), ("99999999", 3_600), ("soon", 60), ("0", 60)],
    ids=["absent", "absurd", "malformed", "zero"],
)
async def test_throttled_listing_goes_on_within_an_hour(
    listings: Listings, retry_after: str | None, seconds: int
) -> None:
    source = await listings.source()
    listings.activities = listings.build(WAITS)
    listings.provider.faults.answers = [throttled(retry_after)] * 10

    part = await listings.part(source)

    assert (part.has_more, part.wait_seconds) == (True, seconds)
    assert len(listings.provider.asked) <= 2


async def test_stripe_is_asked_five_times_a_second_at_most(listings: Listings) -> None:
    source = await listings.source()
    listings.activities = listings.build(replace(PACE, request_seconds=0.2))
    listings.provider.faults.page_events = 10
    add_events(listings.provider, 50)
    listings.later(minutes=5)
    loop = asyncio.get_running_loop()

    began_at = loop.time()
    await listings.run(source)
    seconds = loop.time() - began_at

    assert len(listings.provider.asked) == 6
    assert seconds >= 1.0  # five waits after the first request


async def test_key_revoked_in_mid_listing_keeps_what_is_stored(listings: Listings) -> None:
    source = await listings.source()
    ids = add_events(listings.provider, 250)
    listings.later(minutes=5)
    listings.provider.faults.valid_requests = 2

    await listings.run(source)

    read = await listings.read(source)
    assert (read.problem, read.listed_until) == ("key_refused", None)
    assert await listings.seen(source) == ids[50:]
    listings.provider.faults.valid_requests = None
    await listings.run(source)
    assert await listings.seen(source) == ids


@pytest.mark.parametrize(
    ("lie", "problem"),
    [
        ({"says_more": True}, "endless_pages"),
        ({"says_more": False}, "bad_answer"),
        ({"loops": True}, "endless_pages"),
        ({"ignores_cursor": True}, "endless_pages"),
        ({"ignores_times": True}, "bad_answer"),
        ({"ignores_types": True}, None),
        ({"repeats": True}, None),
        ({"reorders": True}, None),
        ({"repeats": True, "reorders": True, "ignores_types": True}, None),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
async def test_liar_loses_nothing_and_makes_no_loop(
    listings: Listings, lie: dict[str, bool], problem: str | None
) -> None:
    listings.provider.add_events(
        *(stripe_event(10_000 + n, START - timedelta(hours=3 + n)) for n in range(120))
    )
    listings.provider.add_events(stripe_event(20_000, START, type="of.another"))
    source = await listings.source()
    ids = add_events(listings.provider, 250)
    listings.later(minutes=5)
    for name, value in lie.items():
        setattr(listings.provider.faults, name, value)

    for _ in range(2):
        part = await listings.run(source)
        assert not part.has_more

    is_cut_off = "ignores_cursor" in lie  # the provider gives its first page only
    assert await listings.seen(source) == (ids[150:] if is_cut_off else ids)
    read = await listings.read(source)
    assert read.problem == problem
    assert (read.problem_since is None) == (problem is None)
    assert len(listings.provider.asked) < 100
    for name in lie:
        setattr(listings.provider.faults, name, None if name == "says_more" else False)
    listings.later(minutes=5)
    await listings.run(source)
    assert await listings.seen(source) == ids
    assert (await listings.read(source)).problem is None


async def test_event_of_the_future_is_a_problem_until_its_time_has_come(
    listings: Listings,
) -> None:
    source = await listings.source()
    ids = add_events(listings.provider, 5)
    listings.later(minutes=5)
    future = stripe_event(900, listings.clock.at + timedelta(hours=2))
    listings.provider.faults.extra = [future]

    await listings.run(source)

    assert await listings.seen(source) == ids
    read = await listings.read(source)
    assert (read.problem, read.listed_until) == ("bad_answer", listings.clock.at)
    assert (read.problem_detail or "").startswith(
        "The provider lists events that are dated in the future. Compare this machine's clock"
    )
    listings.provider.faults.extra = []
    listings.provider.add_events(future)
    listings.later(hours=2, minutes=5)
    await listings.run(source)
    assert await listings.seen(source) == [*ids, future["id"]]
    assert (await listings.read(source)).problem is None


@pytest.mark.parametrize(
    "worst",
    [
        None,
        {},
        {"id": "evt_bad", "created": 10**30},
        {"id": "evt_\x00bad"},
        {"id": "x" * 300},
        {"id": ["evt"], "type": {}},
        {"created": True},
        {"livemode": "no"},
    ],
    ids=["null", "empty", "late", "nul", "long", "shapes", "bool", "mode"],
)
async def test_event_that_cannot_be_read_stops_no_other(
    listings: Listings, worst: Json | None
) -> None:
    source = await listings.source()
    ids = add_events(listings.provider, 5)
    bad = stripe_event(901, START) | worst if worst else worst
    listings.provider.faults.extra = [bad]  # type: ignore[list-item]
    listings.later(minutes=5)

    await listings.run(source)

    assert await listings.seen(source) == ids
    assert (await listings.read(source)).problem == "bad_answer"


@pytest.mark.parametrize("page_events", [1, 2, 100])
async def test_page_whose_events_cannot_be_read_stops_no_listing(
    listings: Listings, page_events: int
) -> None:
    source = await listings.source()
    listings.later(minutes=5)
    events = [stripe_event(n, START + timedelta(seconds=n)) for n in range(1, 8)]
    for unreadable in (3, 4, 6):
        del events[unreadable]["type"]
    listings.provider.add_events(*events)
    listings.provider.faults.ignores_types = True
    listings.provider.faults.page_events = page_events

    part = await listings.run(source)

    assert not part.has_more
    assert await listings.seen(source) == [events[n]["id"] for n in (0, 1, 2, 5)]
    read = await listings.read(source)
    assert (read.problem, read.listed_until) == ("bad_answer", listings.clock.at)


async def test_cursor_that_expired_begins_the_span_again(listings: Listings) -> None:
    source = await listings.source()
    ids = add_events(listings.provider, 250)
    listings.later(minutes=5)
    listings.provider.faults.valid_requests = 1
    await listings.run(source)
    listings.provider.faults.valid_requests = None
    listings.provider.faults.answers = [Answer(400, {"error": {"code": "resource_missing"}})]

    await listings.run(source)

    assert await listings.seen(source) == ids
    assert (await listings.read(source)).problem is None


async def test_provider_that_refuses_its_own_cursor_makes_no_loop(listings: Listings) -> None:
    source = await listings.source()
    add_events(listings.provider, 250)
    listings.later(minutes=5)
    listings.provider.faults.refuses_cursor = True

    for _ in range(3):
        assert not (await listings.run(source)).has_more

    assert len(listings.provider.asked) == 6
    assert (await listings.read(source)).problem == "bad_answer"
    assert len(await listings.seen(source)) == 100


@pytest.mark.parametrize(
    "link",
    [
        "<https://evil.example/?page_info=x>; rel=previous",
        "nonsense",
        "<http://[>; rel=next",
        "<https://x/>; rel=next",
    ],
)
async def test_link_of_a_shop_is_read_for_its_cursor_only(listings: Listings, link: str) -> None:
    source = await listings.source(SourceKind.SHOPIFY_API)
    order = shopify_order(1, START)
    listings.provider.faults.answers = [Answer(200, {"orders": [order]}, (("Link", link),))]
    listings.later(minutes=5)

    await listings.run(source)

    assert await listings.seen(source) == [str(order["id"])]
    assert len(listings.provider.asked) == 1


async def test_pages_of_a_shop_that_loop_are_a_problem(listings: Listings) -> None:
    source = await listings.source(SourceKind.SHOPIFY_API)
    listings.provider.orders = [shopify_order(n, START + timedelta(seconds=n)) for n in range(150)]
    listings.provider.faults.loops = True
    listings.later(minutes=5)

    part = await listings.run(source)

    assert not part.has_more
    assert (await listings.read(source)).problem == "endless_pages"
    assert len(await listings.seen(source)) == 150
    assert len(listings.provider.asked) < 10


async def test_pages_that_loop_are_found_over_parts_of_one_page(listings: Listings) -> None:
    source = await listings.source()
    add_events(listings.provider, 12)
    listings.provider.faults.loops = True
    listings.provider.faults.page_events = 1
    listings.later(minutes=5)
    listings.activities = listings.build(replace(PACE, part_seconds=0.0))

    part = await listings.run(source)

    assert not part.has_more
    assert (await listings.read(source)).problem == "endless_pages"
    assert len(await listings.seen(source)) == 12
    assert len(listings.provider.asked) <= 40
