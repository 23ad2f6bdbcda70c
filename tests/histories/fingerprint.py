"""Extracts the commands of a history: what the workflow asked Temporal to do, in order, without
ids.
"""

import json

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

FILE = "fingerprint.json"
_PREFIX = "EVENT_TYPE_"
_COMMANDS = frozenset(
    {
        "TIMER_STARTED",
        "TIMER_CANCELED",
        "ACTIVITY_TASK_SCHEDULED",
        "ACTIVITY_TASK_CANCEL_REQUESTED",
        "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES",
        "MARKER_RECORDED",
        "WORKFLOW_EXECUTION_COMPLETED",
        "WORKFLOW_EXECUTION_FAILED",
        "WORKFLOW_EXECUTION_CONTINUED_AS_NEW",
    }
)


def commands_of(history: WorkflowHistory) -> list[str]:
    """One line for each command."""
    return [line for event in history.events if (line := _command(event)) is not None]


def _command(event: HistoryEvent) -> str | None:
    name = EventType.Name(event.event_type).removeprefix(_PREFIX)
    if name not in _COMMANDS:
        return None
    activity = (
        event.activity_task_scheduled_event_attributes.activity_type.name
        or local_activity_of(event)
    )
    return f"{name.lower()} {activity}".strip()


def local_activity_of(event: HistoryEvent) -> str:
    """The name of the local activity that the event records; empty if there is none."""
    details = event.marker_recorded_event_attributes.details
    return (
        str(json.loads(details["data"].payloads[0].data)["activity_type"])
        if "data" in details
        else ""
    )
