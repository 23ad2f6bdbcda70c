"""One signed attempt of a repair callback: prepare, send, judge, record.

The workflow runs it again and again: the delay to the next attempt comes from `domain.retries` through `next_retry_delay`, the
number of an attempt from the attempts recorded, and the end of the series from our own count. It keeps no body, and follows what
the transport makes of the URL. Called from `workflows.receipt`; transport, draw and clock are given by `worker.main`.

Temporal hands an activity over again whenever it lost sight of the worker, though the attempt is in flight. So an attempt has one
holder: a process sends it in one task, which later runs of the activity join, and another process waits until the holder is gone.
Temporal's worker may end and be built again while the process lives: the task goes on, and only `end` cancels it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import structlog
from temporalio import activity

from activities.callback.attempts import AttemptRecords, PreparedAttempt
from activities.callback.outcome import end_series, follow, try_again
from activities.callback.transport import OutgoingRequest
from activities.messages import CALLBACK_HEARTBEAT, REPAIR_OVER, Answer, SendCallback
from activities.slots import CallbackSlots, SlotsExhausted
from activities.storing import finished, recorded
from domain.errors import NotFound, Unavailable
from domain.ids import EventId, ReplayId
from domain.retries import ErrorClass, ExchangeOutcome, Verdict, judge_exchange
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.attempts import AttemptHeld, SeriesOver
from store.receipts.state import load_snapshot

HEARTBEAT_SECONDS = 2
# The outcome of a request is known to this process alone: it keeps it while the store is away.
# `store.receipts.attempts.LONGEST_ATTEMPT_HOLD` is longer.
RECORD_SECONDS = 600
# The activity's start-to-close timeout: by then another run has taken the place of one that was cancelled.
RUN_SECONDS = 35
# Another process's attempt is looked at again after so long.
HELD_AGAIN = timedelta(seconds=2)

Transport = Callable[[OutgoingRequest], Awaitable[ExchangeOutcome]]
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CallbackRules:
    """When attempts follow each other: see `domain.retries`."""

    schedule: tuple[int, ...]
    jitter: float


@dataclass(frozen=True, slots=True)
class RuntimeSources:
    """What an attempt takes from outside: a draw from 0 to 1, and a nonce of 32 hex characters."""

    draw: Callable[[], float]
    nonce: Callable[[], str]


class CallbackActivities:
    """The activity that calls a project's repair endpoint. `holder` names this process as its heartbeat does.

    One for the whole process, so that a new Temporal worker joins the attempts that the last one left in flight.
    """

    def __init__(
        self,
        database: Database,
        *,
        sealer: Sealer,
        transport: Transport,
        rules: CallbackRules,
        chance: RuntimeSources,
        places: CallbackSlots,
        holder: str,
    ) -> None:
        self._database = database
        self._records = AttemptRecords(
            database, sealer=sealer, schedule=rules.schedule, jitter=rules.jitter, nonce=chance.nonce, holder=holder
        )
        self._running: dict[SendCallback, asyncio.Task[Answer]] = {}
        self._places = places
        self._transport = transport
        self._rules = rules
        self._chance = chance

    @activity.defn(name="send_callback")
    async def send_callback(self, order: SendCallback) -> Answer:
        """Send the next attempt of the repair, and answer where the receipt stands once the endpoint took it.

        A second run joins the attempt that this process has in flight, and waits for one that another process holds. Else it
        finds what the first recorded: an attempt whose holder is gone is sent again under its number, which the receiver's
        idempotency per `replay_id` allows; one that ended is followed by the next, no sooner than the schedule has it; a series
        that ended ends the activity. One that finds no place leaves no trace in the store, and comes back.

        Raises:
            ApplicationError: `attempt_failed` with the delay to the next one; else, not to be retried, the series' end.
        """
        beating = asyncio.create_task(_keep_beating())
        attempt = self._begun_or_running(order)
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            # Settled while in flight: the attempt is only recorded. The attempt outlives Temporal's worker.
            if not activity.is_worker_shutdown():
                await asyncio.wait([attempt], timeout=RUN_SECONDS)
            raise
        finally:
            beating.cancel()

    def has_attempts(self) -> bool:
        """Whether an attempt is in flight or being recorded. Safe to call from another thread."""
        return bool(self._running)

    async def end(self, *, grace_seconds: float = 0) -> None:
        """The process ends: give attempts in flight so long, then cancel them; what is being recorded is recorded first.

        A cancelled attempt stays `started`, and another process sends it again.
        """
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=grace_seconds)
        while attempts := list(self._running.values()):
            for attempt in attempts:
                attempt.cancel()
            await asyncio.wait(attempts)
            await asyncio.sleep(0)  # their callbacks, which remove them

    def _begun_or_running(self, order: SendCallback) -> asyncio.Task[Answer]:
        """The attempt of this repair that this process has in flight, else a new one. It outlives the run that began it."""
        running = self._running.get(order)
        if running is not None:
            log.info("attempt_joined", event_id=order.event_id, replay_id=order.replay_id)
            return running
        attempt = self._running[order] = asyncio.create_task(self._attempt(order))
        attempt.add_done_callback(lambda _: self._running.pop(order))
        # Retrieved, since the run that waits for it may be gone.
        attempt.add_done_callback(lambda done: done.cancelled() or done.exception())
        return attempt

    async def _attempt(self, order: SendCallback) -> Answer:
        try:
            with await self._place(order):
                return await self._attempt_in_place(order)
        except SlotsExhausted as full:
            try_again("as many callbacks as may be are under way", timedelta(seconds=full.seconds))

    async def _place(self, order: SendCallback) -> AbstractContextManager[None]:
        """The place of one callback, still to be entered; none is needed for what will not be sent."""
        try:
            async with self._database.reading() as session:
                standing = await load_snapshot(SessionStatements(session), EventId(order.event_id))
        except NotFound:
            return nullcontext()
        host = urlsplit(standing.repair_url or "").hostname
        return nullcontext() if host is None else self._places.taken(ReplayId(order.replay_id), standing.project_id, host)

    async def _attempt_in_place(self, order: SendCallback) -> Answer:
        began = time.monotonic()
        prepared = await finished(lambda: self._records.prepare(order))
        match prepared:
            case SeriesOver(position=position):
                end_series(REPAIR_OVER, f"the receipt stands at {position}")
            case AttemptHeld():
                try_again("another worker holds this attempt", HELD_AGAIN)
            case PreparedAttempt():
                pass
        if time.monotonic() - began > CALLBACK_HEARTBEAT.total_seconds():
            # Nothing was sent yet, and by now another process may have begun the same attempt.
            with suppress(Unavailable):
                await recorded(lambda: self._records.release(prepared), seconds=RECORD_SECONDS)
            try_again("the attempt took too long to begin", CALLBACK_HEARTBEAT)
        outcome = await self._send(prepared)
        verdict = self._judge(prepared, outcome)
        standing = await recorded(lambda: self._records.record(prepared, outcome, verdict), seconds=RECORD_SECONDS)
        log.info(
            "attempt_ended",
            event_id=prepared.event_id,
            replay_id=prepared.replay_id,
            number=prepared.number,
            status=outcome.status,
            error_class=outcome.error_class,
            reason=outcome.log_reason,
            duration_ms=outcome.duration_ms,
            is_held=standing is not None,
        )
        if standing is None:
            try_again("another worker took this attempt over", HELD_AGAIN)
        return follow(verdict, standing)

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


async def _keep_beating() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(HEARTBEAT_SECONDS)
