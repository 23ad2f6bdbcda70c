import asyncio
import gzip
import socket
import ssl
import struct
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.callback.transport import OutgoingRequest, exchange
from domain.retries import ErrorClass, ExchangeOutcome
from egress.policy import Address, parse_allowed_ranges
from egress.resolver import NameNotResolved, Resolver, resolve_name
from egress.retry_after import read_retry_after

LOOPBACK = parse_allowed_ranges("127.0.0.0/8")
BODY = b'{"type":"repair.requested","x":"\xc3\xa9"}'
NOW = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Endpoint:
    """A merchant's server on a real socket. It stores requests and answers by the handler."""

    def __init__(self, answer: bytes | Handler) -> None:
        self.port = 0
        self.requests: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.closed = asyncio.Event()
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    line
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ),
                b":0",
            )
            self.requests.append(head + await reader.readexactly(int(length.split(b":")[1])))
            self.asked.set()
            if isinstance(self._answer, bytes):
                writer.write(self._answer)
                await writer.drain()
            else:
                await self._answer(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            self.closed.set()
            writer.close()


@asynccontextmanager
async def serving(
    answer: bytes | Handler, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(answer)
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0, ssl=tls)
    endpoint.port = server.sockets[0].getsockname()[1]
    try:
        yield endpoint
    finally:
        server.close()


def resolving(*addresses: str, asked: list[str] | None = None) -> Resolver:
    async def resolver(host: str, port: int) -> tuple[Address, ...]:
        if asked is not None:
            asked.append(host)
        return tuple(ip_address(address) for address in addresses)

    return resolver


async def post(
    port: int,
    *,
    host: str = "127.0.0.1",
    scheme: str = "http",
    timeout_seconds: float = 5,
    resolver: Resolver = resolve_name,
    ssl_context: ssl.SSLContext | None = None,
) -> ExchangeOutcome:
    request = OutgoingRequest(
        url=f"{scheme}://{host}:{port}/repair?x=1",
        headers=(("Content-Type", "application/json"), ("X-Own", "1")),
        body=BODY,
    )
    return await exchange(
        request,
        allow=LOOPBACK,
        timeout_seconds=timeout_seconds,
        resolver=resolver,
        ssl_context=ssl_context,
    )


async def forever() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("livemode", "outcome"),
    [(False, (204, None)), (True, (None, ErrorClass.NO_PERMITTED_ADDRESS))],
    ids=["test", "live"],
)
async def test_range_for_test_projects_is_closed_to_live_ones(
    livemode: bool, outcome: tuple[int | None, ErrorClass | None]
) -> None:
    async with serving(b"HTTP/1.1 204 No Content\r\n\r\n") as endpoint:
        url = f"http://127.0.0.1:{endpoint.port}/repair"
        request = OutgoingRequest(url=url, headers=(), body=BODY, livemode=livemode)
        found = await exchange(request, allow=(), allow_test=LOOPBACK, timeout_seconds=5)

    assert (found.status, found.error_class) == outcome


async def test_request_goes_out_as_given() -> None:
    async with serving(b"HTTP/1.1 204 No Content\r\n\r\n") as endpoint:
        outcome = await post(endpoint.port)

    assert (outcome.status, outcome.error_class, outcome.retry_after_seconds) == (204, None, None)
    assert 0 <= outcome.duration_ms < 5000
    head, _, body = endpoint.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /repair?x=1 HTTP/1.1"
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    assert len(headers) == len(lines) - 1
    assert headers["host"] == f"127.0.0.1:{endpoint.port}"
    assert headers["accept-encoding"] == "identity"
    assert (headers["content-type"], headers["x-own"]) == ("application/json", "1")
    assert headers["content-length"] == str(len(BODY))
    assert body == BODY


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:{port}/", "http://xn--zz/", "http://[", "http://a:b:c/", "\\\\x"]
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(status: int, location: str) -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as elsewhere:
        answer = f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".format(
            port=elsewhere.port
        )
        async with serving(answer.encode()) as endpoint:
            outcome = await post(endpoint.port)

    assert (outcome.status, outcome.error_class) == (status, None)
    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    "first", [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "]
)
async def test_dripping_answer_is_bounded_by_the_one_deadline(first: bytes) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    started = time.monotonic()
    async with serving(drip) as endpoint:
        outcome = await post(endpoint.port, timeout_seconds=0.4)
        await asyncio.wait_for(endpoint.closed.wait(), 5)

    assert (outcome.status, outcome.error_class) == (None, ErrorClass.TIMEOUT)
    assert 350 <= outcome.duration_ms < 2000
    assert time.monotonic() - started < 3


async def test_endless_body_is_cut_at_the_cap() -> None:
    sent_bytes = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent_bytes
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 16_384)
            sent_bytes += 16_384
            await writer.drain()

    async with serving(flood) as endpoint:
        outcome = await post(endpoint.port, timeout_seconds=10)
        await asyncio.wait_for(endpoint.closed.wait(), 5)

    assert (outcome.status, outcome.error_class) == (200, None)
    assert sent_bytes < 16 * 1024 * 1024  # the size of the sockets' buffers


async def test_compressed_body_is_not_inflated() -> None:
    bomb = gzip.compress(bytes(30_000_000))
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
        + bomb
    )

    async with serving(answer) as endpoint:
        tracemalloc.start()
        try:
            outcome = await post(endpoint.port)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert outcome.status == 200
    assert peak_bytes < 8_000_000


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        serving(b"HTTP/1.1 502 Proxy\r\n\r\n") as proxy,
        serving(b"HTTP/1.1 200 OK\r\n\r\n") as endpoint,
    ):
        for name in (
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "http_proxy",
            "https_proxy",
            "all_proxy",
        ):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)

        outcome = await post(endpoint.port)

    assert outcome.status == 200
    assert proxy.connections == 0


@pytest.mark.parametrize(
    "before",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"],
    ids=["no answer", "half a body"],
)
async def test_connection_reset_has_its_own_error_class(before: bytes) -> None:
    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(before)
        await writer.drain()
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with serving(reset) as endpoint:
        outcome = await post(endpoint.port)

    assert (outcome.status, outcome.error_class) == (None, ErrorClass.CONNECTION_RESET)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: %s" % (b"x" * 300_000),
    ],
    ids=["closed", "another protocol", "short body", "bad length", "endless headers"],
)
async def test_answer_that_is_no_whole_http_answer_is_a_protocol_error(answer: bytes) -> None:
    async with serving(answer) as endpoint:
        outcome = await post(endpoint.port)

    assert (outcome.status, outcome.error_class) == (None, ErrorClass.PROTOCOL_ERROR)


async def test_interim_answers_are_passed_over() -> None:
    async with serving(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 201 Created\r\n\r\n"
    ) as endpoint:
        assert (await post(endpoint.port)).status == 201


@pytest.mark.parametrize("status", [b"429", b"503"])
async def test_retry_after_is_read(status: bytes) -> None:
    async with serving(
        b"HTTP/1.1 " + status + b" X\r\nrETRY-aFTER: 17\r\nContent-Length: 0\r\n\r\n"
    ) as endpoint:
        assert (await post(endpoint.port)).retry_after_seconds == 17


@given(
    st.text()
    | st.from_regex(r"(Mon, )?[0-9]{1,22} Jan [0-9]{1,22} [0-9:]{1,9} (GMT|[+-][0-9]{1,20})?")
)
def test_no_retry_after_raises(text: str) -> None:
    seconds = read_retry_after(text, now=NOW)

    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", []),
        ("app", ["127.0.0.1"]),
        ("app", ["10.0.0.1"]),
        ("app", ["93.184.216.34", "127.0.0.1"]),
        ("app", []),
    ],
)
async def test_refused_address_is_never_connected_to(host: str, addresses: list[str]) -> None:
    request = OutgoingRequest(url=f"https://{host}:8443/", headers=(), body=b"")

    outcome = await exchange(request, allow=(), timeout_seconds=5, resolver=resolving(*addresses))

    assert (outcome.status, outcome.error_class) == (None, ErrorClass.NO_PERMITTED_ADDRESS)


async def test_one_refused_address_among_allowed_ones_refuses_them_all() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as endpoint:
        outcome = await post(endpoint.port, host="app", resolver=resolving("127.0.0.1", "10.0.0.1"))

    assert outcome.error_class is ErrorClass.NO_PERMITTED_ADDRESS
    assert endpoint.connections == 0


async def test_name_is_looked_up_once_and_its_next_address_tried() -> None:
    asked: list[str] = []
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as endpoint:
        resolver = resolving("127.0.0.2", "127.0.0.1", asked=asked)
        outcome = await post(endpoint.port, host="App.Example", resolver=resolver)

    assert (outcome.status, asked) == (200, ["app.example"])
    assert f"Host: app.example:{endpoint.port}".lower() in endpoint.requests[0].decode().lower()


async def test_closed_port_is_a_failed_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert (await post(port)).error_class is ErrorClass.CONNECT_FAILED


async def test_unknown_name_has_no_permitted_address() -> None:
    async def unknown(host: str, port: int) -> tuple[Address, ...]:
        raise NameNotResolved

    assert (
        await post(1, host="app", resolver=unknown)
    ).error_class is ErrorClass.NO_PERMITTED_ADDRESS


async def test_silent_name_server_is_bounded_by_the_deadline() -> None:
    async def silent(host: str, port: int) -> tuple[Address, ...]:
        await forever()
        return ()

    assert (
        await post(1, host="app", resolver=silent, timeout_seconds=0.1)
    ).error_class is ErrorClass.TIMEOUT


async def test_cancellation_is_not_swallowed() -> None:
    async with serving(lambda *_: forever()) as endpoint:
        task = asyncio.create_task(post(endpoint.port))
        await asyncio.wait_for(endpoint.asked.wait(), 5)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task


async def test_malformed_xn_name_is_refused_at_the_send_too() -> None:
    assert (
        await post(80, host="xn--zz", resolver=resolving("127.0.0.1"))
    ).error_class is ErrorClass.NO_PERMITTED_ADDRESS
