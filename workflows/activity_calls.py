"""Schedules the activities of the `receipt` workflow, each with its timeout, retry policy and
summary.

A function here schedules exactly one command, at once. Called by `workflows.receipt`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.alerts.send import AlertActivities
    from activities.callback.send import CallbackActivities
    from activities.lifecycle import LifecycleActivities
    from activities.messages import (
        CALLBACK_HEARTBEAT,
        BeginRepair,
        FailOverdueRepair,
        LifecycleResult,
        NoteDroppedRequest,
        OpenIncident,
        ReadStatus,
        SendAlerts,
        SendCallback,
        SyncState,
    )
    from workflows import timeouts
    from workflows.messages import ReprocessRequest

Input = TypeVar("Input")
LifecycleActivity: TypeAlias = Callable[[LifecycleActivities, Input], Awaitable[LifecycleResult]]
LifecycleCall: TypeAlias = workflow.ActivityHandle[LifecycleResult]
OPEN_INCIDENT = "Open the incident if it is due"


def load_status(event_id: str, summary: str) -> LifecycleCall:
    return _start(LifecycleActivities.load_status, ReadStatus(event_id), summary)


def sync_state(event_id: str, result_id: str | None) -> LifecycleCall:
    """Load the state after a signal that named `result_id`, if it named one."""
    return _start(
        LifecycleActivities.sync_state,
        SyncState(event_id, result_id),
        "Load the state after a signal",
    )


async def open_incident_locally(event_id: str, result_id: str | None) -> LifecycleResult:
    """Open the incident in a local activity, within the current workflow task.

    Raises:
        FailureError: it failed. A local activity's failure is not wrapped in an `ActivityError`.
    """
    return await workflow.execute_local_activity_method(
        LifecycleActivities.open_incident,
        OpenIncident(event_id, result_id),
        schedule_to_close_timeout=timeouts.LOCAL_ACTIVITY_TIMEOUT,
        retry_policy=timeouts.NO_RETRY,
        summary=OPEN_INCIDENT,
    )


def open_incident(event_id: str, result_id: str | None) -> LifecycleCall:
    return _start(
        LifecycleActivities.open_incident, OpenIncident(event_id, result_id), OPEN_INCIDENT
    )


def begin_named_repair(event_id: str, replay_id: str) -> LifecycleCall:
    request = BeginRepair(event_id, replay_id)
    return _start(LifecycleActivities.begin_repair, request, f"Find the repair {replay_id}")


def begin_repair(event_id: str, merged: ReprocessRequest) -> LifecycleCall:
    """Adopt the active repair, or begin one."""
    request = BeginRepair(event_id, requested_by=merged.requested_by, marks=merged.marks)
    return _start(LifecycleActivities.begin_repair, request, "Begin the requested repair")


def fail_overdue_repair(event_id: str, replay_id: str) -> LifecycleCall:
    request = FailOverdueRepair(event_id, replay_id)
    return _start(
        LifecycleActivities.fail_overdue_repair, request, "Fail the repair if it is overdue"
    )


def note_dropped_request(event_id: str, replay_id: str | None) -> LifecycleCall:
    request = NoteDroppedRequest(event_id, replay_id)
    return _start(
        LifecycleActivities.note_dropped_request, request, "Note a dropped reprocess request"
    )


def send_callback(event_id: str, replay_id: str) -> LifecycleCall:
    """Start the callback series of a repair. Temporal runs the activity once per attempt."""
    call = workflow.start_activity_method(
        CallbackActivities.send_callback,
        SendCallback(event_id, replay_id),
        start_to_close_timeout=timeouts.CALLBACK_TIMEOUT,
        heartbeat_timeout=CALLBACK_HEARTBEAT,
        retry_policy=timeouts.CALLBACK_RETRIES,
        summary=f"Call the repair endpoint for {replay_id}",
    )
    _retrieve_failure(call)
    return call


def send_alerts(event_id: str, incident_id: str) -> None:
    """Send the incident's mail in the background. The reconciler sends what stays unsent."""
    call = workflow.start_activity_method(
        AlertActivities.send_alerts,
        SendAlerts(event_id, incident_id),
        start_to_close_timeout=timeouts.ALERT_TIMEOUT,
        retry_policy=timeouts.ALERT_RETRIES,
        summary="Send alerts",
    )
    _retrieve_failure(call)


def _start(activity: LifecycleActivity[Input], request: Input, summary: str) -> LifecycleCall:
    return workflow.start_activity_method(
        activity,
        request,
        start_to_close_timeout=timeouts.LIFECYCLE_TIMEOUT,
        retry_policy=timeouts.LIFECYCLE_RETRIES,
        summary=summary,
    )


def _retrieve_failure(call: workflow.ActivityHandle[Any]) -> None:  # Any: the result is not read
    """Keep asyncio from logging the failure of a call that nobody awaits."""
    call.add_done_callback(lambda done: done.cancelled() or done.exception())
