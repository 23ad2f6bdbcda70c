"""The only code that connects to URLs which users name: it resolves, judges, and connects to a
judged address, within one deadline.

1. A name is resolved for each connection, and every address is judged before any is used. So it
   cannot change between the check and the call; TLS still verifies the name.
2. It follows no redirect, uses no proxy setting, decompresses nothing, and reads at most a fixed
   number of bytes.
3. Its errors never contain an address.

Saving a URL calls `judge_url`. Calling one uses a `GuardedTransport`, which fits any httpx client.
Used by the callback, the API and the command line.
"""

import asyncio
import ssl
from collections.abc import Iterable
from functools import cache
from typing import Any

import httpcore
import httpx

from domain.retries import ErrorClass
from egress.policy import Address, Network, OutgoingUrl, UnsafeUrl, check_addresses, check_url
from egress.resolver import NameNotResolved, Resolver, resolve_name

RESOLVE_SECONDS = 10
# A refused look-up returns at a multiple of this, so that its duration reveals nothing about the
# network.
REFUSAL_STEP_SECONDS = 1.0
# Less than the deadline, so that one silent address leaves time for the next.
CONNECT_SECONDS = 10
EXCHANGE_SECONDS = 30
MAXIMUM_ANSWER_BYTES = 65_536

# Other headers are dropped: httpx would build a request from Location, store cookies, and
# decompress encodings. Shopify names the next page in Link.
_KEPT_HEADERS = (b"retry-after", b"content-type", b"cache-control", b"link")
_OWN_HEADERS = ((b"Accept-Encoding", b"identity"), (b"Connection", b"close"))


class ExchangeFailed(httpx.TransportError):
    """No complete response arrived. `error_class` may be shown to users; `log_reason` is for the
    log only.
    """

    def __init__(self, error_class: ErrorClass, log_reason: str) -> None:
        super().__init__(f"The request failed: {error_class}.")
        self.error_class = error_class
        self.log_reason = log_reason


class _NoConnection(Exception):
    """No judged address accepted the connection."""


class _AnswerTooLong(Exception):
    """The response body is longer than the limit."""


async def judge_url(
    text: str,
    *,
    allow: tuple[Network, ...],
    resolver: Resolver = resolve_name,
    timeout_seconds: float = RESOLVE_SECONDS,
    refusal_step_seconds: float = REFUSAL_STEP_SECONDS,
) -> str:
    """The canonical form of a URL that may be called now, for saving it. Each connection judges it
    again.

    A refusal after a look-up is delayed to a multiple of `refusal_step_seconds`; 0 disables the
    delay.

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
    """The parts of a URL of permitted shape; its addresses are not judged yet.

    Raises:
        UnsafeUrl: its shape is refused, or httpx parses it differently.
    """
    url = check_url(text, allow)
    try:
        # httpx decodes xn-- labels of the host, and raises for invalid ones.
        readable = httpx.URL(url.canonical).host
    except (httpx.InvalidURL, UnicodeError):
        readable = ""
    if not readable:
        raise UnsafeUrl("The URL's host is no host name.")
    return url


class GuardedTransport(httpx.AsyncBaseTransport):
    """An httpx transport that calls permitted addresses only. Each request uses one connection,
    closed after the response.

    One deadline covers everything from the look-up to the last byte; the client's own timeouts have
    no effect. A client must pass `trust_env=False`. Without an `ssl_context`, it uses the bundled
    authorities. With `keeps_body`, a body over the limit is a failure; without, it is not read
    beyond the limit, and only its first `excerpt_bytes` are kept.

    Raises (from a request): ExchangeFailed.
    """

    def __init__(
        self,
        *,
        allow: tuple[Network, ...],
        keeps_body: bool = True,
        excerpt_bytes: int = 0,
        timeout_seconds: float = EXCHANGE_SECONDS,
        max_body_bytes: int = MAXIMUM_ANSWER_BYTES,
        ssl_context: ssl.SSLContext | None = None,
        resolver: Resolver = resolve_name,
    ) -> None:
        self._allow = allow
        self._keeps_body = keeps_body
        self._excerpt_bytes = excerpt_bytes
        self._timeout_seconds = timeout_seconds
        self._max_body_bytes = max_body_bytes
        self._ssl_context = ssl_context or bundled_authorities()
        self._resolver = resolver

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response, read to its end or to the limit. Raises: ExchangeFailed."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._exchange(request)
        except _FAILURES as failure:
            # Without its cause, whose text may contain an address.
            raise failed(failure) from None

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        backend = _JudgingBackend(
            parse_permitted_url(str(request.url), self._allow), self._allow, self._resolver
        )
        pool = httpcore.AsyncConnectionPool(
            ssl_context=self._ssl_context, network_backend=backend, max_connections=1
        )
        try:
            response = await pool.handle_async_request(_core_request(request))
            try:
                body = await self._read(response)
            finally:
                await response.aclose()
        finally:
            await pool.aclose()
            await backend.aclose()
        headers = [
            (name, value) for name, value in response.headers if name.lower() in _KEPT_HEADERS
        ]
        return httpx.Response(response.status, headers=headers, content=body)

    async def _read(self, response: httpcore.Response) -> bytes:
        body, read_bytes = bytearray(), 0
        async for chunk in response.aiter_stream():
            read_bytes += len(chunk)
            if self._keeps_body:
                if read_bytes > self._max_body_bytes:
                    raise _AnswerTooLong
                body += chunk
                continue
            body += chunk[: max(self._excerpt_bytes - len(body), 0)]
            if read_bytes >= self._max_body_bytes:
                break
        return bytes(body)


@cache
def bundled_authorities() -> ssl.SSLContext:
    """The process's TLS context with the bundled authorities only. Creating it takes 40 ms."""
    return httpx.create_ssl_context(trust_env=False)


async def _resolve_and_judge(
    url: OutgoingUrl, allow: tuple[Network, ...], resolver: Resolver
) -> tuple[Address, ...]:
    addresses = (url.address,) if url.address is not None else await resolver(url.host, url.port)
    return check_addresses(url, addresses, allow)


def _core_request(request: httpx.Request) -> httpcore.Request:
    url = httpcore.URL(
        scheme=request.url.raw_scheme,
        host=request.url.raw_host,
        port=request.url.port,
        target=request.url.raw_path,
    )
    own = {name.lower() for name, _ in _OWN_HEADERS}
    headers = [(name, value) for name, value in request.headers.raw if name.lower() not in own]
    content: Any = request.stream  # httpx and httpcore declare the same stream type separately
    return httpcore.Request(request.method, url, headers=[*headers, *_OWN_HEADERS], content=content)


class _JudgingBackend(httpcore.AsyncNetworkBackend):
    """Connects for one URL only, to an address that was just judged."""

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
                stream = await self._network.connect_tcp(
                    str(address), port, CONNECT_SECONDS, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
            self._streams.append(stream)
            return stream
        raise _NoConnection

    async def aclose(self) -> None:
        """Close all streams. httpcore loses a connection whose TLS handshake is cancelled by the
        deadline.
        """
        for stream in self._streams:
            await stream.aclose()


# Without LocalProtocolError on purpose: a request that cannot be written is our bug.
_FAILURES = (
    OSError,  # TimeoutError, and an ssl.SSLError of a read after the handshake
    UnsafeUrl,
    NameNotResolved,
    _NoConnection,
    _AnswerTooLong,
    httpcore.NetworkError,
    httpcore.RemoteProtocolError,
)


def failed(failure: Exception) -> ExchangeFailed:
    """The failure for users and for the log; neither contains an address."""
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
            # A failed connection is _NoConnection, so a ConnectError comes from the TLS handshake.
            return ExchangeFailed(ErrorClass.TLS_FAILED, "tls_failed")
        case httpcore.NetworkError() | OSError():
            return ExchangeFailed(ErrorClass.CONNECTION_RESET, "connection_reset")
        case _AnswerTooLong():
            return ExchangeFailed(ErrorClass.PROTOCOL_ERROR, "answer_too_long")
        case _:
            return ExchangeFailed(ErrorClass.PROTOCOL_ERROR, "no_http_answer")
