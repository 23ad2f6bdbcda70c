"""What genuine deliveries make, over real HTTP: one expected receipt of each event, or nothing."""

import asyncio
import json
from datetime import UTC, datetime

import httpx
import pytest

from api.app import create_app
from domain.projects import CreatedProject
from domain.sources.source import Expects
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.api.hooks.provider import (
    RECEIVED,
    SHOP,
    Provider,
    order,
    receipts,
    reread,
    seen,
    snapshot,
    stripe_signature,
)
from tests.api.serving import Caller, parts_on, receipt, serving
from tests.store.ingest.desk import count
from tests.support.given import START
from tests.support.sources import stored_source
from tests.support.waiting import wait_until_async


async def test_expected_event_is_a_receipt_and_a_row_of_the_source(
    stripe: Provider, database: Database
) -> None:
    event = snapshot()

    answer = await stripe.deliver(event)

    (stored,), (row,) = await receipts(database), await seen(database)
    assert (answer.status_code, answer.json()) == (200, RECEIVED)
    assert answer.headers["Request-Id"].startswith("req_")
    assert (stored.state, stored.stripe_event_id) == ("expected", event["id"])
    assert stored.internal_reference == event["data"]["object"]["id"]
    assert (row.source_id, row.event_id) == (stripe.source.id, stored.event_id)
    assert (row.occurred_at, row.amount, row.currency) == (START, 1999, "USD")
    assert (await reread(database, stripe.source)).last_event_at is not None
    assert await count(database, "outbox", "kind = 'start'") == 1


async def test_expected_order_is_a_receipt_and_a_row_of_the_source(
    shopify: Provider, database: Database
) -> None:
    event = order()

    answer = await shopify.deliver_order(event)

    (stored,), (row,) = await receipts(database), await seen(database)
    assert (answer.status_code, answer.json()) == (200, RECEIVED)
    assert (stored.provider, stored.provider_event_id) == ("shopify", str(event["id"]))
    assert (stored.shopify_shop_domain, stored.stripe_event_id) == (SHOP, None)
    assert (row.amount, row.currency) == (40994, "USD")


async def test_event_in_every_form_is_one_receipt(stripe: Provider, database: Database) -> None:
    event = snapshot()
    forms = [
        event,
        event,
        event | {"account": "acct_1", "context": "acct_1"},
        event | {"api_version": "2019-12-03"},
    ]

    answers = [await stripe.deliver(form) for form in forms]

    assert [answer.status_code for answer in answers] == [200] * 4
    assert len(await receipts(database)) == len(await seen(database)) == 1


async def test_thin_event_is_matched_by_its_exact_type(
    client: httpx.AsyncClient, database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    expects = Expects("v1.billing.meter.error", "credit_grant", 5.0, None, False)
    source = await stored_source(database, sealer, project.project.id, expects=(expects,))
    thin = {
        "id": "evt_thin_1",
        "object": "v2.core.event",
        "created": "2026-11-23T12:00:00.250Z",
        "livemode": False,
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/meters/mtr_1"},
    }
    provider = Provider(client, source)

    await provider.deliver(thin | {"id": "evt_other", "type": "billing.meter.error"})
    await provider.deliver(thin | {"type": "v1.billing.meter.error"})

    (stored,) = await receipts(database)
    assert (stored.provider_event_id, stored.internal_reference) == ("evt_thin_1", "mtr_1")
    assert stored.occurred_at == datetime(2026, 11, 23, 12, 0, 0, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "is_received"),
    [
        ({"type": "invoice.created"}, True),
        ({"created": 1_500_000_000}, True),
        ({"livemode": True}, False),
    ],
    ids=["type that nobody expects", "older than the source", "other mode"],
)
async def test_what_nobody_expects_makes_nothing(
    stripe: Provider, database: Database, changes: dict[str, object], is_received: bool
) -> None:
    answer = await stripe.deliver(snapshot(**changes))

    async def was_received() -> bool:
        return (await reread(database, stripe.source)).last_event_at is not None

    assert (answer.status_code, answer.json()) == (200, RECEIVED)
    if is_received:
        await wait_until_async(was_received, what="the source received it")
    assert await was_received() is is_received
    assert await receipts(database) == await seen(database) == []


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({}, {"shop_domain": "other.myshopify.com"}),
        ({}, {"topic": "orders/updated"}),
        ({"test": False}, {}),
    ],
    ids=["another shop of the app", "another topic", "other mode"],
)
async def test_orders_that_nobody_expects_make_nothing(
    shopify: Provider, database: Database, changes: dict[str, object], headers: dict[str, str]
) -> None:
    answer = await shopify.deliver_order(order(**changes), **headers)

    assert (answer.status_code, answer.json()) == (200, RECEIVED)
    assert await receipts(database) == await seen(database) == []


@pytest.mark.parametrize(
    "text",
    ["\ud800", "nul \0", "\u202e", "x" * 500_000, "𝔘𝔫𝔦", "</script>", '"}]'],
    ids=["lone surrogate", "nul", "bidi", "huge", "astral", "markup", "quotes"],
)
async def test_worst_texts_in_an_event_do_not_stop_it(
    stripe: Provider, database: Database, text: str
) -> None:
    event = snapshot()
    event["data"]["object"] |= {"id": text, "description": text, "currency": text}

    answer = await stripe.deliver(event)

    (stored,), (row,) = await receipts(database), await seen(database)
    assert answer.status_code == 200, answer.text
    assert stored.provider_event_id == event["id"]
    assert len(stored.internal_reference) <= 255
    assert (row.amount, row.currency) == (None, None)


async def test_repeated_name_and_endless_number_do_not_stop_an_event(
    stripe: Provider, database: Database
) -> None:
    event = json.dumps(snapshot()).encode()
    body = event.replace(b'"object": "event"', b'"x": 1, "x": ' + b"9" * 5000 + b', "y": NaN')

    answer = await stripe.send(body, ("Stripe-Signature", stripe_signature(body)))

    assert answer.status_code == 200
    assert len(await receipts(database)) == 1


async def test_event_and_receipt_in_two_processes_are_one_in_any_order(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    """Each event is delivered to one process while its receipt is sent to the other."""
    source = await stored_source(database, sealer, project.project.id)
    other_database = Database.open(database.url)
    events = [snapshot() for _ in range(40)]
    apps = [create_app(parts_on(one, sealer)) for one in (database, other_database)]

    async with serving(apps[0]) as one, serving(apps[1]) as other:
        posts = []
        for number, event in enumerate(events):
            clients = (one, other) if number % 2 else (other, one)
            facts = {"event_type": "invoice.paid", "provider_event_id": event["id"]}
            sent = Caller(clients[0], project.api_key).send("receipt", receipt(**facts))
            delivered = Provider(clients[1], source).deliver(event)
            posts += [sent, delivered] if number % 4 < 2 else [delivered, sent]
        answers = await asyncio.gather(*posts)
    await other_database.close()

    stored = await receipts(database)
    assert sorted(answer.status_code for answer in answers) == [200] * 40 + [202] * 40
    assert {row.provider_event_id for row in stored} == {event["id"] for event in events}
    assert {row.state for row in stored} == {"waiting"}
    assert len(stored) == len(await seen(database)) == 40
    assert await count(database, "outbox", "kind = 'start'") == 40
