"""`POST /hooks/{source_id}`, which payment providers call, as a bare ASGI application.

The order of the checks: source, suspension, Content-Encoding, size, signature, rate, pause, event.
A provider disables an endpoint that keeps failing. So what is genuine and makes nothing (a paused
source, another mode, a type that nobody expects) is 200, and only what must come again is not:

- 404: no webhook source has this id, or it was removed.
- 402: the project is suspended. The provider retries for days, so nothing is lost.
- 400: the signature does not fit.
- 429, 503: the rate is above the limit, or nothing can be stored now.

A 200 means: on disk. Each delivery is the project's business, so it counts towards a limit of its
own and never towards that of receipts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter

import structlog
from starlette.types import Receive, Scope, Send

from api.auth.rate_limit import RateLimit
from api.hooks.body_budget import BodyBudget
from api.hooks.deliveries import (
    Delivery,
    ReadDelivery,
    advice_on,
    check_signature,
    headers_by_name,
    read_delivery,
)
from api.hooks.health import HookHealth
from api.hooks.known_sources import CalledSource, KnownSources
from api.http.metrics import Counts, HookOutcome
from api.http.problems import JSON_MEDIA_TYPE, Header, Problems, headers_of
from api.http.request_body import ClientGone, read_body
from api.http.request_headers import RequestHead, read_request_head
from api.http.security_headers import STRICT
from api.ingest.endpoint import Reply, new_request_id, problem_reply
from domain.errors import (
    BadSignature,
    Code,
    NotFound,
    PayloadTooLarge,
    Refusal,
    SubscriptionRequired,
    Unavailable,
    UnsupportedMediaType,
)
from domain.ids import SourceId
from domain.sources.events import NotAnEvent
from domain.sources.source import Source, SourceProblem
from store.ingest.hooks import HookDelivery

PREFIX = "/hooks/"
# Shopify's orders can have more than 1 MiB; Stripe's events have at most a few hundred KiB.
MAXIMUM_HOOK_BYTES = 2 * 1024 * 1024
BODY_SECONDS = 10.0
_RECEIVED = b'{"received":true}'

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HookParts:
    """What the endpoint works with. `store` returns once a delivery is on disk."""

    sources: KnownSources
    health: HookHealth
    limit: RateLimit
    store: Callable[[HookDelivery], Awaitable[None]]
    note_received: Callable[[SourceId], None]
    now: Callable[[], datetime]


class HookEndpoint:
    """The ASGI application of all hooks."""

    def __init__(
        self,
        parts: HookParts,
        *,
        problems: Problems,
        counts: Counts,
        always: tuple[Header, ...],
    ) -> None:
        self._parts, self._problems, self._counts = parts, problems, counts
        self._durations = counts.durations.labels("hook")
        self._always = (*always, *STRICT)
        self._bodies = BodyBudget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        request_id, head = new_request_id(), read_request_head(scope["headers"])
        try:
            outcome = await self._outcome(scope, head, receive)
            reply = _received()
            self._counts.hooks.labels(outcome.value).inc()
        except Refusal as refusal:
            body = self._problems.body_of(refusal, request_id=request_id)
            reply = problem_reply(refusal.code, headers_of(refusal), body, head)
        except ClientGone:
            return
        except Exception:
            # A process edge: the provider always gets a response, and the bug is always logged.
            logger.exception("hook failed", request_id=request_id)
            detail = "An internal error occurred. Send the delivery again."
            body = self._problems.body(Code.INTERNAL_ERROR, request_id=request_id, detail=detail)
            reply = problem_reply(Code.INTERNAL_ERROR, [], body, head)
        if reply.code is not None:
            self._counts.refused.labels("hook", reply.code.value).inc()
        headers = [*reply.headers, (b"request-id", request_id.encode()), *self._always]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
        self._durations.observe(perf_counter() - began)

    async def _outcome(self, scope: Scope, head: RequestHead, receive: Receive) -> HookOutcome:
        called = _receiving(await self._parts.sources.called(scope["path"].removeprefix(PREFIX)))
        _refuse_encoded(head)
        with self._bodies.reserved(called.source.id, _announced_bytes(head)):
            body = await _body(head, receive)
            delivery = Delivery(headers_by_name(scope["headers"]), body)
            self._check(called, delivery)
            self._parts.limit.take(called.source.project_id)
            source = called.source
            read = None if source.paused_at else self._read(source, delivery)
            if source.paused_at or (read is not None and not read.sightings):
                # Another process may have changed the source, and what makes nothing is lost.
                source = _receiving(await self._parts.sources.called_afresh(source.id)).source
                if source.paused_at is not None:
                    return HookOutcome.PAUSED
                read = self._read(source, delivery)
        return HookOutcome.UNREADABLE if read is None else await self._store(source, read)

    def _check(self, called: CalledSource, delivery: Delivery) -> None:
        """Refuse what the provider did not sign with the source's secret."""
        source = called.source
        if called.secret is None:
            detail = "No root secret of this installation opens the signing secret."
            self._parts.health.failed(source, SourceProblem.SECRET_UNREADABLE, detail)
            raise Unavailable(retry_after_seconds=60)
        if not called.secret:
            raise BadSignature("The source has no signing secret yet. Save it in the source.")
        check = check_signature(source, called.secret, delivery, self._parts.now())
        if not check:
            self._parts.health.bad_signature(source, advice_on(check, source))
            raise BadSignature(advice_on(check, source))

    def _read(self, source: Source, delivery: Delivery) -> ReadDelivery | None:
        """What the delivery tells. None: it is genuine, but no event that can be kept."""
        try:
            read = read_delivery(source, delivery)
        except NotAnEvent as error:
            logger.warning("delivery is no event", source_id=source.id, reason=str(error))
            self._parts.health.unreadable(source, str(error))
            return None
        self._parts.health.good(source)
        return read

    async def _store(self, source: Source, read: ReadDelivery) -> HookOutcome:
        if read.sightings:
            await self._parts.store(HookDelivery(source.id, read.sightings))
            return HookOutcome.STORED
        if read.is_received:
            self._parts.note_received(source.id)
        return HookOutcome.IGNORED


def _receiving(called: CalledSource | None) -> CalledSource:
    """The source that was called, if it exists and its project is not suspended."""
    if called is None:
        raise NotFound("There is no source of webhooks at this address.")
    if called.is_suspended:
        raise SubscriptionRequired
    return called


def _received() -> Reply:
    length = (b"content-length", str(len(_RECEIVED)).encode())
    return Reply(200, [(b"content-type", JSON_MEDIA_TYPE), length], _RECEIVED, None)


def _refuse_encoded(head: RequestHead) -> None:
    """Providers sign what they send and compress nothing. A small gzip may be any size inside."""
    coding = (head.content_encoding or b"identity").strip().lower()
    if coding not in (b"identity", b""):
        raise UnsupportedMediaType("A delivery must not be compressed: send no Content-Encoding.")


def _announced_bytes(head: RequestHead) -> int:
    """The bytes that the body may have, by its announcement."""
    length = head.content_length
    if length is None or not length.isdigit():
        return MAXIMUM_HOOK_BYTES
    return min(int(length[:20]), MAXIMUM_HOOK_BYTES)


async def _body(head: RequestHead, receive: Receive) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await read_body(head, receive, most=MAXIMUM_HOOK_BYTES)
    except TimeoutError:
        raise Unavailable("The body did not come within 10 seconds.") from None
    except PayloadTooLarge:
        raise PayloadTooLarge("A delivery to a hook has at most 2 MiB.") from None
