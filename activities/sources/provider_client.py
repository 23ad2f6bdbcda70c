"""Asks a provider for pages: at its pace, again after failures that pass, and no longer than asked.

A provider that throttles is asked again after `Retry-After`. A wait that is too long for an
activity is the workflow's: see `ListingStopped`.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from activities.sources.page import MOST_EVENTS, ListingStopped
from activities.sources.shopify_pages import shopify_query
from activities.sources.stripe_pages import stripe_query
from domain.ids import SourceId
from domain.sources.source import SourceKind, SourceProblem
from egress.provider_api import ProviderAnswer, ProviderUrls, credentials
from egress.transport import ExchangeFailed
from store.sources.health import PASSING
from store.sources.listings import Listing


class GetPage(Protocol):
    """Makes one request, as `activities.sources.transport.get_page`. Raises: ExchangeFailed."""

    async def __call__(
        self, url: str, headers: Mapping[str, str], *, livemode: bool
    ) -> ProviderAnswer: ...


LONGEST_WAIT_SECONDS = 3_600
# Without `Retry-After`, when a provider throttles for longer than an activity waits.
THROTTLED_WAIT_SECONDS = 60
MOST_REMEMBERED = 10_000
REFUSED = frozenset({401, 403})
BAD_REQUEST, REQUEST_TIMEOUT, THROTTLED = 400, 408, 429
_TOO_LONG = "answer_too_long"
# After an answer that is too long, so many events are asked for.
_LIMITS = {MOST_EVENTS: 10, 10: 1}
_CODE = re.compile(r"[a-z_]{1,64}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ListingPace:
    """How fast a source is listed.

    `request_seconds`: the least time between two requests of a Stripe source, 5 a second. Shopify's
    bucket leaks 2 a second. `retry_seconds`: the waits after failures. `patience_seconds`: the
    longest sum of those waits for one page; the requests themselves take longer. `part_seconds`:
    how long an activity goes on. `pause_seconds`: between two transactions of one page. A
    transaction that waits for SQLite's write lock tries again at least that often.
    """

    request_seconds: float = 0.2
    shopify_request_seconds: float = 0.5
    retry_seconds: tuple[float, ...] = (1.0, 2.0, 4.0)
    patience_seconds: float = 20.0
    part_seconds: float = 60.0
    pause_seconds: float = 0.02


class CursorUnknown(Exception):
    """The provider refuses the cursor: its event is gone, or was of another account."""


class ProviderClient:
    """Asks providers for pages. One source is asked for one page at a time."""

    def __init__(self, get: GetPage, *, urls: ProviderUrls, pace: ListingPace) -> None:
        self._get = get
        self._urls = urls
        self._pace = pace
        self._asked_at: dict[SourceId, float] = {}  # by the monotonic clock

    async def page(self, listing: Listing, secret: str) -> ProviderAnswer:
        """The answer with the listing's next page; its status is 200.

        Raises:
            ListingStopped: there is none now.
            CursorUnknown.
        """
        waited = 0.0
        for delay in (*self._pace.retry_seconds, None):
            failed = await self._try(listing, secret)
            if isinstance(failed, ProviderAnswer):
                return failed
            wait = max(delay or 0.0, float(failed.wait_seconds))
            is_last = delay is None or waited + wait > self._pace.patience_seconds
            if is_last or failed.problem not in PASSING:
                raise _with_wait(failed)
            await asyncio.sleep(wait)
            waited += wait
        raise AssertionError("the last delay is None")

    async def _try(self, listing: Listing, secret: str) -> ProviderAnswer | ListingStopped:
        """The answer with the page, or why there is none. Raises: CursorUnknown."""
        limit = MOST_EVENTS
        while True:
            try:
                answer = await self._ask(listing, secret, limit)
            except ExchangeFailed as failure:
                log.info(
                    "listing_request_failed",
                    source_id=listing.source.id,
                    reason=failure.log_reason,
                )
                if failure.log_reason != _TOO_LONG:
                    detail = f"No answer came from the provider ({failure.error_class})."
                    return ListingStopped(SourceProblem.UNREACHABLE, detail)
                if limit not in _LIMITS:
                    detail = "The provider's answer is too long."
                    return ListingStopped(SourceProblem.BAD_ANSWER, detail)
                limit = _LIMITS[limit]
            else:
                return _judge(answer, listing) or answer

    async def _ask(self, listing: Listing, secret: str, limit: int) -> ProviderAnswer:
        source = listing.source
        is_stripe = source.kind is SourceKind.STRIPE_API
        query = (stripe_query if is_stripe else shopify_query)(source, listing.span, limit=limit)
        await self._wait_for_turn(listing.source.id, is_stripe=is_stripe)
        url = f"{self._urls.of_events(source)}?{query}"
        livemode = any(expects.livemode for expects in source.expects)
        return await self._get(url, credentials(source, secret), livemode=livemode)

    async def _wait_for_turn(self, source_id: SourceId, *, is_stripe: bool) -> None:
        pace = self._pace
        spacing = pace.request_seconds if is_stripe else pace.shopify_request_seconds
        if len(self._asked_at) >= MOST_REMEMBERED:
            self._asked_at.clear()
        now = time.monotonic()
        turn = max(now, self._asked_at.get(source_id, 0.0) + spacing)
        self._asked_at[source_id] = turn
        await asyncio.sleep(turn - now)


def _judge(answer: ProviderAnswer, listing: Listing) -> ListingStopped | None:
    """Why the answer has no page; None if it has one. Raises: CursorUnknown."""
    status = answer.status
    if status == 200:
        return None
    if status == BAD_REQUEST and listing.span.cursor is not None:
        raise CursorUnknown
    detail = f"The provider answered {status}{_code_in(answer.json)}."
    if status in REFUSED:
        detail += " The key is revoked, or may not read this."
        return ListingStopped(SourceProblem.KEY_REFUSED, detail)
    later = min(answer.retry_after_seconds or 0, LONGEST_WAIT_SECONDS)
    if status == THROTTLED:
        return ListingStopped(SourceProblem.THROTTLED, detail, wait_seconds=later)
    if status >= 500 or status == REQUEST_TIMEOUT:
        return ListingStopped(SourceProblem.UNREACHABLE, detail, wait_seconds=later)
    return ListingStopped(SourceProblem.BAD_ANSWER, detail)


def _with_wait(stopped: ListingStopped) -> ListingStopped:
    """A listing that is throttled goes on soon, also where the provider does not say when."""
    if stopped.problem is not SourceProblem.THROTTLED or stopped.wait_seconds:
        return stopped
    return ListingStopped(stopped.problem, stopped.detail, wait_seconds=THROTTLED_WAIT_SECONDS)


def _code_in(json: object) -> str:
    """Stripe's code of an error. Nothing else of an answer is shown: it may quote the key."""
    error = json.get("error") if isinstance(json, dict) else None
    if not isinstance(error, dict):
        return ""
    codes = [code for code in (error.get("code"), error.get("type")) if isinstance(code, str)]
    return next((f" ({code})" for code in codes if _CODE.fullmatch(code)), "")
