"""One signed attempt of a repair callback: prepare, send, judge, record.

The workflow runs it again and again: the delay to the next attempt comes from `domain.retries` through `next_retry_delay`, the
number of an attempt from the attempts recorded, and the end of the series from our own count. It keeps no body, and follows what
the transport makes of the URL. Called from `workflows.receipt`; transport, draw and clock are given by `worker.main`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.callback_body import callback_body
from activities.following import end_series, ending_of, follow, try_again
from activities.messages import (
    CALLBACK_HEARTBEAT,
    REPAIR_OVER,
    Answer,
    SendCallback,
    Standing,
)
from activities.places import CallbackPlaces, NoPlace
from activities.recording import finished, recorded
from activities.transport import OutgoingRequest
from domain.errors import NotFound
from domain.ids import EventId, ReplayId
from domain.incidents import AttemptState, Repair
from domain.receipts import Receipt
from domain.retries import (
    ErrorClass,
    ExchangeOutcome,
    Rejected,
    Verdict,
    delay_before_attempt,
    judge_exchange,
)
from domain.signing import callback_headers
from store.database import Database
from store.projects import read_project, signing_secrets
from store.reading import read_repair
from store.repairs import SeriesOver, begin_attempt, record_attempt
from store.sealing import SealBroken, Sealer
from store.standing import read_standing
from store.statements import SessionStatements

HEARTBEAT_SECONDS = 2
# From its start: within the activity's start-to-close timeout, 30 s of which the sending may take.
RECORD_BEGINS_SECONDS = 33

Transport = Callable[[OutgoingRequest], Awaitable[ExchangeOutcome]]
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CallbackRules:
    """When attempts follow each other: see `domain.retries`."""

    schedule: tuple[int, ...]
    jitter: float


@dataclass(frozen=True, slots=True)
class Chance:
    """What an attempt takes from outside: a draw from 0 to 1, a nonce of 32 hex characters, and the host's clock."""

    draw: Callable[[], float]
    nonce: Callable[[], str]
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class PreparedAttempt:
    """An attempt that is recorded as started. `request` is None when it could not be written and signed."""

    event_id: EventId
    replay_id: ReplayId
    number: int
    request: OutgoingRequest | None


class CallbackActivities:
    """The activity that calls a project's repair endpoint."""

    def __init__(
        self,
        database: Database,
        *,
        sealer: Sealer,
        transport: Transport,
        rules: CallbackRules,
        chance: Chance,
        places: CallbackPlaces,
    ) -> None:
        self._database = database
        self._places = places
        self._sealer = sealer
        self._transport = transport
        self._rules = rules
        self._chance = chance

    @activity.defn(name="send_callback")
    async def send_callback(self, order: SendCallback) -> Answer:
        """Send the next attempt of the repair, and answer where the receipt stands once the endpoint took it.

        A second run finds what the first recorded: an attempt that only began is sent again under its number, which the
        receiver's idempotency per `replay_id` allows; one that ended is followed by the next, no sooner than the schedule
        has it; a series that ended ends the activity. One that finds no place leaves no trace in the store, and comes back.

        Raises:
            ApplicationError: `attempt_failed` with the delay to the next one; else, not to be retried, the series' end.
        """
        beating = asyncio.create_task(_keep_beating())
        attempt = asyncio.create_task(self._attempt(order))
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            # Settled while in flight: the attempt is only recorded. A stopping worker leaves it to the next one, unless it is
            # being recorded already.
            if activity.is_worker_shutdown():
                attempt.cancel()
            with suppress(ApplicationError, asyncio.CancelledError):
                await attempt
            raise
        finally:
            beating.cancel()

    async def _attempt(self, order: SendCallback) -> Answer:
        record_until = time.monotonic() + RECORD_BEGINS_SECONDS
        try:
            with await self._place(order):
                return await self._attempt_in_place(order, record_until)
        except NoPlace as full:
            try_again("as many callbacks as may be are under way", timedelta(seconds=full.seconds))

    async def _place(self, order: SendCallback) -> AbstractContextManager[None]:
        """The place of one callback, still to be entered; none is needed for what will not be sent."""
        try:
            async with self._database.reading() as session:
                standing = await read_standing(SessionStatements(session), EventId(order.event_id))
        except NotFound:
            return nullcontext()
        host = urlsplit(standing.repair_url or "").hostname
        return nullcontext() if host is None else self._places.taken(ReplayId(order.replay_id), standing.project_id, host)

    async def _attempt_in_place(self, order: SendCallback, record_until: float) -> Answer:
        began = time.monotonic()
        prepared = await finished(lambda: self._prepare(order))
        if isinstance(prepared, SeriesOver):
            end_series(REPAIR_OVER, f"the receipt stands at {prepared.position}")
        if time.monotonic() - began > CALLBACK_HEARTBEAT.total_seconds():
            # Nothing was sent yet, and by now another run may have begun the same attempt.
            try_again("the attempt took too long to begin", CALLBACK_HEARTBEAT)
        outcome = await self._send(prepared)
        verdict = self._judge(prepared, outcome)
        seconds_left = record_until - time.monotonic()
        standing = await recorded(lambda: self._record(prepared, outcome, verdict), seconds=seconds_left)
        log.info(
            "attempt_ended",
            event_id=prepared.event_id,
            replay_id=prepared.replay_id,
            number=prepared.number,
            status=outcome.status,
            error_class=outcome.error_class,
            reason=outcome.log_reason,
            duration_ms=outcome.duration_ms,
        )
        return follow(verdict, standing)

    async def _prepare(self, order: SendCallback) -> PreparedAttempt | SeriesOver:
        event_id, replay_id = EventId(order.event_id), ReplayId(order.replay_id)
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            found = await read_repair(session, event_id, replay_id)
            if found is None:
                end_series(REPAIR_OVER, f"the store has no repair {replay_id}")
            self._refuse_too_soon(found.repair, now)
            begun = await begin_attempt(SessionStatements(session), event_id, replay_id, now)
            if isinstance(begun, SeriesOver):
                # Returned, not raised: it may have ended the repair here, for want of a URL.
                return begun
            body = callback_body(found.receipt, found.incident, found.repair)
            request = await self._request(session, found.receipt, replay_id, begun.number, body, now)
            return PreparedAttempt(event_id, replay_id, begun.number, request)

    def _refuse_too_soon(self, repair: Repair, now: datetime) -> None:
        """After a crash or a lost engine nobody remembers the delay; the schedule, at its soonest, still holds.

        An attempt that began is not begun again while whoever began it may live: a worker that was frozen wakes to several runs.
        """
        last = repair.attempts[-1] if repair.attempts else None
        if last is not None and last.state is AttemptState.STARTED:
            remaining = min(last.at + CALLBACK_HEARTBEAT - now, CALLBACK_HEARTBEAT)
            if remaining > timedelta():
                try_again("another run of this attempt may be in flight", remaining)
            return
        before, following = (repair.requested_at, 1) if last is None else (last.at, last.number + 1)
        schedule = self._rules.schedule
        seconds = delay_before_attempt(min(following, len(schedule)), schedule=schedule, jitter=self._rules.jitter, draw=0)
        # Never longer than the schedule, should the clock have been set back.
        remaining = min(before + timedelta(seconds=seconds) - now, timedelta(seconds=seconds))
        if remaining > timedelta():
            try_again("too soon for the next attempt", remaining)

    async def _request(
        self, session: AsyncSession, receipt: Receipt, replay_id: ReplayId, number: int, body: bytes, now: datetime
    ) -> OutgoingRequest | None:
        project = await read_project(session, receipt.project_id)
        if project.repair_url is None:
            return None
        try:
            secrets = await signing_secrets(session, self._sealer, receipt.project_id, now)
        except SealBroken:
            # Perhaps this worker has another root secret than who sealed them: it counts, and may be put right in time.
            log.error("signing_secrets_unreadable", project_id=receipt.project_id, replay_id=replay_id)
            return None
        signed = callback_headers(
            secrets=secrets,
            replay_id=replay_id,
            attempt_number=number,
            timestamp=int(self._chance.now().timestamp()),
            nonce=self._chance.nonce(),
            body=body,
        )
        fixed = (("Content-Type", "application/json"), ("Request-Id", receipt.request_id))
        return OutgoingRequest(url=project.repair_url, headers=(*fixed, *signed), body=body)

    async def _send(self, prepared: PreparedAttempt) -> ExchangeOutcome:
        if prepared.request is None:
            return ExchangeOutcome(status=None, error_class=ErrorClass.PROTOCOL_ERROR, duration_ms=0)
        started = time.monotonic()
        try:
            return await self._transport(prepared.request)
        except Exception:
            # The edge of one attempt: what the transport has no class for is a bug, and leaves no attempt running for ever.
            log.exception("attempt_broken", event_id=prepared.event_id, replay_id=prepared.replay_id, number=prepared.number)
            duration_ms = round((time.monotonic() - started) * 1000)
            return ExchangeOutcome(status=None, error_class=ErrorClass.PROTOCOL_ERROR, duration_ms=duration_ms)

    def _judge(self, prepared: PreparedAttempt, outcome: ExchangeOutcome) -> Verdict:
        return judge_exchange(
            outcome,
            attempt_number=prepared.number,
            schedule=self._rules.schedule,
            jitter=self._rules.jitter,
            draw=self._chance.draw(),
        )

    async def _record(self, prepared: PreparedAttempt, outcome: ExchangeOutcome, verdict: Verdict) -> Standing:
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            await record_attempt(
                st,
                prepared.event_id,
                prepared.replay_id,
                prepared.number,
                await self._database.now(session),
                status=outcome.status,
                duration_ms=outcome.duration_ms,
                error_class=outcome.error_class,
                ending=ending_of(verdict),
                gone_url=prepared.request.url if prepared.request and verdict == Rejected(url_gone=True) else None,
            )
            stored = await read_standing(st, prepared.event_id)
            return Standing(
                position=stored.position,
                deadline_at=stored.deadline_at,
                incident_id=stored.incident_id,
                replay_id=stored.active_replay_id,
                result_deadline_at=stored.result_deadline_at,
            )


async def _keep_beating() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(HEARTBEAT_SECONDS)
