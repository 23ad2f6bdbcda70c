"""Sends one signed attempt of a repair callback: prepare, send, judge, record.

Temporal retries the activity until the series ends. `domain.retries` gives the delay to the next
attempt (`next_retry_delay`). The stored attempts give the attempt's number and the end of the
series. Built by `worker.main`, called from `workflows.receipt`.

Temporal starts an activity again when it loses contact with the worker, even if the attempt is in
flight. An attempt therefore has one holder:
1. The holding process sends the attempt in one task. Later runs of the activity in that process
   join the task.
2. Another process waits until the holder is gone.
3. Temporal's worker may stop and be built again while the process lives. The task continues, and
   only `end` cancels it.
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
from activities.callback.outcome import end_series, retry_after, to_activity_result
from activities.callback.transport import OutgoingRequest
from activities.messages import CALLBACK_HEARTBEAT, REPAIR_OVER, LifecycleResult, SendCallback
from activities.slots import CallbackSlots, SlotsExhausted
from activities.storing import retry_until_stored, run_uncancelled
from domain.errors import NotFound, Unavailable
from domain.ids import EventId, ReplayId
from domain.retries import ErrorClass, ExchangeOutcome, Verdict, judge_exchange
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.attempts import AttemptHeld, SeriesOver
from store.receipts.state import load_snapshot

HEARTBEAT_SECONDS = 2
# Only this process knows a request's outcome, so it retries the record for so long while the store
# is unavailable. `store.receipts.attempts.LONGEST_ATTEMPT_HOLD` is longer.
RECORD_SECONDS = 600
# The activity's start-to-close timeout: by then another run has replaced a cancelled one.
RUN_SECONDS = 35
# Delay before checking an attempt of another process again.
HELD_RETRY = timedelta(seconds=2)

Transport = Callable[[OutgoingRequest], Awaitable[ExchangeOutcome]]
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CallbackRules:
    """The delays between attempts: see `domain.retries`."""

    schedule: tuple[int, ...]
    jitter: float


@dataclass(frozen=True, slots=True)
class RuntimeSources:
    """Random inputs of an attempt: a draw from 0 to 1, and a nonce of 32 hex characters."""

    draw: Callable[[], float]
    nonce: Callable[[], str]


class CallbackActivities:
    """The activity that calls a project's repair endpoint.

    `holder` is the name of this process in its heartbeat. One instance serves the whole process, so
    that a new Temporal worker joins the attempts that the previous one left in flight.
    """

    def __init__(
        self,
        database: Database,
        *,
        sealer: Sealer,
        transport: Transport,
        rules: CallbackRules,
        sources: RuntimeSources,
        slots: CallbackSlots,
        holder: str,
    ) -> None:
        self._database = database
        self._records = AttemptRecords(
            database,
            sealer=sealer,
            schedule=rules.schedule,
            jitter=rules.jitter,
            nonce=sources.nonce,
            holder=holder,
        )
        self._running: dict[SendCallback, asyncio.Task[LifecycleResult]] = {}
        self._slots = slots
        self._transport = transport
        self._rules = rules
        self._sources = sources

    @activity.defn(name="send_callback")
    async def send_callback(self, order: SendCallback) -> LifecycleResult:
        """Send the next attempt of the repair. Return the receipt's state once the endpoint accepts
        it.

        It may run again at any time. The new run
        1. joins the attempt that this process has in flight,
        2. waits for an attempt that another process holds,
        3. resends an attempt whose holder is gone, under its number: the receiver is idempotent per
           `replay_id`,
        4. sends the next attempt after one that has ended, no earlier than the schedule allows,
        5. ends if the series has ended.
        A run without a free slot writes nothing to the store, and is retried.

        Raises:
            ApplicationError: `attempt_failed` with the delay to the next attempt or, not retryable,
                the end of the series.
        """
        heartbeats = asyncio.create_task(_heartbeat_loop())
        attempt = self._join_or_start(order)
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            # The repair has ended meanwhile: the attempt is only recorded. When Temporal's worker
            # shuts down, the attempt continues without this run.
            if not activity.is_worker_shutdown():
                await asyncio.wait([attempt], timeout=RUN_SECONDS)
            raise
        finally:
            heartbeats.cancel()

    def has_attempts(self) -> bool:
        """Whether an attempt is in flight or being recorded. Safe to call from another thread."""
        return bool(self._running)

    async def end(self, *, grace_seconds: float = 0) -> None:
        """Stop the attempts of this process, because the process ends.

        Attempts in flight may finish within `grace_seconds`, then they are cancelled. An outcome
        that is being recorded is always recorded. A cancelled attempt stays `started`, and another
        process sends it again.
        """
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=grace_seconds)
        while attempts := list(self._running.values()):
            for attempt in attempts:
                attempt.cancel()
            await asyncio.wait(attempts)
            await asyncio.sleep(0)  # runs their callbacks, which remove them

    def _join_or_start(self, order: SendCallback) -> asyncio.Task[LifecycleResult]:
        """This process's attempt in flight for the repair, or a new one. It outlives the run."""
        running = self._running.get(order)
        if running is not None:
            log.info("attempt_joined", event_id=order.event_id, replay_id=order.replay_id)
            return running
        attempt = self._running[order] = asyncio.create_task(self._attempt(order))
        attempt.add_done_callback(lambda _: self._running.pop(order))
        # Retrieved, because the run that awaits it may be gone.
        attempt.add_done_callback(lambda done: done.cancelled() or done.exception())
        return attempt

    async def _attempt(self, order: SendCallback) -> LifecycleResult:
        try:
            with await self._slot_for(order):
                return await self._attempt_in_slot(order)
        except SlotsExhausted as full:
            delay = timedelta(seconds=full.seconds)
            retry_after("the limit of callbacks under way is reached", delay)

    async def _slot_for(self, order: SendCallback) -> AbstractContextManager[None]:
        """The slot of one callback, not yet acquired. None is needed if nothing will be sent."""
        try:
            async with self._database.reading() as session:
                snapshot = await load_snapshot(SessionStatements(session), EventId(order.event_id))
        except NotFound:
            return nullcontext()
        host = urlsplit(snapshot.repair_url or "").hostname
        if host is None:
            return nullcontext()
        return self._slots.acquire(ReplayId(order.replay_id), snapshot.project_id, host)

    async def _attempt_in_slot(self, order: SendCallback) -> LifecycleResult:
        began_at = time.monotonic()
        prepared = await run_uncancelled(lambda: self._records.prepare(order))
        match prepared:
            case SeriesOver(state=state):
                end_series(REPAIR_OVER, f"the receipt's state is {state}")
            case AttemptHeld():
                retry_after("another worker holds this attempt", HELD_RETRY)
            case PreparedAttempt():
                pass
        if time.monotonic() - began_at > CALLBACK_HEARTBEAT.total_seconds():
            # Nothing was sent yet, but another process may have begun the same attempt by now.
            with suppress(Unavailable):
                release = self._records.release
                await retry_until_stored(lambda: release(prepared), seconds=RECORD_SECONDS)
            retry_after("the attempt took too long to begin", CALLBACK_HEARTBEAT)
        outcome = await self._send(prepared)
        verdict = self._judge(prepared, outcome)
        status = await retry_until_stored(
            lambda: self._records.record(prepared, outcome, verdict), seconds=RECORD_SECONDS
        )
        log.info(
            "attempt_ended",
            event_id=prepared.event_id,
            replay_id=prepared.replay_id,
            number=prepared.number,
            status=outcome.status,
            error_class=outcome.error_class,
            reason=outcome.log_reason,
            duration_ms=outcome.duration_ms,
            is_held=status is not None,
        )
        if status is None:
            retry_after("another worker took this attempt over", HELD_RETRY)
        return to_activity_result(verdict, status)

    async def _send(self, prepared: PreparedAttempt) -> ExchangeOutcome:
        if prepared.request is None:
            return _protocol_error(0)
        started = time.monotonic()
        try:
            return await self._transport(prepared.request)
        except Exception:
            # The edge of one attempt: an error that the transport does not classify is a bug. It
            # must not leave the attempt started for ever.
            log.exception(
                "attempt_broken",
                event_id=prepared.event_id,
                replay_id=prepared.replay_id,
                number=prepared.number,
            )
            duration_ms = round((time.monotonic() - started) * 1000)
            return _protocol_error(duration_ms)

    def _judge(self, prepared: PreparedAttempt, outcome: ExchangeOutcome) -> Verdict:
        return judge_exchange(
            outcome,
            attempt_number=prepared.number,
            schedule=self._rules.schedule,
            jitter=self._rules.jitter,
            draw=self._sources.draw(),
        )


def _protocol_error(duration_ms: int) -> ExchangeOutcome:
    return ExchangeOutcome(
        status=None, error_class=ErrorClass.PROTOCOL_ERROR, duration_ms=duration_ms
    )


async def _heartbeat_loop() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(HEARTBEAT_SECONDS)
