"""The life of one receipt: wait for its result, open the incident, repair until the app reports success.

Decides when to look and what to run next; the store decides where the receipt stands, and every ledger activity answers with
that. Signals only say that something is stored, or that a person asks; a made-up one changes nothing that the store does not
hold, except a success while waiting, which is trusted, so that the usual life costs no activity, and put right by the reconciler.
A signal or query takes any values, since people send them by hand: see `workflows.signals`.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeAlias, TypeVar

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.alerts.send import AlertActivities
    from activities.callback.send import CallbackActivities
    from activities.lifecycle import LifecycleActivities
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
    from domain.lifecycle import END_STATES, LifecycleState
    from domain.values.timestamps import to_iso, to_iso_or_none
    from workflows import timeouts
    from workflows.inbox import Inbox
    from workflows.messages import BareRequest, ReceiptEnded, StateAnswer, TimelineAnswer
    from workflows.signals import (
        EXPECTED_INPUT,
        INPUT_UNREADABLE,
        NO_INPUT,
        is_plain,
        read_reprocess,
        read_result,
        read_start,
        shown_name,
    )
    from workflows.status_changes import deadline_of, needs_alert, search_attributes
    from workflows.ui_text import Lines, describe_reprocess, describe_result, describe_state, with_note

SERIES_ENDS = (REPAIR_REJECTED, REPAIR_EXHAUSTED, REPAIR_OVER)
Input = TypeVar("Input")
LifecycleActivity: TypeAlias = Callable[[LifecycleActivities, Input], Awaitable[Answer]]


@workflow.defn(name="receipt")
class ReceiptWorkflow:
    """One receipt, from its acceptance to its end."""

    @workflow.init
    def __init__(self, *start: object) -> None:
        self._start = read_start(start, run_of=workflow.info().workflow_id) or NO_INPUT
        self._standing = Standing(LifecycleState.WAITING, self._start.deadline_at)
        self._look_at = self._start.deadline_at
        self._inbox = Inbox(self._start, workflow.random_seed())
        self._asking: BareRequest | None = None
        self._lines = Lines()

    @workflow.run
    async def run(self, *_: object) -> ReceiptEnded:
        """Follow the receipt to its end."""
        event_id = self._start.event_id
        if not event_id:
            raise ApplicationError(EXPECTED_INPUT, type=INPUT_UNREADABLE, non_retryable=True)
        workflow.set_current_details(describe_state(self._standing))
        if self._start.resume:
            await self._ask(LifecycleActivities.load_standing, ReadStanding(event_id), "Where does it stand?")
        while self._standing.position not in END_STATES:
            self._continue_if_long()
            match self._standing.position:
                case LifecycleState.WAITING:
                    await self._wait_for_result()
                case LifecycleState.OPEN:
                    await self._wait(self._inbox.has_any)
                    await self._act()
                case LifecycleState.CALLING:
                    await self._call_back()
                case LifecycleState.AWAITING_RESULT:
                    await self._wait_for_repair()
        await self._drop_requests()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return ReceiptEnded(event_id, self._standing.position)

    @workflow.signal(description="The store holds a result for this receipt (sent by Makegood).")
    def result(self, *payloads: object) -> None:
        heard, is_whole = read_result(payloads)
        self._inbox.add_hint(heard)
        self._note(with_note(describe_result(heard), is_whole=is_whole))

    @workflow.signal(description="Repair this receipt now, as the console's Reprocess does. Needs no payload.")
    def reprocess(self, *payloads: object) -> None:
        heard, is_whole = read_reprocess(payloads)
        self._inbox.add_request(heard, workflow.random_seed())
        self._note(with_note(describe_reprocess(heard), is_whole=is_whole))

    @workflow.signal(description="The store holds a resolution by hand (sent by Makegood; resolve in the console).")
    def resolve(self, *payloads: object) -> None:
        self._inbox.add_hint()
        self._note(with_note("signal resolve", is_whole=is_plain(payloads)))

    @workflow.signal(description="Look at the deadline in the store now. Needs no payload.")
    def expire(self, *payloads: object) -> None:
        self._inbox.add_hint()
        self._note(with_note("signal expire", is_whole=is_plain(payloads)))

    @workflow.signal(dynamic=True, description="Any other signal is noted and changes nothing.")
    def other(self, name: str, _: Sequence[RawValue]) -> None:
        self._note(f"signal {shown_name(name)}: unknown, and ignored")

    @workflow.query(description="Where this run stands: position, deadlines, incident and active repair.")
    def state(self, *_: object) -> StateAnswer:
        now, due = self._standing, to_iso_or_none(self._standing.result_deadline_at)
        return StateAnswer(now.position, to_iso(now.deadline_at), now.incident_id, now.replay_id, due)

    @workflow.query(description="What this run was sent and did, the latest last.")
    def timeline(self, *_: object) -> TimelineAnswer:
        return self._lines.answer()

    async def _wait_for_result(self) -> None:
        """A bare request stays in the inbox: it is acted on when the incident opens."""
        summary = f"Result due by {to_iso(self._standing.deadline_at)}"
        await self._wait(lambda: bool(self._inbox.hint or self._inbox.named), until=self._look_at, summary=summary)
        hint, named = self._inbox.take_hint(), self._inbox.take_named()
        if hint is not None and hint.is_success:
            self._stand(replace(self._standing, position=LifecycleState.APPLIED))
        elif named is not None:
            await self._ask_for_named(named)
        else:
            await self._open_incident(OpenIncident(self._start.event_id, hint.result_id if hint else None))

    async def _open_incident(self, question: OpenIncident) -> None:
        """Within the task that found it due; when that fails, as an activity, which Temporal retries as long as it takes."""
        opening, summary = LifecycleActivities.open_incident, "Open the incident if it is due"
        try:
            answer = await workflow.execute_local_activity_method(
                opening, question, schedule_to_close_timeout=timeouts.LOCAL_TIMEOUT, retry_policy=timeouts.ONCE, summary=summary
            )
        except FailureError as failure:  # a local activity's own, not wrapped in an `ActivityError`
            if is_cancelled_exception(failure):
                raise
            await self._ask(opening, question, summary)
        else:
            self._apply_result(answer)

    async def _act(self) -> None:
        """Act on everything in the inbox with one question, whose answer is younger than all of it."""
        hint, named, bare = self._inbox.take_hint(), self._inbox.take_named(), self._inbox.take_bare()
        if bare is not None:
            await self._ask_for_repair(bare)
        elif named is not None and named != self._standing.replay_id:
            await self._ask_for_named(named)
        elif hint is not None:
            await self._ask(
                LifecycleActivities.heed, Heed(self._start.event_id, hint.result_id), "Look at the store, as a signal says"
            )

    async def _ask_for_named(self, replay_id: str) -> None:
        await self._ask(
            LifecycleActivities.begin_repair, BeginRepair(self._start.event_id, replay_id), f"Find the repair {replay_id}"
        )

    async def _ask_for_repair(self, bare: BareRequest) -> None:
        """Have the store adopt the repair that is active, or begin one, at once: nothing is kept to be run later."""
        self._asking = bare
        begin = BeginRepair(self._start.event_id, requested_by=bare.requested_by, marks=bare.marks)
        await self._ask(LifecycleActivities.begin_repair, begin, "Begin the repair that was asked for")
        self._asking = None

    async def _call_back(self) -> None:
        """A run that continues as new leaves the attempt in flight to its activity, which records it, and the next waits."""
        replay_id = self._standing.replay_id or ""
        if self._inbox.bare is not None:
            await self._act()  # It came while this repair began, and asks for it.
            if not self._is_calling(replay_id):
                return
        call = workflow.start_activity_method(
            CallbackActivities.send_callback,
            SendCallback(self._start.event_id, replay_id),
            start_to_close_timeout=timeouts.CALLBACK_TIMEOUT,
            heartbeat_timeout=CALLBACK_HEARTBEAT,
            retry_policy=timeouts.CALLBACK_RETRIES,
            summary=f"Call the repair endpoint for {replay_id}",
        )
        # Retrieved, so that the failure of a cancelled call is not reported as forgotten.
        call.add_done_callback(lambda done: done.cancelled() or done.exception())
        while self._is_calling(replay_id):
            await self._wait(lambda: call.done() or self._inbox.has_any())
            if call.done():
                await self._end_series(call)
                return
            # The store may have ended this repair, and its news be on the way.
            await self._act()
        call.cancel()

    def _is_calling(self, replay_id: str) -> bool:
        return (self._standing.position, self._standing.replay_id) == (LifecycleState.CALLING, replay_id)

    async def _end_series(self, call: Awaitable[Answer]) -> None:
        try:
            self._apply_result(await call)
        except ActivityError as failure:
            if not isinstance(failure.cause, ApplicationError) or failure.cause.type not in SERIES_ENDS:
                raise
            self._note(f"callback series ended: {failure.cause.type}")
            await self._ask(LifecycleActivities.load_standing, ReadStanding(self._start.event_id), "What the series came to")

    async def _wait_for_repair(self) -> None:
        replay_id = self._standing.replay_id or ""
        await self._wait(self._inbox.has_any, until=self._look_at, summary=f"Result of {replay_id} due")
        if self._inbox.has_any():
            await self._act()
            return
        overdue = FailOverdueRepair(self._start.event_id, replay_id)
        await self._ask(LifecycleActivities.fail_overdue_repair, overdue, "The repair brought no result in time")

    async def _drop_requests(self) -> None:
        self._asking, named = self._inbox.take_bare(), self._inbox.take_named()
        if self._asking is not None or named is not None:
            dropped = NoteDroppedRequest(self._start.event_id, None if self._asking else named)
            await self._ask(LifecycleActivities.note_dropped_request, dropped, "Note a reprocess request that came to nothing")

    async def _wait(self, has_come: Callable[[], bool], *, until: datetime | None = None, summary: str | None = None) -> None:
        """Return when it has come, or when it is time to look. The only wait, since a history grows long in any."""
        remaining = None if until is None else min(until - workflow.now(), timeouts.LONGEST_WAIT)
        if not has_come() and (remaining is None or remaining > timedelta()):
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: has_come() or workflow.info().is_continue_as_new_suggested(),
                    timeout=remaining,
                    timeout_summary=summary,
                )
        self._continue_if_long()

    async def _ask(self, activity: LifecycleActivity[Input], question: Input, summary: str) -> None:
        """Ask the ledger, and obey its answer. A run that continues as new meanwhile asks again, which the ledger allows."""
        call = workflow.start_activity_method(
            activity,
            question,
            start_to_close_timeout=timeouts.LEDGER_TIMEOUT,
            retry_policy=timeouts.LEDGER_RETRIES,
            summary=summary,
        )
        await self._wait(call.done)
        self._apply_result(await call)

    def _apply_result(self, answer: Answer) -> None:
        self._stand(answer.standing)
        if answer.wait_ms is not None:
            self._look_at = workflow.now() + timedelta(milliseconds=answer.wait_ms)
        if answer.has_news:
            self._send_alerts()

    def _stand(self, now: Standing) -> None:
        before, self._standing = self._standing, now
        self._look_at = deadline_of(now)
        self._inbox.forget_named(before.replay_id, now.replay_id)
        if before == now:
            return
        self._note(f"stands at: {now.position}" + (f" ({now.replay_id})" if now.replay_id else ""))
        workflow.set_current_details(describe_state(now))
        if updates := search_attributes(workflow.info().typed_search_attributes, now, self._start.unregistered):
            workflow.upsert_search_attributes(updates)
        if needs_alert(before, now):
            self._send_alerts()

    def _send_alerts(self) -> None:
        """Send mail beside the wait: a silent mail server delays no result, and the end waits for no mail."""
        call = workflow.start_activity_method(
            AlertActivities.send_alerts,
            SendAlerts(self._start.event_id, self._standing.incident_id or ""),
            start_to_close_timeout=timeouts.ALERT_TIMEOUT,
            retry_policy=timeouts.ALERT_RETRIES,
            summary="Tell people",
        )
        # Retrieved, so that a failure is not reported as forgotten; the reconciler sends what is left.
        call.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _note(self, text: str) -> None:
        self._lines.add(to_iso(workflow.now()), text)

    def _continue_if_long(self) -> None:
        """When Temporal suggests it: the store knows everything but a bare request that it has not been asked about."""
        if workflow.info().is_continue_as_new_suggested():
            workflow.continue_as_new(self._inbox.handed_on(self._start, self._asking))
