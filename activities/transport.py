"""The one place that connects to a merchant's repair endpoint: resolve, judge, connect to the judged address, once.

The name is resolved for each connection and every address judged before any is used, so that a name cannot change
between the check and the call; TLS still verifies the name. Follows no redirect, obeys no proxy setting, inflates nothing
and keeps no body. What follows is decided by `domain.retries`. Called by `activities.callback` and, through injection, by
the API when a repair URL is saved. Imports nothing from the other activities.
"""

import asyncio
import math
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

import httpcore
import httpx

from domain.egress import Address, Network, RepairUrl, UnsafeUrl, check_addresses, check_repair_url
from domain.retries import ErrorClass, ExchangeOutcome

RESOLVE_SECONDS = 10
# A share of the deadline, so that one silent address leaves time for the next.
CONNECT_SECONDS = 10

Resolver = Callable[[str, int], Awaitable[tuple[Address, ...]]]

_FIXED_HEADERS = (
    ("User-Agent", "Makegood"),
    ("Accept", "*/*"),
    ("Accept-Encoding", "identity"),
    ("Connection", "close"),
)


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """One POST of a repair callback; `headers` carry its content type and signatures."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)


class NameNotResolved(Exception):
    """The name has no address, or its name server did not answer."""


class _NoConnection(Exception):
    """No judged address took the connection."""


async def resolve_name(host: str, port: int) -> tuple[Address, ...]:
    """Every address that the system's resolver knows for the name.

    Raises:
        NameNotResolved: it knows none.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NameNotResolved from error
    return tuple(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


async def judge_repair_url(
    text: str,
    *,
    allow: tuple[Network, ...],
    resolver: Resolver = resolve_name,
    timeout_seconds: float = RESOLVE_SECONDS,
) -> None:
    """Nothing when the URL may be saved as a repair URL now; each send judges it again.

    Raises:
        UnsafeUrl: its shape or an address of its name is refused, or the name has none.
    """
    url = _read_url(text, allow)
    try:
        async with asyncio.timeout(timeout_seconds):
            await resolve_and_judge(url, allow=allow, resolver=resolver)
    except (NameNotResolved, TimeoutError):
        raise UnsafeUrl("The repair URL's host has no address.") from None


async def resolve_and_judge(
    url: RepairUrl, *, allow: tuple[Network, ...], resolver: Resolver = resolve_name
) -> tuple[Address, ...]:
    """The addresses behind the URL, all of which may be called, in the resolver's order.

    Raises:
        NameNotResolved: the resolver knows the name not at all.
        UnsafeUrl: it gave no address, or one that is refused.
    """
    addresses = (url.address,) if url.address is not None else await resolver(url.host, url.port)
    return check_addresses(url, addresses, allow)


async def exchange(
    request: OutgoingRequest,
    *,
    allow: tuple[Network, ...],
    timeout_seconds: float = 30,
    max_body_bytes: int = 65_536,
    ssl_context: ssl.SSLContext | None = None,
    resolver: Resolver = resolve_name,
) -> ExchangeOutcome:
    """What the endpoint answered, or the class of the failure; a network failure is never raised.

    `timeout_seconds` bounds everything from the look-up of the name to the last byte read. An answer that does not end in
    time, or breaks off, is a failure whatever its status; one longer than `max_body_bytes` counts, its rest unread.
    Without an `ssl_context`, one is made with the bundled certificate authorities.
    """
    started = time.monotonic()
    status: int | None = None
    retry_after: str | None = None
    error_class: ErrorClass | None = None
    try:
        async with asyncio.timeout(timeout_seconds):
            url = _read_url(request.url, allow)
            backend = _JudgingBackend(url, allow, resolver)
            status, retry_after = await _post(request, _JudgedTransport(backend, ssl_context), max_body_bytes)
    except _FAILURES as failure:
        error_class = _classify(failure)
    return ExchangeOutcome(
        status=status,
        error_class=error_class,
        duration_ms=round((time.monotonic() - started) * 1000),
        retry_after_seconds=read_retry_after(retry_after, now=datetime.now(UTC)),
    )


def read_retry_after(text: str | None, *, now: datetime) -> int | None:
    """The whole seconds that a Retry-After header asks for, as a number or as an HTTP date; None when it is neither."""
    if text is None:
        return None
    digits = text.strip()
    if re.fullmatch(r"[0-9]+", digits):
        return int(digits) if len(digits) <= 9 else 10**9
    try:
        asked_at = parsedate_to_datetime(text)
        # A date without a zone is no HTTP date; subtracting it raises a TypeError.
        return max(0, math.ceil((asked_at - now).total_seconds()))
    except (ValueError, OverflowError, TypeError):
        return None


def _read_url(text: str, allow: tuple[Network, ...]) -> RepairUrl:
    url = check_repair_url(text, allow)
    try:
        # httpx decodes an xn-- label wherever it looks at the host, and raises when it cannot.
        readable = httpx.URL(text).host
    except (httpx.InvalidURL, UnicodeError):
        readable = ""
    if not readable:
        raise UnsafeUrl("The repair URL's host is no host name.")
    return url


async def _post(request: OutgoingRequest, transport: "_JudgedTransport", max_body_bytes: int) -> tuple[int, str | None]:
    # The deadline is the caller's one for all; httpx's own count from byte to byte.
    async with (
        httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False, timeout=httpx.Timeout(None)) as client,
        client.stream("POST", request.url, headers=[*_FIXED_HEADERS, *request.headers], content=request.body) as response,
    ):
        body_bytes = 0
        async for chunk in response.aiter_raw():
            body_bytes += len(chunk)
            if body_bytes >= max_body_bytes:
                break
        return response.status_code, response.headers.get("retry-after")


class _JudgingBackend(httpcore.AsyncNetworkBackend):
    """Connects for one URL alone, to an address that was judged a moment before."""

    def __init__(self, url: RepairUrl, allow: tuple[Network, ...], resolver: Resolver) -> None:
        self._url = url
        self._allow = allow
        self._resolver = resolver
        self._network = httpcore.AnyIOBackend()
        self._streams: list[httpcore.AsyncNetworkStream] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if (host.lower(), port) != (self._url.host, self._url.port):
            raise UnsafeUrl("The repair URL is read in two ways.")
        addresses = await resolve_and_judge(self._url, allow=self._allow, resolver=self._resolver)
        for address in addresses:
            try:
                stream = await self._network.connect_tcp(str(address), port, CONNECT_SECONDS, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
            self._streams.append(stream)
            return stream
        raise _NoConnection

    async def aclose(self) -> None:
        """Closes what was connected: httpcore forgets a connection whose TLS handshake is cancelled by the deadline."""
        for stream in self._streams:
            await stream.aclose()


class _JudgedTransport(httpx.AsyncBaseTransport):
    """An httpx transport whose every connection is made by the given backend; httpx's own takes none."""

    def __init__(self, backend: _JudgingBackend, ssl_context: ssl.SSLContext | None) -> None:
        self._backend = backend
        context = ssl_context or httpx.create_ssl_context(trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(ssl_context=context, network_backend=backend, max_connections=1)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        response = await self._pool.handle_async_request(
            httpcore.Request(
                request.method,
                url,
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        # Only what is used: httpx would build the next request from a Location even when it does not follow it.
        headers = [(name, value) for name, value in response.headers if name.lower() == b"retry-after"]
        return httpx.Response(response.status, headers=headers, stream=_ResponseStream(response))

    async def aclose(self) -> None:
        await self._pool.aclose()
        await self._backend.aclose()


class _ResponseStream(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.aiter_stream():
            yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()


# LocalProtocolError is absent on purpose: a request that cannot be written is a bug of ours.
_FAILURES = (
    OSError,  # TimeoutError, and an ssl.SSLError that a read brings up after the handshake
    UnsafeUrl,
    NameNotResolved,
    _NoConnection,
    httpcore.NetworkError,
    httpcore.RemoteProtocolError,
)


def _classify(failure: Exception) -> ErrorClass:
    match failure:
        case TimeoutError():
            return ErrorClass.TIMEOUT
        case UnsafeUrl():
            return ErrorClass.REFUSED_ADDRESS
        case NameNotResolved():
            return ErrorClass.DNS_FAILURE
        case _NoConnection():
            return ErrorClass.CONNECT_FAILED
        case httpcore.ConnectError() | ssl.SSLError():
            # Our own failure to connect is _NoConnection, so a ConnectError comes from the TLS handshake.
            return ErrorClass.TLS_FAILED
        case httpcore.NetworkError() | OSError():
            return ErrorClass.CONNECTION_RESET
        case _:
            return ErrorClass.PROTOCOL_ERROR
