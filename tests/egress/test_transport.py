"""The guard as a client of any kind uses it:

saving a URL, and an httpx client over the guarded transport.
"""

import asyncio
import gzip
import json
import logging

import httpx
import pytest

from activities.callback.transport import OutgoingRequest, exchange
from domain.retries import ErrorClass
from egress.policy import REFUSED_RANGES, Address, UnsafeUrl, parse_allowed_ranges
from egress.resolver import NameNotResolved, Resolver, resolve_name
from egress.transport import ExchangeFailed, GuardedTransport, judge_url
from tests.activities.callback.test_transport import (
    LOOPBACK,
    Handler,
    resolving,
    serving,
)

PRIVATE = "10.20.30.40"


def client(
    resolver: Resolver = resolve_name, *, timeout_seconds: float = 5, is_open: bool = True
) -> httpx.AsyncClient:
    """A client as the callers of user-named addresses make it."""
    transport = GuardedTransport(
        allow=LOOPBACK if is_open else (),
        timeout_seconds=timeout_seconds,
        max_body_bytes=1000,
        resolver=resolver,
    )
    return httpx.AsyncClient(transport=transport, trust_env=False)


async def fetched(answer: bytes | Handler) -> httpx.Response:
    """What a client gets from an endpoint that answers so."""
    async with serving(answer) as endpoint, client() as http:
        return await http.get(f"http://127.0.0.1:{endpoint.port}/keys")


async def refused(text: str, resolver: Resolver = resolve_name, **bounds: float) -> str:
    """What the refusal to save the URL says."""
    with pytest.raises(UnsafeUrl) as refusal:
        await judge_url(text, allow=(), resolver=resolver, **{"refusal_step_seconds": 0, **bounds})
    return str(refusal.value)


async def silent(host: str, port: int) -> tuple[Address, ...]:
    await asyncio.Event().wait()
    return ()


async def unknown(host: str, port: int) -> tuple[Address, ...]:
    raise NameNotResolved


async def test_system_resolver_knows_localhost_and_refuses_nonsense() -> None:
    assert {address.is_loopback for address in await resolve_name("localhost", 443)} == {True}
    with pytest.raises(NameNotResolved):
        await resolve_name("x" * 64 + ".example", 443)


async def test_public_url_may_be_saved() -> None:
    await judge_url(
        "https://shop.example/repair",
        allow=(),
        resolver=resolving("93.184.216.34", "2606:4700::1111"),
    )


@pytest.mark.parametrize(
    "text", ["https://xn--zz/", "http://shop.example/", "https://127.0.0.1/", "https://app/"]
)
async def test_url_that_may_not_be_called_is_not_saved(text: str) -> None:
    await refused(text, resolving(PRIVATE))


async def test_name_of_this_machine_is_not_saved() -> None:
    await refused("https://localhost/")


@pytest.mark.parametrize("end", [0, -1], ids=["first", "last"])
async def test_name_at_either_end_of_any_refused_range_is_not_saved(end: int) -> None:
    for network, _ in REFUSED_RANGES:
        await refused("https://shop.example/", resolving(str(network[end])))


async def test_refusal_after_a_look_up_comes_at_a_whole_step_whatever_it_took() -> None:
    loop = asyncio.get_running_loop()
    spans = []
    for resolver in (resolving(PRIVATE), resolving(), unknown, silent):
        started = loop.time()
        await refused(
            "https://shop.example/", resolver, timeout_seconds=0.05, refusal_step_seconds=0.2
        )
        spans.append(loop.time() - started)

    # Only the least can be said on a machine that may be busy: none came as soon as it was known.
    assert min(spans) >= 0.19


async def test_answer_is_kept_with_the_headers_that_do_no_harm() -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: a=b\r\nLocation:"
        b" /\r\nContent-Length: 11\r\n\r\n"
    )

    response = await fetched(head + b'{"keys": []}'[:11])

    assert response.text == '{"keys": []}'[:11]
    assert set(response.headers) == {"content-type", "content-length"}


async def test_redirect_is_an_answer_and_not_followed_even_by_a_client_that_would() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as elsewhere:
        answer = (
            b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
            % elsewhere.port
        )
        async with serving(answer) as endpoint, client() as http:
            response = await http.get(f"http://127.0.0.1:{endpoint.port}/", follow_redirects=True)

    assert (response.status_code, elsewhere.connections) == (302, 0)


async def test_encoding_that_was_not_asked_for_is_not_undone() -> None:
    bomb = gzip.compress(bytes(200_000))

    response = await fetched(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
        + bomb
    )

    assert response.content == bomb


@pytest.mark.parametrize("length", [1000, 1001])
async def test_body_over_the_cap_is_a_failure(length: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * length

    if length <= 1000:
        assert len((await fetched(answer)).content) == length
    else:
        with pytest.raises(ExchangeFailed) as failure:
            await fetched(answer)
        assert failure.value.error_class is ErrorClass.PROTOCOL_ERROR


async def test_deadline_is_over_the_whole_exchange_and_not_each_read() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(drip) as endpoint, client(timeout_seconds=0.3) as http:
        with pytest.raises(ExchangeFailed) as failure:
            await http.get(f"http://127.0.0.1:{endpoint.port}/", timeout=None)

    assert failure.value.error_class is ErrorClass.TIMEOUT


@pytest.mark.parametrize(
    "resolver", [resolving(PRIVATE), resolving("93.184.216.34", PRIVATE), resolving(), unknown]
)
async def test_failure_is_the_same_whatever_is_behind_the_name_and_holds_no_address(
    resolver: Resolver, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with client(resolver, is_open=False) as http:
            with pytest.raises(httpx.TransportError) as failure:
                await http.get("https://issuer.example/.well-known/openid-configuration")

    assert isinstance(failure.value, ExchangeFailed)
    assert str(failure.value) == "The request failed: no_permitted_address."
    assert failure.value.__suppress_context__
    assert PRIVATE not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "https://１２７.0.0.1/", "https://127。0。0。1/", "https://2130706433/", "https://0x7f.1/",
        "https://0177.0.0.1/", "https://127.1/",
        "https://[::ffff:127.0.0.1]/", "https://[::1%25lo]/", "https://127.0.0.1./",
        "https://user@127.0.0.1/", "https://%31%32%37.0.0.1/",
        "https://LOCALHOST/", "http://issuer.example/", "https://issuer.example:444/",
    ],
)  # fmt: skip
async def test_spelling_that_httpx_would_read_is_refused_all_the_same(url: str) -> None:
    async with client(resolving("127.0.0.1"), is_open=False) as http:
        with pytest.raises((ExchangeFailed, httpx.InvalidURL)) as failure:
            await http.get(url)

    if isinstance(failure.value, ExchangeFailed):
        assert failure.value.error_class is ErrorClass.NO_PERMITTED_ADDRESS


async def test_name_that_changes_between_two_requests_is_judged_for_each() -> None:
    answers = [("127.0.0.1",), (PRIVATE,)]

    async def rebinding(host: str, port: int) -> tuple[Address, ...]:
        return await resolving(*answers.pop(0))(host, port)

    async with (
        serving(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as endpoint,
        client(rebinding) as http,
    ):
        url = f"http://issuer.example:{endpoint.port}/"
        assert (await http.get(url)).status_code == 200
        with pytest.raises(ExchangeFailed) as failure:
            await http.get(url)

    assert (failure.value.error_class, endpoint.connections) == (ErrorClass.NO_PERMITTED_ADDRESS, 1)


async def test_form_is_posted_as_an_oidc_client_does() -> None:
    answer = (
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": 1}'
    )
    async with serving(answer) as endpoint, client() as http:
        response = await http.post(f"http://127.0.0.1:{endpoint.port}/token", data={"code": "x"})

    assert json.loads(response.text) == {"a": 1}
    head, _, body = endpoint.requests[0].partition(b"\r\n\r\n")
    assert body == b"code=x"
    assert head.lower().count(b"accept-encoding: identity") == 1
    assert head.lower().count(b"connection: close") == 1


async def test_what_is_saved_in_another_spelling_is_called() -> None:
    loopback = parse_allowed_ranges("::1/128")
    called: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append((await reader.readline()).decode())
        writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        saved = await judge_url(f"HTTP://[0:0:0:0:0:0:0:1]:{port}/Repair", allow=loopback)
        outcomes = [
            await exchange(OutgoingRequest(url=url, headers=(), body=b"{}"), allow=loopback)
            for url in (saved, f"http://[0::1]:{port}/Repair")
        ]
    finally:
        server.close()

    assert saved == f"http://[::1]:{port}/Repair"
    assert [outcome.status for outcome in outcomes] == [202, 202]
    assert called == ["POST /Repair HTTP/1.1\r\n"] * 2
