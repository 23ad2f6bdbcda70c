"""Runs one receipt: wait for the result, open the incident, repair until success.

The database is the source of truth: every lifecycle activity returns the stored state, and the
workflow follows it. Signals are hints to re-read it, so a forged signal has no effect.
One exception: a `success` signal while waiting ends the workflow without an activity, because that
is the common case. If it was forged, the reconciler finds the open receipt and starts a new run.

People may send signals and queries by hand, with any values: see `workflows.signals`.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from activities.messages import SERIES_ENDS, LifecycleResult, ReceiptStatus
    from domain.lifecycle import END_STATES, LifecycleState
    from domain.values.timestamps import to_iso, to_iso_or_none
    from workflows import activity_calls, signals, timeouts, ui_text
    from workflows.activity_calls import LifecycleCall
    from workflows.inbox import Inbox
    from workflows.messages import (
        ReceiptEnded,
        ReprocessRequest,
        StateQueryResult,
        TimelineQueryResult,
    )
    from workflows.status_changes import (
        first_state,
        needs_alert,
        next_deadline,
        search_attribute_updates,
    )


@workflow.defn(name="receipt")
class ReceiptWorkflow:
    """One receipt, from its acceptance to its end."""

    @workflow.init
    def __init__(self, *start: object) -> None:
        self._start = (
            signals.read_start(start, run_of=workflow.info().workflow_id) or signals.NO_INPUT
        )
        self._status = ReceiptStatus(first_state(self._start), self._start.deadline_at)
        self._check_at = self._start.deadline_at
        self._inbox = Inbox(self._start, workflow.random_seed())
        self._unanswered: ReprocessRequest | None = None
        self._timeline = ui_text.RunTimeline()

    @workflow.run
    async def run(self, *_: object) -> ReceiptEnded:
        """Follow the receipt to its end."""
        event_id = self._start.event_id
        if not event_id:
            raise ApplicationError(
                signals.EXPECTED_INPUT, type=signals.INPUT_UNREADABLE, non_retryable=True
            )
        workflow.set_current_details(ui_text.describe_state(self._status))
        if self._start.resume:
            await self._run(activity_calls.load_status(event_id, "Load the stored state"))
        while self._status.state not in END_STATES:
            self._continue_if_long()
            match self._status.state:
                case LifecycleState.EXPECTED | LifecycleState.WAITING:
                    await self._wait_for_result()
                case LifecycleState.OPEN | LifecycleState.HELD:
                    await self._wait(self._inbox.has_any)
                    await self._process_inbox()
                case LifecycleState.CALLING:
                    await self._call_repair_endpoint()
                case LifecycleState.AWAITING_RESULT:
                    await self._wait_for_repair()
        await self._reject_pending_requests()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return ReceiptEnded(event_id, self._status.state)

    @workflow.signal(description="A result of this receipt is stored (sent by Makegood).")
    def result(self, *payloads: object) -> None:
        parsed, is_whole = signals.read_result(payloads)
        self._inbox.add_store_signal(parsed)
        self._record(ui_text.with_note(ui_text.describe_result(parsed), is_whole=is_whole))

    @workflow.signal(
        description="Repair this receipt now, as the console's Reprocess does. Needs no payload."
    )
    def reprocess(self, *payloads: object) -> None:
        parsed, is_whole = signals.read_reprocess(payloads)
        self._inbox.add_request(parsed, workflow.random_seed())
        self._record(ui_text.with_note(ui_text.describe_reprocess(parsed), is_whole=is_whole))

    @workflow.signal(
        description="A manual resolution is stored (sent by Makegood; resolve in the console)."
    )
    def resolve(self, *payloads: object) -> None:
        self._inbox.add_store_signal()
        is_whole = signals.is_empty_or_object(payloads)
        self._record(ui_text.with_note("signal resolve", is_whole=is_whole))

    @workflow.signal(description="Check the stored deadline now. Needs no payload.")
    def expire(self, *payloads: object) -> None:
        self._inbox.add_store_signal()
        is_whole = signals.is_empty_or_object(payloads)
        self._record(ui_text.with_note("signal expire", is_whole=is_whole))

    @workflow.signal(dynamic=True, description="Any other signal is noted and changes nothing.")
    def other(self, name: str, _: Sequence[RawValue]) -> None:
        self._record(f"signal {signals.safe_signal_name(name)}: unknown, and ignored")

    @workflow.query(
        description="The state of this run: position, deadlines, incident and active repair."
    )
    def state(self, *_: object) -> StateQueryResult:
        now, due = self._status, to_iso_or_none(self._status.result_deadline_at)
        return StateQueryResult(
            now.state, to_iso(now.deadline_at), now.incident_id, now.replay_id, due
        )

    @workflow.query(description="The signals and steps of this run, the latest last.")
    def timeline(self, *_: object) -> TimelineQueryResult:
        return self._timeline.query_result()

    async def _wait_for_result(self) -> None:
        """Wait for a result or the deadline; an expected receipt also waits for the app's receipt.

        A request without a `replay_id` stays in the inbox until the incident is open.
        """
        inbox, summary = self._inbox, ui_text.describe_wait(self._status)
        await self._wait(
            lambda: bool(inbox.store_signal or inbox.named_repair),
            until=self._check_at,
            summary=summary,
        )
        signal, named_repair = inbox.take_store_signal(), inbox.take_named_repair()
        if signal is not None and signal.is_success:
            self._set_state(replace(self._status, state=LifecycleState.APPLIED))
        elif named_repair is not None:
            await self._run(activity_calls.begin_named_repair(self._start.event_id, named_repair))
        else:
            await self._open_incident(signal.result_id if signal else None)

    async def _open_incident(self, result_id: str | None) -> None:
        """Open it in a local activity. If that fails, run an activity, which Temporal retries."""
        event_id = self._start.event_id
        try:
            result = await activity_calls.open_incident_locally(event_id, result_id)
        except FailureError as failure:
            if is_cancelled_exception(failure):
                raise
            await self._run(activity_calls.open_incident(event_id, result_id))
        else:
            self._apply_result(result)

    async def _process_inbox(self) -> None:
        """Handle the whole inbox with one activity: its result is newer than every signal taken."""
        event_id, inbox = self._start.event_id, self._inbox
        signal, named_repair = inbox.take_store_signal(), inbox.take_named_repair()
        request = inbox.take_request()
        if request is not None:
            # Adopts the active repair or begins one, now: no request is stored for later.
            self._unanswered = request
            await self._run(activity_calls.begin_repair(event_id, request))
            self._unanswered = None
        elif named_repair is not None and named_repair != self._status.replay_id:
            await self._run(activity_calls.begin_named_repair(event_id, named_repair))
        elif signal is not None:
            await self._run(activity_calls.sync_state(event_id, signal.result_id))

    async def _call_repair_endpoint(self) -> None:
        """Run the callback series until it ends, or until a signal shows that the repair has ended.

        When the run continues as new, the activity still records an attempt in flight. The next
        run's activity waits for it.
        """
        replay_id = self._status.replay_id or ""
        if self._inbox.request is not None:
            # It arrived while this repair began, and adopts it.
            await self._process_inbox()
            if not self._is_calling(replay_id):
                return
        call = activity_calls.send_callback(self._start.event_id, replay_id)
        while self._is_calling(replay_id):
            await self._wait(lambda: call.done() or self._inbox.has_any())
            if call.done():
                await self._end_series(call)
                return
            # A signal may mean that the store has ended this repair.
            await self._process_inbox()
        call.cancel()

    def _is_calling(self, replay_id: str) -> bool:
        return (self._status.state, self._status.replay_id) == (LifecycleState.CALLING, replay_id)

    async def _end_series(self, call: LifecycleCall) -> None:
        try:
            self._apply_result(await call)
        except ActivityError as failure:
            if (
                not isinstance(failure.cause, ApplicationError)
                or failure.cause.type not in SERIES_ENDS
            ):
                raise
            self._record(f"callback series ended: {failure.cause.type}")
            summary = "Load the state after the callbacks"
            await self._run(activity_calls.load_status(self._start.event_id, summary))

    async def _wait_for_repair(self) -> None:
        """Wait for the repair's result. At its deadline, fail the repair."""
        replay_id = self._status.replay_id or ""
        await self._wait(
            self._inbox.has_any, until=self._check_at, summary=f"Result of {replay_id} due"
        )
        if self._inbox.has_any():
            await self._process_inbox()
            return
        await self._run(activity_calls.fail_overdue_repair(self._start.event_id, replay_id))

    async def _reject_pending_requests(self) -> None:
        """Note a request that arrived too late to be handled."""
        self._unanswered, named_repair = self._inbox.take_request(), self._inbox.take_named_repair()
        if self._unanswered is not None or named_repair is not None:
            replay_id = None if self._unanswered else named_repair
            await self._run(activity_calls.note_dropped_request(self._start.event_id, replay_id))

    async def _wait(
        self,
        is_ready: Callable[[], bool],
        *,
        until: datetime | None = None,
        summary: str | None = None,
    ) -> None:
        """Wait until `is_ready`, or until `until`.

        Every wait of the run is here, because the history may grow too long during any of them.
        """
        remaining = None if until is None else min(until - workflow.now(), timeouts.LONGEST_WAIT)
        if not is_ready() and (remaining is None or remaining > timedelta()):
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: is_ready() or workflow.info().is_continue_as_new_suggested(),
                    timeout=remaining,
                    timeout_summary=summary,
                )
        self._continue_if_long()

    async def _run(self, call: LifecycleCall) -> None:
        """Wait for a lifecycle activity and apply its result.

        If the run continues as new meanwhile, the next run repeats it. Each activity may run twice.
        """
        await self._wait(call.done)
        self._apply_result(await call)

    def _apply_result(self, result: LifecycleResult) -> None:
        self._set_state(result.status)
        if result.retry_after_ms is not None:
            self._check_at = workflow.now() + timedelta(milliseconds=result.retry_after_ms)
        if result.should_alert:
            self._send_alerts()

    def _set_state(self, now: ReceiptStatus) -> None:
        before, self._status = self._status, now
        self._check_at = next_deadline(now)
        self._inbox.drop_handled(before.replay_id, now.replay_id)
        if before == now:
            return
        self._record(f"state: {now.state}" + (f" ({now.replay_id})" if now.replay_id else ""))
        workflow.set_current_details(ui_text.describe_state(now))
        shown = workflow.info().typed_search_attributes
        if updates := search_attribute_updates(shown, now, self._start.unregistered):
            workflow.upsert_search_attributes(updates)
        if needs_alert(before, now):
            self._send_alerts()

    def _send_alerts(self) -> None:
        """Not awaited: a mail server that does not answer delays neither a result nor the end."""
        activity_calls.send_alerts(self._start.event_id, self._status.incident_id or "")

    def _record(self, text: str) -> None:
        self._timeline.add(to_iso(workflow.now()), text)

    def _continue_if_long(self) -> None:
        """Continue as new when Temporal suggests it.

        The store knows everything except a request without a `replay_id` that has no answer yet, so
        the next run gets that one.
        """
        if workflow.info().is_continue_as_new_suggested():
            workflow.continue_as_new(self._inbox.next_input(self._start, self._unanswered))
