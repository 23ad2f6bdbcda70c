"""Sends one POST of a repair callback through the egress guard, and returns its outcome.

A failure is an outcome too, never raised. Only the beginning of an answer's body is kept.
`domain.retries` judges the outcome. Called by `activities.callback.send`. Imports nothing from the
other activities.
"""

import math
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from domain.retries import ErrorClass, ExchangeOutcome
from domain.values.text import readable
from egress.policy import Network, UnsafeUrl
from egress.resolver import Resolver, resolve_name
from egress.retry_after import read_retry_after
from egress.transport import (
    EXCHANGE_SECONDS,
    MAXIMUM_ANSWER_BYTES,
    REFUSAL_STEP_SECONDS,
    ExchangeFailed,
    GuardedTransport,
    failed,
    parse_permitted_url,
)

_FIXED_HEADERS = (("User-Agent", "Makegood"), ("Accept", "*/*"))
EXCERPT_CHARACTERS = 500
# A character has at most four bytes in UTF-8.
_EXCERPT_BYTES = 4 * EXCERPT_CHARACTERS


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """One POST of a repair callback; `headers` carry its content type and signatures."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    # Of the project: which addresses are open depends on it.
    livemode: bool = True

    @property
    def all_headers(self) -> tuple[tuple[str, str], ...]:
        """The headers as they are sent. The HTTP library adds those of the connection."""
        return (*_FIXED_HEADERS, *self.headers)


async def exchange(
    request: OutgoingRequest,
    *,
    allow: tuple[Network, ...],
    allow_test: tuple[Network, ...] = (),
    timeout_seconds: float = EXCHANGE_SECONDS,
    max_body_bytes: int = MAXIMUM_ANSWER_BYTES,
    ssl_context: ssl.SSLContext | None = None,
    resolver: Resolver = resolve_name,
) -> ExchangeOutcome:
    """The endpoint's response, or the class of the failure. A network failure is never raised.

    `allow_test` are further ranges for test projects.
    `timeout_seconds` bounds everything from the name's resolution to the last byte read. A response
    that is incomplete or does not end in time is a failure, whatever its status. A response longer
    than `max_body_bytes` counts; the rest of it is not read. Without an `ssl_context`, one is made
    with the bundled certificate authorities.
    """
    permitted = allow if request.livemode else (*allow, *allow_test)
    transport = GuardedTransport(
        allow=permitted,
        keeps_body=False,
        excerpt_bytes=_EXCERPT_BYTES,
        timeout_seconds=timeout_seconds,
        max_body_bytes=max_body_bytes,
        ssl_context=ssl_context,
        resolver=resolver,
    )
    started = time.monotonic()
    try:
        # Parsed by the egress guard before httpx parses it.
        url = parse_permitted_url(request.url, permitted).canonical
        async with httpx.AsyncClient(
            transport=transport, trust_env=False, follow_redirects=False
        ) as client:
            response = await client.post(url, headers=[*request.all_headers], content=request.body)
    except UnsafeUrl as refusal:
        return _failed(failed(refusal), started)
    except ExchangeFailed as failure:
        return _failed(failure, started)
    return ExchangeOutcome(
        status=response.status_code,
        error_class=None,
        duration_ms=round((time.monotonic() - started) * 1000),
        retry_after_seconds=read_retry_after(
            response.headers.get("retry-after"), now=datetime.now(UTC)
        ),
        answer_excerpt=_excerpt(response.content),
    )


def _excerpt(body: bytes) -> str | None:
    """The beginning of the body as text without control characters. None if it is empty."""
    text = readable(body[:_EXCERPT_BYTES].decode("utf-8", errors="replace")).strip()
    return text[:EXCERPT_CHARACTERS] or None


def _failed(failure: ExchangeFailed, started: float) -> ExchangeOutcome:
    seconds = time.monotonic() - started
    if failure.error_class is ErrorClass.NO_PERMITTED_ADDRESS:
        # The exact duration of a look-up would reveal whether a name exists in this network.
        seconds = math.ceil(seconds / REFUSAL_STEP_SECONDS) * REFUSAL_STEP_SECONDS
    return ExchangeOutcome(
        status=None,
        error_class=failure.error_class,
        duration_ms=round(seconds * 1000),
        log_reason=failure.log_reason,
    )
