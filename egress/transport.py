"""The one place that connects to what a user names: resolve, judge, connect to a judged address, within one deadline.

A name is resolved for each connection and every address judged before any is used, so that it cannot change between the check
and the call; TLS still verifies the name. Follows no redirect, obeys no proxy setting, inflates nothing, reads no more than a
cap, and never says to whom it would have connected. Saving a URL asks `judge_url`; calling one goes through a `GuardedTransport`,
which fits any httpx client. Used by the callback, by the API and by the command line.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import httpcore
import httpx

from domain.retries import ErrorClass
from egress.policy import Address, Network, OutgoingUrl, UnsafeUrl, check_addresses, check_url

RESOLVE_SECONDS = 10
# A refused look-up is answered at a whole multiple of this, so that the time it took tells nothing about the network.
REFUSAL_STEP_SECONDS = 1.0
# A share of the deadline, so that one silent address leaves time for the next.
CONNECT_SECONDS = 10
EXCHANGE_SECONDS = 30
MAXIMUM_ANSWER_BYTES = 65_536

Resolver = Callable[[str, int], Awaitable[tuple[Address, ...]]]

# httpx would build the next request from a Location even when it does not follow it, keep cookies, and inflate an encoding.
_KEPT_HEADERS = (b"retry-after", b"content-type", b"cache-control")
_OWN_HEADERS = ((b"Accept-Encoding", b"identity"), (b"Connection", b"close"))


class NameNotResolved(Exception):
    """The name has no address, or its name server did not answer."""


class ExchangeFailed(httpx.TransportError):
    """No whole answer came. `error_class` may be told to whoever named the URL; `log_reason` is for this installation's log."""

    def __init__(self, error_class: ErrorClass, log_reason: str) -> None:
        super().__init__(f"The request failed: {error_class}.")
        self.error_class = error_class
        self.log_reason = log_reason


class _NoConnection(Exception):
    """No judged address took the connection."""


class _AnswerTooLong(Exception):
    """The answer's body is longer than what may be kept of it."""


async def resolve_name(host: str, port: int) -> tuple[Address, ...]:
    """Every address that the system's resolver knows for the name.

    On a thread of its own: the loop's few threads would be held by the names of a silent name server, and everybody else's wait.

    Raises:
        NameNotResolved: it knows none.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[Address, ...]] = loop.create_future()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            told: tuple[Address, ...] = tuple(dict.fromkeys(ip_address(str(entry[4][0])) for entry in found))
        except (OSError, ValueError):  # a UnicodeError is a ValueError, and so is an address with a zone
            told = ()
        # The loop may have ended meanwhile; nobody waits then.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: None if answer.done() else answer.set_result(told))

    threading.Thread(target=look_up, name="name-look-up", daemon=True).start()
    addresses = await answer
    if not addresses:
        raise NameNotResolved
    return addresses


async def judge_url(
    text: str,
    *,
    allow: tuple[Network, ...],
    resolver: Resolver = resolve_name,
    timeout_seconds: float = RESOLVE_SECONDS,
    refusal_step_seconds: float = REFUSAL_STEP_SECONDS,
) -> str:
    """The URL as it is to be saved, in its canonical form, when it may be called now; each connection judges it again.

    What is refused after a look-up, for whatever reason, is refused at a multiple of `refusal_step_seconds`; 0 is at once.

    Raises:
        UnsafeUrl: its shape or an address of its name is refused, or the name has none.
    """
    url = parse_permitted_url(text, allow)
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(timeout_seconds):
            await _resolve_and_judge(url, allow, resolver)
    except (NameNotResolved, TimeoutError):
        refusal = UnsafeUrl("The URL's host has no address.")
    except UnsafeUrl as error:
        refusal = error
    else:
        return url.canonical
    if refusal_step_seconds and url.address is None:
        await asyncio.sleep(-(loop.time() - started) % refusal_step_seconds)
    raise refusal


def parse_permitted_url(text: str, allow: tuple[Network, ...]) -> OutgoingUrl:
    """The parts of a URL that may be called, should its name lead to where it may.

    Raises:
        UnsafeUrl: its shape is refused, or httpx would read it in another way.
    """
    url = check_url(text, allow)
    try:
        # httpx decodes an xn-- label wherever it looks at the host, and raises when it cannot.
        readable = httpx.URL(url.canonical).host
    except (httpx.InvalidURL, UnicodeError):
        readable = ""
    if not readable:
        raise UnsafeUrl("The URL's host is no host name.")
    return url


class GuardedTransport(httpx.AsyncBaseTransport):
    """An httpx transport that calls only what may be called; each request is one connection, closed after the answer.

    Its one deadline bounds everything from the look-up of the name to the last byte; the client's own timeouts count for nothing.
    A client over it must be told `trust_env=False`. Without an `ssl_context`, one is made with the bundled authorities.
    With `keeps_body`, a body over the cap is a failure; without, nothing is kept and the rest is left unread.

    Raises (from a request): ExchangeFailed.
    """

    def __init__(
        self,
        *,
        allow: tuple[Network, ...],
        keeps_body: bool = True,
        timeout_seconds: float = EXCHANGE_SECONDS,
        max_body_bytes: int = MAXIMUM_ANSWER_BYTES,
        ssl_context: ssl.SSLContext | None = None,
        resolver: Resolver = resolve_name,
    ) -> None:
        self._allow = allow
        self._keeps_body = keeps_body
        self._timeout_seconds = timeout_seconds
        self._max_body_bytes = max_body_bytes
        self._ssl_context = ssl_context or bundled_authorities()
        self._resolver = resolver

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, read to its end or to the cap. Raises: ExchangeFailed."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._exchange(request)
        except _FAILURES as failure:
            # Without what caused it: its text may name an address.
            raise failed(failure) from None

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        backend = _JudgingBackend(parse_permitted_url(str(request.url), self._allow), self._allow, self._resolver)
        pool = httpcore.AsyncConnectionPool(ssl_context=self._ssl_context, network_backend=backend, max_connections=1)
        try:
            response = await pool.handle_async_request(_core_request(request))
            try:
                body = await self._read(response)
            finally:
                await response.aclose()
        finally:
            await pool.aclose()
            await backend.aclose()
        headers = [(name, value) for name, value in response.headers if name.lower() in _KEPT_HEADERS]
        return httpx.Response(response.status, headers=headers, content=body)

    async def _read(self, response: httpcore.Response) -> bytes:
        body, read_bytes = bytearray(), 0
        async for chunk in response.aiter_stream():
            read_bytes += len(chunk)
            if self._keeps_body:
                if read_bytes > self._max_body_bytes:
                    raise _AnswerTooLong
                body += chunk
            elif read_bytes >= self._max_body_bytes:
                break
        return bytes(body)


def bundled_authorities() -> ssl.SSLContext:
    """What verifies certificates by the bundled authorities, whatever the environment says. Takes milliseconds: make it once."""
    return httpx.create_ssl_context(trust_env=False)


async def _resolve_and_judge(url: OutgoingUrl, allow: tuple[Network, ...], resolver: Resolver) -> tuple[Address, ...]:
    addresses = (url.address,) if url.address is not None else await resolver(url.host, url.port)
    return check_addresses(url, addresses, allow)


def _core_request(request: httpx.Request) -> httpcore.Request:
    url = httpcore.URL(
        scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path
    )
    own = {name.lower() for name, _ in _OWN_HEADERS}
    headers = [(name, value) for name, value in request.headers.raw if name.lower() not in own]
    content: Any = request.stream  # httpx and httpcore declare the same stream apart
    return httpcore.Request(request.method, url, headers=[*headers, *_OWN_HEADERS], content=content)


class _JudgingBackend(httpcore.AsyncNetworkBackend):
    """Connects for one URL alone, to an address that was judged a moment before."""

    def __init__(self, url: OutgoingUrl, allow: tuple[Network, ...], resolver: Resolver) -> None:
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
            raise UnsafeUrl("The URL is read in two ways.")
        for address in await _resolve_and_judge(self._url, self._allow, self._resolver):
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


# LocalProtocolError is absent on purpose: a request that cannot be written is a bug of ours.
_FAILURES = (
    OSError,  # TimeoutError, and an ssl.SSLError that a read brings up after the handshake
    UnsafeUrl,
    NameNotResolved,
    _NoConnection,
    _AnswerTooLong,
    httpcore.NetworkError,
    httpcore.RemoteProtocolError,
)


def failed(failure: Exception) -> ExchangeFailed:
    """The failure as it may be told, and as it is logged; neither names an address."""
    match failure:
        case TimeoutError():
            return ExchangeFailed(ErrorClass.TIMEOUT, "deadline_passed")
        case UnsafeUrl():
            return ExchangeFailed(ErrorClass.NO_PERMITTED_ADDRESS, "refused_address")
        case NameNotResolved():
            return ExchangeFailed(ErrorClass.NO_PERMITTED_ADDRESS, "name_not_resolved")
        case _NoConnection():
            return ExchangeFailed(ErrorClass.CONNECT_FAILED, "no_address_answered")
        case httpcore.ConnectError() | ssl.SSLError():
            # Our own failure to connect is _NoConnection, so a ConnectError comes from the TLS handshake.
            return ExchangeFailed(ErrorClass.TLS_FAILED, "tls_failed")
        case httpcore.NetworkError() | OSError():
            return ExchangeFailed(ErrorClass.CONNECTION_RESET, "connection_reset")
        case _AnswerTooLong():
            return ExchangeFailed(ErrorClass.PROTOCOL_ERROR, "answer_too_long")
        case _:
            return ExchangeFailed(ErrorClass.PROTOCOL_ERROR, "no_http_answer")
