"""Sends one POST of a repair callback through the egress guard, and returns its outcome.

A failure is an outcome too, never raised. No body is kept. `domain.retries` judges the outcome.
Called by `activities.callback.send`. Imports nothing from the other activities.
"""

import math
import re
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from domain.retries import ErrorClass, ExchangeOutcome
from egress.policy import Network, UnsafeUrl
from egress.resolver import Resolver, resolve_name
from egress.transport import (
    EXCHANGE_SECONDS,
    MAXIMUM_ANSWER_BYTES,
    REFUSAL_STEP_SECONDS,
    ExchangeFailed,
    GuardedTransport,
    failed,
    parse_permitted_url,
)

# The HTTP date without a zone, which means GMT (RFC 9110, 5.6.7).
_ASCTIME = re.compile(
    r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}"
)
_FIXED_HEADERS = (("User-Agent", "Makegood"), ("Accept", "*/*"))


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """One POST of a repair callback; `headers` carry its content type and signatures."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    # Of the project: which addresses are open depends on it.
    livemode: bool = True


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
            response = await client.post(
                url, headers=[*_FIXED_HEADERS, *request.headers], content=request.body
            )
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
    )


def read_retry_after(text: str | None, *, now: datetime) -> int | None:
    """The whole seconds of a Retry-After header: a number or an HTTP date. None for neither."""
    if text is None:
        return None
    digits = text.strip()
    if re.fullmatch(r"[0-9]+", digits):
        return int(digits) if len(digits) <= 9 else 10**9
    try:
        asked_at = parsedate_to_datetime(text)
        if _ASCTIME.fullmatch(text):
            asked_at = asked_at.replace(tzinfo=UTC)
        # Another date without a zone is no HTTP date: the subtraction raises a TypeError.
        return max(0, math.ceil((asked_at - now).total_seconds()))
    except (ValueError, OverflowError, TypeError):
        return None


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
