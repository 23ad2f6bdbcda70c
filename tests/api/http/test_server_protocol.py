"""Malformed HTTP on a socket: wrong lengths, odd chunks, non-ASCII bytes, closed connections.

Every response is a refusal by this service or by the HTTP server, never a 500, and the service
continues.
"""

import asyncio
import contextlib
import json

import pytest
import structlog
from structlog.testing import capture_logs

from api.http.server_protocol import MAXIMUM_FRAMING_BYTES, MAXIMUM_HEAD_BYTES
from tests.api.serving import Caller, is_a_request, receipt
from tests.support.waiting import wait_until_async

ANSWER_SECONDS = 20


async def spoken(caller: Caller, data: bytes) -> bytes:
    """The bytes that the service sends in response until it closes the connection."""
    reader, writer = await asyncio.open_connection(
        caller.client.base_url.host, caller.client.base_url.port
    )
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), ANSWER_SECONDS)
    finally:
        writer.close()


def post(
    caller: Caller,
    body: bytes,
    *headers: bytes,
    path: bytes = b"/api/v1/receipt",
    method: bytes = b"POST",
) -> bytes:
    """A valid request without a length, followed by these header lines."""
    given = (
        b"Host: makegood.example",
        b"Authorization: Bearer " + caller.api_key.encode(),
        b"Accept: application/json",
        b"Content-Type: application/json",
        b"Connection: close",
        *headers,
    )
    return method + b" " + path + b" HTTP/1.1\r\n" + b"\r\n".join(given) + b"\r\n\r\n" + body


def post_head(*headers: bytes) -> bytes:
    """The head of a request without other errors."""
    return (
        b"\r\n".join((b"POST /api/v1/receipt HTTP/1.1", b"Host: makegood.example", *headers))
        + b"\r\n\r\n"
    )


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


KEY = b"Idempotency-Key: key"


ODD_BODIES: tuple[tuple[tuple[bytes, ...], bytes, int], ...] = (
    ((b"Content-Length: 5",), b'{"a":1}', 422),
    ((b"Content-Length: -1",), b"{}", 400),
    ((b"Content-Length: 1e3",), b"{}", 400),
    ((b"Content-Length: " + b"9" * 30,), b"{}", 400),
    ((b"Content-Length: 2", b"Content-Length: 3"), b"{}}", 400),
    ((b"Content-Length: 2", b"Transfer-Encoding: chunked"), b"2\r\n{}\r\n0\r\n\r\n", 400),
    ((b"Content-Length: 65537",), b"", 413),
    ((b"Transfer-Encoding: gzip",), b"{}", 400),
    ((b"Transfer-Encoding: chunked",), b"zz\r\n{}\r\n", 400),
    ((b"Transfer-Encoding: chunked",), b"f" * 18 + b"\r\n{}", 400),
    (
        (b"Transfer-Encoding: chunked",),
        (b"4000\r\n" + b"x" * 0x4000 + b"\r\n") * 5 + b"0\r\n\r\n",
        413,
    ),
    ((b"Content-Length: 0",), b"", 422),
    ((b"Content-Length: 2", b"X-Odd: \xff\xfe"), b"{}", 422),
    ((b"Content-Length: 2", b"Cookie: \xff=\xfe"), b"{}", 422),
)
ODD_KEYS = (
    (b"\xff\xfe", 422),
    (b"\xed\xa0\x80", 400),
    (b"\xf0\x9f\x8e\x89", 422),
    (b"\xc2\x80", 400),
    (b"\t", 400),
)
ODD_LINES = (
    b"GET /events?q=\xff HTTP/1.1",
    b"GET /ev\xffents HTTP/1.1",
    b"GET /api/v1/events?cursor=%ff%00%ed%a0%80 HTTP/1.1",
    b"DELETE /api/v1/events/%ff HTTP/1.1",
    b"GET http://elsewhere.example/api/v1/events HTTP/1.1",
    b"GET //elsewhere.example HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT elsewhere.example:443 HTTP/1.1",
    b"TRACE / HTTP/1.1",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1",
    b"GET / HTTP/9.9",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"PRI * HTTP/2.0",
)
HANG_UPS = (
    (b"PATCH", b"/api/v1/project", b"application/json"),
    (b"POST", b"/api/v1/receipt", b"application/json"),
    (b"POST", b"/login", b"application/x-www-form-urlencoded"),
)
ODD_HOSTS = (b"makegood.example", b"[", b"a b", b"\xff", b"x:99999")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_body_that_is_not_what_its_headers_say_is_refused(caller: Caller) -> None:
    for number, (headers, body, expected) in enumerate(ODD_BODIES):
        answer = await spoken(caller, post(caller, body, KEY + b"%d" % number, *headers))

        assert status(answer) == expected, (headers, body[:60])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_chunked_body_without_a_length_is_read_and_what_follows_a_short_length_is_not_run(
    caller: Caller,
) -> None:
    body = json.dumps(receipt()).encode()
    chunks = (
        b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:]))
        + b"0\r\n\r\n"
    )

    chunked = await spoken(caller, post(caller, chunks, KEY, b"Transfer-Encoding: chunked"))
    smuggled = post(
        caller,
        b"{}" + post(caller, body, KEY + b"2", b"Content-Length: %d" % len(body)),
        KEY,
        b"Content-Length: 2",
    )
    short = await spoken(caller, smuggled)

    assert status(chunked) == 202
    assert (status(short), short.count(b"HTTP/1.1 ")) == (409, 1)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_only_an_authorized_caller_gets_100_continue(caller: Caller) -> None:
    body = json.dumps(receipt()).encode()
    expect, length = b"Expect: 100-continue", b"Content-Length: %d" % len(body)

    taken = await spoken(caller, post(caller, body, KEY, expect, length))
    refused = await spoken(
        caller.with_key("sk_test_unknown"),
        post(caller.with_key("sk_test_unknown"), b"", KEY, expect, length),
    )

    assert [status(taken), status(refused)] == [100, 401]
    assert status(taken.partition(b"\r\n\r\n")[2]) == 202


async def test_key_of_bytes_beyond_ascii_is_text_or_refused(caller: Caller) -> None:
    for key, expected in ODD_KEYS:
        answer = await spoken(
            caller, post(caller, b"{}", b"Idempotency-Key: " + key, b"Content-Length: 2")
        )

        assert status(answer) == expected, key


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_odd_request_line_or_host_brings_nothing_down(caller: Caller) -> None:
    for line in ODD_LINES:
        for host in ODD_HOSTS:
            named = line + b"\r\nHost: " + host
            sent = (
                named
                + b"\r\nConnection: close\r\nAuthorization: Bearer "
                + caller.api_key.encode()
                + b"\r\n\r\n"
            )

            assert status(await spoken(caller, sent)) < 500, named[-100:]
    assert (await caller.client.get("/livez")).status_code == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_client_that_hangs_up_in_mid_body_is_no_failure_of_ours(caller: Caller) -> None:
    structlog.reset_defaults()
    for method, path, media_type in HANG_UPS:
        request = post(caller, b'{"a":', KEY, b"Content-Length: 50", path=path, method=method)

        with capture_logs() as logged:
            _, writer = await asyncio.open_connection(
                caller.client.base_url.host, caller.client.base_url.port
            )
            writer.write(
                request.replace(b"application/json\r\nConnection", media_type + b"\r\nConnection")
            )
            await wait_until_async(
                lambda: any(map(is_a_request, asyncio.all_tasks())), what="the request was begun"
            )
            writer.close()
            await wait_until_async(
                lambda: not any(map(is_a_request, asyncio.all_tasks())), what="the request ended"
            )

        assert [entry for entry in logged if entry["log_level"] == "error"] == [], path
    assert "internal_error" not in (await caller.client.get("/metrics")).text


LONG = b"x" * MAXIMUM_HEAD_BYTES
LARGE_HEADS = {
    "one header": post_head(b"X-Long: " + LONG),
    "many headers": post_head(*[b"X-%d: %s" % (number, b"x" * 100) for number in range(400)]),
    "the address": b"GET /" + LONG + b" HTTP/1.1\r\nHost: makegood.example\r\n\r\n",
}


@pytest.mark.parametrize("head", LARGE_HEADS.values(), ids=LARGE_HEADS)
@pytest.mark.parametrize("is_complete", [True, False], ids=["ended", "never ending"])
async def test_head_of_a_request_is_bounded(caller: Caller, head: bytes, is_complete: bool) -> None:
    answer = await spoken(caller, head if is_complete else head.removesuffix(b"\r\n\r\n"))

    assert status(answer) == 431
    assert b"32 KiB" in answer
    assert (await caller.send("receipt", receipt())).status_code == 202


async def test_largest_head_is_taken(caller: Caller) -> None:
    body = json.dumps(receipt()).encode()
    taken = b"X-Long: " + LONG[:-1024]

    answer = await spoken(caller, post(caller, body, KEY, taken, b"Content-Length: %d" % len(body)))

    assert status(answer) == 202


async def test_what_follows_a_body_is_bounded_too(caller: Caller) -> None:
    request = post(caller, b"2\r\n{}\r\n0\r\nX-Trailer: ", KEY, b"Transfer-Encoding: chunked")
    reader, writer = await asyncio.open_connection(
        caller.client.base_url.host, caller.client.base_url.port
    )
    writer.write(request)
    sent = 0
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(ANSWER_SECONDS):
            while sent < 64 * MAXIMUM_FRAMING_BYTES:
                writer.write(LONG)
                sent += len(LONG)
                await writer.drain()
    writer.close()
    del reader

    # Plus the buffers of both sockets.
    assert sent < MAXIMUM_FRAMING_BYTES + 16 * 1024 * 1024
