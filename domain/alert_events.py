"""The events that alert destinations subscribe to, as REST, the console and the command line name
them, and the kinds of alerts that the store keeps for each.

`STORED_KINDS` is the only table between the two spellings.
"""

from collections.abc import Collection
from enum import StrEnum

from domain.alerts import AlertChannel


class AlertEvent(StrEnum):
    """An event of the contract, as `type` of a webhook and in the subscription of a destination."""

    INCIDENT_OPENED = "incident.opened"
    INCIDENT_REPAIR_FAILED = "incident.repair_failed"
    INCIDENT_RESOLVED = "incident.resolved"
    INCIDENT_REMINDER = "incident.reminder"
    INCIDENT_ESCALATED = "incident.escalated"
    GROUP_GREW = "group.grew"
    BULK_REPAIR_ENDED = "bulk_repair.ended"
    RULE_DISARMED = "rule.disarmed"
    SOURCE_SILENT = "source.silent"
    PROJECT_SILENT = "project.silent"
    RESULTS_UNCLAIMED = "early_results.unclaimed"
    DESTINATION_FAILING = "destination.failing"


STORED_KINDS: dict[AlertEvent, str] = {
    AlertEvent.INCIDENT_OPENED: "incident_opened",
    AlertEvent.INCIDENT_REPAIR_FAILED: "repair_failed",
    AlertEvent.INCIDENT_RESOLVED: "incident_resolved",
    AlertEvent.INCIDENT_REMINDER: "incident_reminder",
    AlertEvent.INCIDENT_ESCALATED: "incident_escalated",
    AlertEvent.GROUP_GREW: "group_grew",
    AlertEvent.BULK_REPAIR_ENDED: "bulk_repair_ended",
    AlertEvent.RULE_DISARMED: "rule_disarmed",
    AlertEvent.SOURCE_SILENT: "source_silent",
    AlertEvent.PROJECT_SILENT: "project_silent",
    AlertEvent.RESULTS_UNCLAIMED: "early_results_unclaimed",
    AlertEvent.DESTINATION_FAILING: "destination_failing",
}
# Only a pager has a state that an acknowledgement changes. It follows the subscription of the
# opening, so it has no event of its own.
ACKNOWLEDGED_KIND = "incident_acknowledged"
_EVENTS = {kind: event for event, kind in STORED_KINDS.items()}


def event_name(kind: str) -> str:
    """The event of a stored kind. A kind of a newer version keeps its own name, with a dot."""
    event = _EVENTS.get(kind)
    return kind.replace("_", ".", 1) if event is None else event.value


def events_of(kinds: Collection[str] | None) -> list[str] | None:
    """A stored subscription as events, in the order of `AlertEvent`; None: all."""
    if kinds is None:
        return None
    known = [event.value for event, kind in STORED_KINDS.items() if kind in kinds]
    return known + sorted(event_name(kind) for kind in kinds if kind not in _EVENTS)


def kinds_of(events: Collection[AlertEvent] | None) -> frozenset[str] | None:
    """A subscription as the store keeps it. One to every event is None, as is None."""
    if events is None or set(events) >= set(AlertEvent):
        return None
    return frozenset(STORED_KINDS[event] for event in events)


def wants(kinds: Collection[str] | None, kind: str, *, channel: str) -> bool:
    """Whether a destination of this channel and subscription gets alerts of this kind."""
    if kind == ACKNOWLEDGED_KIND:
        is_pager = channel == AlertChannel.PAGERDUTY
        return is_pager and wants(kinds, STORED_KINDS[AlertEvent.INCIDENT_OPENED], channel=channel)
    return kinds is None or kind in kinds
