"""A provider's answer, over real HTTP: its status and JSON, whatever they are, and bounded."""

import asyncio
import json
from typing import Any

import pytest

from domain.ids import ProjectId, SourceId
from domain.retries import ErrorClass
from domain.sources.source import ShopifyIdentity, Source, SourceKind
from egress.policy import Network
from egress.provider_api import (
    LONGEST_LINK,
    ProviderAnswer,
    ProviderUrls,
    credentials,
    get_json,
    provider_transport,
)
from egress.transport import ExchangeFailed
from tests.activities.callback.test_transport import (
    LOOPBACK,
    Endpoint,
    Handler,
    forever,
    serving,
)
from tests.support.given import START

SECRET = "rk_test_of-the-source"


def source(kind: SourceKind, **changes: Any) -> Source:
    values: dict[str, Any] = dict.fromkeys(Source.__slots__)
    values |= {"id": SourceId("src_1"), "project_id": ProjectId("prj_1"), "kind": kind}
    values |= {"name": "A", "expects": (), "identity": ShopifyIdentity.OBJECT_ID}
    return Source(**values | {"created_at": START} | changes)


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def ask(
    given: bytes | Handler,
    *,
    maximum_bytes: int = 1_000,
    timeout_seconds: float = 5,
    allow: tuple[Network, ...] = LOOPBACK,
) -> tuple[ProviderAnswer, Endpoint]:
    async with serving(given) as endpoint:
        transport = provider_transport(
            allow=allow,
            timeout_seconds=timeout_seconds,
            maximum_bytes=maximum_bytes,
        )
        url = f"http://127.0.0.1:{endpoint.port}/v1/events?limit=1"
        return await get_json(transport, url, {"Authorization": f"Bearer {SECRET}"}), endpoint


async def failure(given: bytes | Handler, **bounds: Any) -> ExchangeFailed:
    with pytest.raises(ExchangeFailed) as failed:
        await ask(given, **bounds)
    assert SECRET not in f"{failed.value} {failed.value!r} {failed.value.log_reason}"
    return failed.value


async def test_request_names_its_key_and_takes_json_uncompressed() -> None:
    found, endpoint = await ask(answer(b'{"data": []}'))

    assert found == ProviderAnswer(200, {"data": []}, None, None)
    (request,) = endpoint.requests
    head = request.decode().lower().split("\r\n")
    assert head[0] == "get /v1/events?limit=1 http/1.1"
    for line in (
        f"authorization: bearer {SECRET}".lower(),
        "accept: application/json",
        "accept-encoding: identity",
        "user-agent: makegood",
    ):
        assert line in head


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "429 Slow", "500 Oops"])
async def test_every_status_has_its_json(status: str) -> None:
    found, _ = await ask(answer(b'{"error": {}}', status))

    assert (found.status, found.json) == (int(status[:3]), {"error": {}})


async def test_link_and_retry_after_are_read() -> None:
    link = '<https://shop.example/orders.json?page_info=abc>; rel="next"'

    found, _ = await ask(answer(b"{}", "429 Slow", f"Link: {link}", "Retry-After: 2.0"))
    other, _ = await ask(answer(b"{}", "429 Slow", "Retry-After: 7"))

    assert (found.link, found.retry_after_seconds) == (link, None)
    assert (other.link, other.retry_after_seconds) == (None, 7)


async def test_absurd_link_is_cut_and_not_absent() -> None:
    found, _ = await ask(answer(b"{}", "200 OK", f"Link: <{'x' * 9_000}>"))

    assert found.link == f"<{'x' * LONGEST_LINK}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{",
        b"\xff",
        b"[" * 900_000,
        b"9" * 900_000,
        b'{"a": 1}{"b": 2}',
    ],
    ids=["empty", "html", "cut", "latin", "deep", "digits", "two"],
)
async def test_body_that_is_no_json_is_none(body: bytes) -> None:
    found, _ = await ask(answer(body), maximum_bytes=1_000_000)

    assert (found.status, found.json) == (200, None)


async def test_texts_of_the_answer_may_be_the_worst() -> None:
    worst = "\ud800\0'\"😀"

    found, _ = await ask(answer(json.dumps([worst]).encode()))

    assert found.json == [worst]


async def test_answer_that_is_too_long_fails() -> None:
    failed = await failure(answer(b" " * 1_001))

    assert (failed.error_class, failed.log_reason) == (
        ErrorClass.PROTOCOL_ERROR,
        "answer_too_long",
    )


async def test_redirect_is_not_followed() -> None:
    found, endpoint = await ask(answer(b"", "307 Moved", "Location: http://127.0.0.1:1/"))

    assert (found.status, endpoint.connections) == (307, 1)


async def test_provider_that_hangs_or_drips_fails_in_time() -> None:
    async def hang(_reader: object, _writer: asyncio.StreamWriter) -> None:
        await forever()

    failed = await failure(hang, timeout_seconds=0.2)

    assert failed.error_class is ErrorClass.TIMEOUT


async def test_address_that_is_not_open_is_refused() -> None:
    failed = await failure(answer(b"{}"), allow=())

    assert failed.error_class is ErrorClass.NO_PERMITTED_ADDRESS


async def test_url_that_httpx_cannot_read_is_refused() -> None:
    transport = provider_transport(allow=LOOPBACK, timeout_seconds=1, maximum_bytes=1_024)

    with pytest.raises(ExchangeFailed) as failed:
        await get_json(transport, "http://[::1/", {})

    assert failed.value.error_class is ErrorClass.NO_PERMITTED_ADDRESS


def test_addresses_are_the_providers_own_unless_named() -> None:
    stripe = source(SourceKind.STRIPE_API)
    shopify = source(SourceKind.SHOPIFY_API, shop_domain="a.myshopify.com")
    own, named = ProviderUrls(), ProviderUrls("http://127.0.0.1:1", "http://127.0.0.1:2")

    assert own.of_events(stripe) == "https://api.stripe.com/v1/events"
    assert own.of_events(shopify) == "https://a.myshopify.com/admin/api/2025-10/orders.json"
    assert named.of_events(stripe) == "http://127.0.0.1:1/v1/events"
    assert named.of_events(shopify) == "http://127.0.0.1:2/admin/api/2025-10/orders.json"


def test_credentials_are_those_of_the_kind() -> None:
    assert credentials(source(SourceKind.STRIPE_API), SECRET) == {
        "Authorization": f"Bearer {SECRET}"
    }
    assert credentials(source(SourceKind.STRIPE_API, account="acct_1"), SECRET) == {
        "Authorization": f"Bearer {SECRET}",
        "Stripe-Account": "acct_1",
    }
    assert credentials(source(SourceKind.SHOPIFY_API), SECRET) == {"X-Shopify-Access-Token": SECRET}
