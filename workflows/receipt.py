"""The life of one receipt: wait for its result, open the incident, repair until the app reports success.

Decides when to look and what to run next; the store decides where the receipt stands, and every ledger activity answers with
that. Signals only say that something is stored, or that a person asks; a made-up one changes nothing that the store does not
hold, except a success while waiting, which is trusted, so that the usual life costs no activity, and mended by the reconciler.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import NoReturn, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.alerts import AlertActivities
    from activities.callback import CallbackActivities
    from activities.ledger import LedgerActivities
    from activities.messages import (
        CALLBACK_HEARTBEAT,
        REPAIR_EXHAUSTED,
        REPAIR_OVER,
        REPAIR_REJECTED,
        Answer,
        BeginRepair,
        FailOverdueRepair,
        Heed,
        NoteDroppedRequest,
        OpenIncident,
        ReadStanding,
        SendAlerts,
        SendCallback,
        Standing,
    )
    from domain.instants import wire, wire_or_none
    from domain.lifecycle import END_POSITIONS, REPAIRING_POSITIONS, Position
    from domain.results import ResultStatus
    from workflows.changes import deadline_of, is_news, replay_id_made, search_attributes
    from workflows.details import Told, describe_standing, describe_told
    from workflows.messages import (
        ExpireSignal,
        ReceiptEnded,
        ReceiptInput,
        ReprocessSignal,
        ResolveSignal,
        ResultSignal,
        StateAnswer,
        TimelineAnswer,
        TimelineLine,
    )

LEDGER_TIMEOUT = timedelta(seconds=5)
# Within the workflow's task, which has 5 s.
LOCAL_TIMEOUT = timedelta(seconds=3)
ONCE = RetryPolicy(maximum_attempts=1)
ALERT_TIMEOUT = timedelta(seconds=20)
CALLBACK_TIMEOUT = timedelta(seconds=35)
# The ledger is asked until it answers: without it nothing can be decided.
LEDGER_RETRIES = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10))
# The schedule is the activity's own (`next_retry_delay`); this interval is for a lost worker or store.
CALLBACK_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=1.5, maximum_interval=timedelta(seconds=10)
)
# What stays unsent is the reconciler's.
ALERT_RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)
SERIES_ENDS = (REPAIR_REJECTED, REPAIR_EXHAUSTED, REPAIR_OVER)
TIMELINE_LINES = 100

Input = TypeVar("Input")


@workflow.defn(name="receipt")
class ReceiptWorkflow:
    """One receipt, from its acceptance to its end."""

    @workflow.init
    def __init__(self, start: ReceiptInput) -> None:
        self._start = start
        self._standing = Standing(Position.WAITING, start.deadline_at)
        self._look_at = start.deadline_at
        self._told: deque[Told] = deque()
        self._requests: deque[ReprocessSignal] = deque(start.requests)
        self._lines: deque[TimelineLine] = deque(maxlen=TIMELINE_LINES)

    @workflow.run
    async def run(self, start: ReceiptInput) -> ReceiptEnded:
        """Follow the receipt to its end."""
        workflow.set_current_details(describe_standing(self._standing))
        if start.resume:
            await self._ask(LedgerActivities.load_standing, ReadStanding(start.event_id), "Where does it stand?")
        while self._standing.position not in END_POSITIONS:
            if workflow.info().is_continue_as_new_suggested():
                self._continue_as_new()
            match self._standing.position:
                case Position.WAITING:
                    await self._wait_for_result()
                case Position.OPEN:
                    await self._wait_for_request()
                case Position.CALLING:
                    await self._call_back()
                case Position.AWAITING_RESULT:
                    await self._wait_for_repair()
        await self._drop_requests()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return ReceiptEnded(start.event_id, self._standing.position)

    @workflow.signal(description="The store holds a result for this receipt (sent by Makegood).")
    def result(self, told: ResultSignal) -> None:
        self._hear(told)

    @workflow.signal(description="Repair this receipt now, as the console's Reprocess does. Needs no payload.")
    def reprocess(self, request: ReprocessSignal | None = None) -> None:
        heard = request or ReprocessSignal()
        self._requests.append(heard)
        self._note(describe_told(heard))

    @workflow.signal(description="The store holds a resolution by hand (sent by Makegood; resolve in the console).")
    def resolve(self, told: ResolveSignal | None = None) -> None:
        self._hear(told or ResolveSignal())

    @workflow.signal(description="Look at the deadline in the store now. Needs no payload.")
    def expire(self, told: ExpireSignal | None = None) -> None:
        self._hear(told or ExpireSignal())

    @workflow.query(description="Where this run stands: position, deadlines, incident and active repair.")
    def state(self) -> StateAnswer:
        now = self._standing
        due = wire_or_none(now.result_deadline_at)
        return StateAnswer(now.position, wire(now.deadline_at), now.incident_id, now.replay_id, due)

    @workflow.query(description="What this run has heard and done, the latest last.")
    def timeline(self) -> TimelineAnswer:
        return TimelineAnswer(tuple(self._lines))

    async def _wait_for_result(self) -> None:
        await self._until(lambda: bool(self._told), f"Result due by {wire(self._standing.deadline_at)}")
        told = self._told.popleft() if self._told else None
        if isinstance(told, ResultSignal) and told.status is ResultStatus.SUCCESS:
            self._stand(replace(self._standing, position=Position.APPLIED))
            return
        result_id = told.result_id if isinstance(told, ResultSignal) else None
        await self._open_incident(OpenIncident(self._start.event_id, result_id))

    async def _open_incident(self, question: OpenIncident) -> None:
        """Within the task that found it due; when that fails, as an activity, which the engine retries as long as it takes."""
        opening, summary = LedgerActivities.open_incident, "Open the incident if it is due"
        try:
            answer = await workflow.execute_local_activity_method(
                opening, question, schedule_to_close_timeout=LOCAL_TIMEOUT, retry_policy=ONCE, summary=summary
            )
        except FailureError as failure:  # a local activity's own, not wrapped in an `ActivityError`
            if is_cancelled_exception(failure):
                raise
            await self._ask(opening, question, summary)
        else:
            self._obey(answer)

    async def _wait_for_request(self) -> None:
        await workflow.wait_condition(lambda: bool(self._told or self._requests))
        if self._told:
            await self._heed(self._told.popleft())
            return
        await self._answer_request()

    async def _answer_request(self) -> None:
        """Have the store adopt the repair that is active, or mint one, at once: nothing is kept to be run later."""
        request = self._requests.popleft()
        if request.replay_id is not None and request.replay_id == self._standing.replay_id:
            return
        is_bare = request.replay_id is None
        mint_as = replay_id_made(workflow.now(), workflow.uuid4()) if is_bare else None
        begin = BeginRepair(self._start.event_id, request.replay_id, request.requested_by, mint_as)
        await self._ask(LedgerActivities.begin_repair, begin, "Begin the repair that was asked for")
        if is_bare or self._standing.position in REPAIRING_POSITIONS:
            # Whatever came while it began asked for this one.
            self._requests = deque(kept for kept in self._requests if kept.replay_id is not None)

    async def _call_back(self) -> None:
        replay_id = self._standing.replay_id or ""
        call = workflow.start_activity_method(
            CallbackActivities.send_callback,
            SendCallback(self._start.event_id, replay_id),
            start_to_close_timeout=CALLBACK_TIMEOUT,
            heartbeat_timeout=CALLBACK_HEARTBEAT,
            retry_policy=CALLBACK_RETRIES,
            summary=f"Call the repair endpoint for {replay_id}",
        )
        # Retrieved, so that the failure of a cancelled call is not reported as forgotten.
        call.add_done_callback(lambda done: done.cancelled() or done.exception())
        while (self._standing.position, self._standing.replay_id) == (Position.CALLING, replay_id):
            await workflow.wait_condition(lambda: call.done() or bool(self._told or self._requests))
            if call.done():
                await self._end_series(call)
                return
            if self._requests:
                # The store may have ended this repair, and its news be on the way.
                await self._answer_request()
            else:
                await self._heed(self._told.popleft())
        call.cancel()

    async def _end_series(self, call: Awaitable[Answer]) -> None:
        try:
            self._obey(await call)
        except ActivityError as failure:
            if not isinstance(failure.cause, ApplicationError) or failure.cause.type not in SERIES_ENDS:
                raise
            self._note(f"callback series ended: {failure.cause.type}")
            await self._ask(LedgerActivities.load_standing, ReadStanding(self._start.event_id), "What the series came to")

    async def _wait_for_repair(self) -> None:
        replay_id = self._standing.replay_id or ""
        await self._until(lambda: bool(self._told or self._requests), f"Result of {replay_id} due")
        if self._requests:
            await self._answer_request()
            return
        if self._told:
            await self._heed(self._told.popleft())
            return
        overdue = FailOverdueRepair(self._start.event_id, replay_id)
        await self._ask(LedgerActivities.fail_overdue_repair, overdue, "The repair brought no result in time")

    async def _heed(self, told: Told) -> None:
        result_id = told.result_id if isinstance(told, ResultSignal) else None
        await self._ask(LedgerActivities.heed, Heed(self._start.event_id, result_id), describe_told(told))

    async def _drop_requests(self) -> None:
        if not self._requests:
            return
        dropped = NoteDroppedRequest(self._start.event_id, self._requests[0].replay_id)
        self._requests.clear()
        await self._ask(LedgerActivities.note_dropped_request, dropped, "Note a reprocess request that came to nothing")

    async def _until(self, has_come: Callable[[], bool], summary: str) -> None:
        """Return when it has come, or when it is time to look."""
        remaining = self._look_at - workflow.now()
        if not has_come() and remaining > timedelta():
            with suppress(TimeoutError):
                await workflow.wait_condition(has_come, timeout=remaining, timeout_summary=summary)

    async def _ask(self, activity: Callable[[LedgerActivities, Input], Awaitable[Answer]], question: Input, summary: str) -> None:
        """Ask the ledger, and obey its answer."""
        answer = await workflow.execute_activity_method(
            activity, question, start_to_close_timeout=LEDGER_TIMEOUT, retry_policy=LEDGER_RETRIES, summary=summary
        )
        self._obey(answer)

    def _obey(self, answer: Answer) -> None:
        self._stand(answer.standing)
        if answer.wait_ms is not None:
            self._look_at = workflow.now() + timedelta(milliseconds=answer.wait_ms)
        if answer.has_news:
            self._tell_people()

    def _stand(self, now: Standing) -> None:
        before, self._standing = self._standing, now
        self._look_at = deadline_of(now)
        self._forget_named(before.replay_id, now.replay_id)
        if before == now:
            return
        self._note(f"stands at: {now.position}" + (f" ({now.replay_id})" if now.replay_id else ""))
        workflow.set_current_details(describe_standing(now))
        if updates := search_attributes(workflow.info().typed_search_attributes, now, self._start.unregistered):
            workflow.upsert_search_attributes(updates)
        if is_news(before, now):
            self._tell_people()

    def _forget_named(self, *replay_ids: str | None) -> None:
        """Requests that name a repair which is under way, or has just ended, have been acted on."""
        acted_on = set(replay_ids) - {None}
        self._requests = deque(kept for kept in self._requests if kept.replay_id not in acted_on)

    def _tell_people(self) -> None:
        """Send mail beside the wait: a silent mail server delays no result, and the end waits for no mail."""
        call = workflow.start_activity_method(
            AlertActivities.send_alerts,
            SendAlerts(self._start.event_id, self._standing.incident_id or ""),
            start_to_close_timeout=ALERT_TIMEOUT,
            retry_policy=ALERT_RETRIES,
            summary="Tell people",
        )
        # Retrieved, so that a failure is not reported as forgotten; the reconciler sends what is left.
        call.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _hear(self, told: Told) -> None:
        self._told.append(told)
        self._note(describe_told(told))

    def _note(self, text: str) -> None:
        self._lines.append(TimelineLine(wire(workflow.now()), text))

    def _continue_as_new(self) -> NoReturn:
        """The store knows everything but requests that it has not minted yet."""
        unminted = tuple(request for request in self._requests if request.replay_id is None)
        workflow.continue_as_new(replace(self._start, resume=True, requests=unminted))
