"""The answers of `POST /hooks/{source_id}` over real HTTP, in the order of the checks."""

import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from api.app import create_app
from api.hooks.endpoint import MAXIMUM_HOOK_BYTES
from domain.errors import Unavailable
from domain.projects import CreatedProject
from domain.sources.changes import SourceChanges
from domain.sources.source import Source, SourceKind
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import Statements
from store.ingest.connection import open_ingest_connection
from store.ingest.group_commit import Committer
from store.projects.projects import set_suspended
from store.sources.sources import change_source, remove_source
from tests.api.hooks.provider import (
    RECEIVED,
    SHOP,
    Provider,
    order,
    receipts,
    reread,
    seen,
    shopify_signature,
    snapshot,
    stripe_signature,
)
from tests.api.serving import Caller, parts_on, serving
from tests.support.fakes import CountingConnection
from tests.support.sources import EXPECTS_STRIPE, stored_source
from tests.support.waiting import wait_until_async


class FailingConnection(CountingConnection):
    """Does the work of each transaction, and cannot commit while `is_failing`."""

    is_failing = False

    @asynccontextmanager
    async def transaction(self, *, short_lock_timeout: bool = False) -> AsyncIterator[Statements]:
        async with super().transaction(short_lock_timeout=short_lock_timeout) as statements:
            yield statements
            if self.is_failing:
                raise Unavailable


def refused(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["Request-Id"]
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("age_seconds", [0, 290, -100_000], ids=["now", "old", "of the future"])
async def test_signature_within_the_tolerance_is_good(
    stripe: Provider, database: Database, age_seconds: int
) -> None:
    answer = await stripe.deliver(snapshot(), age_seconds=age_seconds)

    assert answer.status_code == 200
    assert len(await seen(database)) == 1


async def test_one_good_signature_of_several_is_enough(
    stripe: Provider, database: Database
) -> None:
    body = json.dumps(snapshot()).encode()
    good, foreign = stripe_signature(body), stripe_signature(body, secret="whsec_another")
    header = f"{foreign},{good.split(',')[1]}"

    one_header = await stripe.send(body, ("Stripe-Signature", header))
    twice = await stripe.send(body, ("Stripe-Signature", foreign), ("Stripe-Signature", good))

    assert [one_header.status_code, twice.status_code] == [200, 200]
    assert len(await seen(database)) == 1


async def test_bad_signature_is_refused_before_the_body_is_read(
    stripe: Provider, database: Database
) -> None:
    body = json.dumps(snapshot()).encode()
    good = stripe_signature(body)
    sent: list[tuple[bytes, list[tuple[str, str | bytes]]]] = [
        (body, []),
        (body, [("Stripe-Signature", "")]),
        (body, [("Stripe-Signature", b"t=1,v1=\xe9\xff")]),
        (body, [("Stripe-Signature", stripe_signature(body, secret="whsec_another"))]),
        (body, [("Stripe-Signature", stripe_signature(body, age_seconds=301))]),
        (body, [("X-Shopify-Hmac-Sha256", shopify_signature(body))]),
        (body + b" ", [("Stripe-Signature", good)]),
        (body.replace(b": ", b":"), [("Stripe-Signature", good)]),
        (b"", [("Stripe-Signature", good)]),
        (b"no json", [("Stripe-Signature", good)]),
    ]

    answers = [await stripe.send(content, *headers) for content, headers in sent]

    assert {refused(answer) for answer in answers} == {(400, "bad_signature")}
    assert not any(answer.json()["retryable"] for answer in answers)
    assert await receipts(database) == []


async def test_shopify_needs_its_own_signature(shopify: Provider, database: Database) -> None:
    body = json.dumps(order()).encode()
    sent: list[list[tuple[str, str | bytes]]] = [
        [],
        [("X-Shopify-Hmac-Sha256", shopify_signature(body, secret="another"))],
        [("X-Shopify-Hmac-Sha256", shopify_signature(body))] * 2,
        [("Stripe-Signature", stripe_signature(body))],
    ]

    answers = [await shopify.send(body, *headers) for headers in sent]

    assert {refused(answer) for answer in answers} == {(400, "bad_signature")}
    assert await receipts(database) == []


async def test_body_may_have_two_mebibytes(stripe: Provider, database: Database) -> None:
    event = snapshot()
    event["padding"] = ""
    event["padding"] = "x" * (MAXIMUM_HOOK_BYTES - len(json.dumps(event)))
    most = json.dumps(event).encode()

    async def chunks(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    signed = ("Stripe-Signature", stripe_signature(most))
    answers = [await stripe.send(most, signed), await stripe.send(chunks(most), signed)]
    too_large = [await stripe.send(most + b" ", signed), await stripe.send(chunks(most + b" "))]

    assert len(most) == MAXIMUM_HOOK_BYTES
    assert [answer.status_code for answer in answers] == [200, 200]
    assert {refused(answer) for answer in too_large} == {(413, "payload_too_large")}
    assert len(await receipts(database)) == 1


async def test_compressed_body_is_refused_unread(stripe: Provider, database: Database) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    signed = ("Stripe-Signature", stripe_signature(bomb))

    answer = await stripe.send(bomb, signed, ("Content-Encoding", "gzip"))
    identity = await stripe.send(bomb, ("Content-Encoding", "identity"))

    assert refused(answer) == (415, "unsupported_media_type")
    assert refused(identity) == (400, "bad_signature")
    assert await receipts(database) == []


async def test_only_a_webhook_source_has_a_hook(
    client: httpx.AsyncClient, database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    project_id = project.project.id
    of_api = await stored_source(database, sealer, project_id, SourceKind.STRIPE_API)
    removed = await stored_source(database, sealer, project_id)
    async with database.transaction() as session:
        await remove_source(session, project_id, removed.id, await database.now(session))
    ids = [of_api.id, removed.id, "src_" + "0" * 32, "", "x", "a/b", "src_%00", "%F0%9F%92%A9"]

    answers = [await client.post(f"/hooks/{source_id}", content=b"{}") for source_id in ids]

    assert {refused(answer) for answer in answers} == {(404, "not_found")}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_hook_supports_post_only(stripe: Provider, method: str) -> None:
    answer = await stripe.client.request(method, stripe.path)

    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


async def test_suspended_project_refuses_what_the_provider_sends_again(
    stripe: Provider, database: Database
) -> None:
    async with database.transaction() as session:
        now, project_id = await database.now(session), stripe.source.project_id
        await set_suspended(session, project_id, suspended=True, now=now)

    answer = await stripe.deliver(snapshot())

    assert refused(answer) == (402, "subscription_required")
    assert await receipts(database) == []


async def save(database: Database, sealer: Sealer, source: Source, changes: SourceChanges) -> None:
    """Change the source as another process does: no cache of this one learns of it."""
    async with database.transaction() as session:
        await change_source(
            session,
            sealer,
            project_id=source.project_id,
            source_id=source.id,
            changes=changes,
            now=await database.now(session),
        )


async def test_paused_source_checks_the_signature_and_makes_nothing(
    stripe: Provider, database: Database, sealer: Sealer
) -> None:
    await save(database, sealer, stripe.source, SourceChanges(is_paused=True))

    good, bad = await stripe.deliver(snapshot()), await stripe.deliver(snapshot(), secret="x")

    assert (good.status_code, good.json()) == (200, RECEIVED)
    assert refused(bad) == (400, "bad_signature")
    assert await receipts(database) == []
    assert (await reread(database, stripe.source)).last_event_at is None


@pytest.mark.parametrize("change", ["resumed", "expects"])
async def test_delivery_after_a_change_of_another_process_is_stored(
    stripe: Provider, database: Database, sealer: Sealer, change: str
) -> None:
    expected = replace(EXPECTS_STRIPE, event_type="charge.refunded")
    if change == "resumed":
        await save(database, sealer, stripe.source, SourceChanges(is_paused=True))
    await stripe.deliver(snapshot(type="charge.refunded"))
    changes = SourceChanges(is_paused=False, expects=(EXPECTS_STRIPE, expected))
    await save(database, sealer, stripe.source, changes)
    event = snapshot(type="charge.refunded", created=int(time.time()) + 1)

    answer = await stripe.deliver(event)

    assert (answer.status_code, answer.json()) == (200, RECEIVED)
    assert [row.provider_event_id for row in await receipts(database)] == [event["id"]]


async def test_what_cannot_be_stored_is_a_503_and_comes_again(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    source = await stored_source(database, sealer, project.project.id)
    connection = FailingConnection(open_ingest_connection(database.url))
    parts = replace(parts_on(database, sealer), committer=Committer(connection, database.clock))
    event = snapshot()

    async with serving(create_app(parts)) as client:
        connection.is_failing = True
        first = await Provider(client, source).deliver(event)
        connection.is_failing = False
        stored_by_first = await receipts(database)
        again = await Provider(client, source).deliver(event)

    assert refused(first) == (503, "unavailable")
    assert first.headers["Retry-After"] == "1"
    assert stored_by_first == []
    assert again.status_code == 200
    assert len(await receipts(database)) == 1


async def test_secret_that_cannot_be_read_is_a_503_and_a_problem_of_the_source(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    source = await stored_source(database, sealer, project.project.id)
    parts = parts_on(database, Sealer("another root secret, long enough"))

    async with serving(create_app(parts)) as client:
        answer = await Provider(client, source).deliver(snapshot())

    assert refused(answer) == (503, "unavailable")
    assert (await reread(database, source)).problem == "secret_unreadable"


async def test_source_without_a_secret_takes_no_delivery(
    client: httpx.AsyncClient, database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    source = await stored_source(database, sealer, project.project.id, secret="")

    answers = [await Provider(client, source).deliver(snapshot(), secret="") for _ in range(5)]

    assert {refused(answer) for answer in answers} == {(400, "bad_signature")}
    assert "no signing secret yet" in answers[0].json()["detail"]
    assert (await reread(database, source)).state == "new"


async def test_rate_of_hooks_is_apart_from_that_of_receipts(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    source = await stored_source(database, sealer, project.project.id)
    app = create_app(parts_on(database, sealer, rate_limit=1, rate_burst=2))

    async with serving(app) as client:
        provider, caller = Provider(client, source), Caller(client, project.api_key)
        forged = [await provider.deliver(snapshot(), secret="x") for _ in range(3)]
        delivered = [await provider.deliver(snapshot()) for _ in range(3)]
        await caller.accept()

    assert {refused(answer) for answer in forged} == {(400, "bad_signature")}
    assert [answer.status_code for answer in delivered] == [200, 200, 429]
    assert int(delivered[2].headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"text"', b"[" * 100_000, b"\xff\xfe", b'{"id": "evt_1"}'],
    ids=["empty", "cut", "list", "text", "deep", "bytes", "no event"],
)
async def test_genuine_body_that_is_no_event_is_a_problem_of_the_source(
    stripe: Provider, database: Database, body: bytes
) -> None:
    answer = await stripe.send(body, ("Stripe-Signature", stripe_signature(body)))

    async def has_problem() -> bool:
        return (await reread(database, stripe.source)).problem == "bad_answer"

    assert (answer.status_code, answer.json()) == (200, RECEIVED)
    assert await receipts(database) == []
    await wait_until_async(has_problem, what="the source has its problem")


@pytest.mark.parametrize("body", [b"{}", b"<order/>", b"", b'{"inventory_item_id": 1}'])
async def test_topic_that_nobody_expects_is_received_whatever_its_form(
    shopify: Provider, database: Database, body: bytes
) -> None:
    headers = [
        ("X-Shopify-Hmac-Sha256", shopify_signature(body)),
        ("X-Shopify-Topic", "inventory_levels/update"),
        ("X-Shopify-Shop-Domain", SHOP),
    ]
    answer = await shopify.send(body, *headers)

    async def was_received() -> bool:
        return (await reread(database, shopify.source)).last_event_at is not None

    assert (answer.status_code, answer.json()) == (200, RECEIVED)
    await wait_until_async(was_received, what="the source received it")
    assert (await reread(database, shopify.source)).problem is None
    assert await receipts(database) == []


async def test_type_that_nobody_expects_is_received_without_an_instant(
    stripe: Provider, database: Database
) -> None:
    await stripe.deliver({"type": "v2.of.another.form", "livemode": False})

    async def was_received() -> bool:
        return (await reread(database, stripe.source)).last_event_at is not None

    await wait_until_async(was_received, what="the source received it")
    assert (await reread(database, stripe.source)).problem is None


async def test_metrics_count_deliveries_by_outcome(stripe: Provider) -> None:
    await stripe.deliver(snapshot())
    await stripe.deliver(snapshot(type="invoice.created"))
    await stripe.deliver(["no event"])
    await stripe.deliver(snapshot(), secret="x")
    await stripe.client.post("/hooks/unknown")

    page = (await stripe.client.get("/metrics")).text

    for line in (
        'makegood_hooks_total{outcome="stored"} 1.0',
        'makegood_hooks_total{outcome="ignored"} 1.0',
        'makegood_hooks_total{outcome="paused"} 0.0',
        'makegood_hooks_total{outcome="unreadable"} 1.0',
        'makegood_refused_total{code="bad_signature",endpoint="hook"} 1.0',
        'makegood_refused_total{code="not_found",endpoint="hook"} 1.0',
        'makegood_request_duration_seconds_count{endpoint="hook"} 5.0',
        'makegood_accepted_total{endpoint="receipt"} 0.0',
    ):
        assert line in page, line
