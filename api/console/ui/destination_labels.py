"""Labels of alert destinations: their kinds, targets and events. Pure.

What a later version stored has no label here. It is shown as words.
"""

from collections.abc import Mapping

from domain.alerts import (
    CHANNEL_NAMES,
    AlertChannel,
    AlertDestination,
    AlertEvent,
    DestinationState,
    events_of,
)

KINDS: Mapping[str, str] = CHANNEL_NAMES
STATES: Mapping[str, str] = {
    DestinationState.ACTIVE: "Active",
    DestinationState.FAILING: "Failing",
    DestinationState.DISABLED: "Disabled",
}
TONES: Mapping[str, str] = {
    DestinationState.ACTIVE: "good",
    DestinationState.FAILING: "bad",
    DestinationState.DISABLED: "quiet",
}
TARGETS: Mapping[str, str] = {
    AlertChannel.EMAIL: "Email address",
    AlertChannel.SLACK: "Incoming webhook URL",
    AlertChannel.TEAMS: "Workflow webhook URL",
    AlertChannel.PAGERDUTY: "Integration key (Events API v2)",
    AlertChannel.WEBHOOK: "URL",
}
EVENTS: Mapping[str, str] = {
    AlertEvent.INCIDENT_OPENED: "Incident opened",
    AlertEvent.INCIDENT_REPAIR_FAILED: "Repair failed",
    AlertEvent.INCIDENT_RESOLVED: "Incident resolved",
    AlertEvent.INCIDENT_REMINDER: "Reminder of an open incident",
    AlertEvent.INCIDENT_ESCALATED: "Incident escalated",
    AlertEvent.GROUP_GREW: "More incidents of one cause",
    AlertEvent.BULK_REPAIR_ENDED: "Repair of many ended",
    AlertEvent.RULE_DISARMED: "Repair rule disarmed",
    AlertEvent.SOURCE_SILENT: "Source failing or silent",
    AlertEvent.PROJECT_SILENT: "Project silent",
    AlertEvent.RESULTS_UNCLAIMED: "Results without a receipt",
    AlertEvent.DESTINATION_FAILING: "Alerts to another destination failing",
}


def event_labels(destination: AlertDestination) -> list[str] | None:
    """What the destination gets; None: everything."""
    events = events_of(destination.events)
    return None if events is None else [EVENTS.get(event, event) for event in events]


def has_event(destination: AlertDestination, event: str) -> bool:
    """Whether the destination gets the event."""
    events = events_of(destination.events)
    return events is None or event in events
