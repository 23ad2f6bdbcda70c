"""Where alerts go: the channels, the destinations of a project, and the events that each gets.

`STORED_KINDS` is the only table between the events, as REST, the console and the command line name
them, and the kinds of alerts that the store keeps. The kinds, and why an alert ends unsent, are in
`domain.incidents`. The senders are in `activities.alerts`.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from domain.ids import DestinationId, ProjectId

# Of each channel, in one project.
MAXIMUM_DESTINATIONS = 20
LONGEST_RETRY_AFTER_SECONDS = 3_600
_ID = re.compile(r"dst_[0-9a-f]{32}")
# E-mail: 5 s, doubling to 10 minutes. A mail server is often away for minutes.
_FIRST_MAIL_RETRY_SECONDS, _LONGEST_MAIL_RETRY_SECONDS = 5, 600
# Every other channel, after the first attempt at once. The last delay repeats until the alert ends.
_RETRY_SECONDS = (30, 300, 3_600)


class AlertChannel(StrEnum):
    """A way to send an alert. Each has one sender in `activities.alerts`."""

    EMAIL = "email"
    SLACK = "slack"
    TEAMS = "teams"
    PAGERDUTY = "pagerduty"
    WEBHOOK = "webhook"


CHANNEL_NAMES: dict[str, str] = {
    AlertChannel.EMAIL: "Email",
    AlertChannel.SLACK: "Slack",
    AlertChannel.TEAMS: "Microsoft Teams",
    AlertChannel.PAGERDUTY: "PagerDuty",
    AlertChannel.WEBHOOK: "Webhook",
}


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


class DestinationState(StrEnum):
    """How a destination fares."""

    ACTIVE = "active"
    # An alert never arrived: refused for good, or every attempt failed for 24 hours. It is still
    # tried, and active again with the next alert that arrives.
    FAILING = "failing"
    # Nothing is sent until somebody enables it again.
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class AlertDestination:
    """One place that a project's alerts go to.

    1. `channel` is an `AlertChannel`, or the text of a newer version.
    2. `target` is what the channel sends to, such as an address. None: it is a secret, and only
        the sender decrypts it.
    3. `events` are the kinds of alerts that it gets, as the store spells them; None: all.
    4. `label` is a name for people, None if nobody gave one.
    5. `last_error_at` is when an attempt last failed, with `last_error`; `last_sent_at` is when one
        was last accepted. `unreached_since` is the first failure after that.
    """

    id: DestinationId
    channel: str
    target: str | None
    events: frozenset[str] | None = None
    label: str | None = None
    disabled_at: datetime | None = None
    last_sent_at: datetime | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None
    unreached_since: datetime | None = None
    failing_since: datetime | None = None

    @property
    def name(self) -> str:
        """How alerts and timelines name it: the target, or the id if the target is a secret."""
        return self.id if self.target is None else self.target

    @property
    def title(self) -> str:
        """How pages name it: by its label, or the target, or the channel if that is a secret."""
        channel = CHANNEL_NAMES.get(self.channel, self.channel.capitalize())
        if self.label:
            return self.label if self.target is not None else f"{self.label} ({channel})"
        return channel if self.target is None else self.target

    @property
    def state(self) -> DestinationState:
        """How it fares now."""
        if self.disabled_at is not None:
            return DestinationState.DISABLED
        return DestinationState.ACTIVE if self.failing_since is None else DestinationState.FAILING


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """The secret target of a webhook: its URL, and the secret that signs what is sent to it."""

    url: str = field(repr=False)
    secret: str = field(repr=False)

    def to_text(self) -> str:
        """The target as it is sealed."""
        return json.dumps([self.url, self.secret])

    @classmethod
    def from_text(cls, text: str) -> "WebhookTarget":
        """The target that was sealed.

        Raises:
            ValueError: it has another form.
        """
        parts = json.loads(text)
        if not isinstance(parts, list) or [type(part) for part in parts] != [str, str]:
            raise ValueError("not the target of a webhook")
        return cls(*parts)


@dataclass(frozen=True, slots=True)
class AlertAnswer:
    """What the other side answered to a test alert.

    `status` is its HTTP status, or the code of its mail server; None without an answer. `excerpt`
    is the beginning of what it said. `detail` is a sentence for people, and `error` the kind of
    failure.
    """

    ok: bool
    status: int | None
    duration_ms: int
    detail: str
    excerpt: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class AlertTrial:
    """A test alert to send now. `target` is what the channel sends to; it may be a secret."""

    destination_id: DestinationId
    channel: str
    target: str = field(repr=False)
    project_id: ProjectId
    project_name: str
    livemode: bool
    at: datetime


def is_destination_id(name: str) -> bool:
    """Whether an alert's destination is the id of one whose target is a secret."""
    return _ID.fullmatch(name) is not None


def alert_retry_seconds(channel: str, tries: int, *, asked_seconds: int | None = None) -> int:
    """The delay before the next attempt, after `tries` failures before the last one.

    `asked_seconds` is the receiver's Retry-After. It lengthens the delay, to at most one hour.
    """
    if channel == AlertChannel.EMAIL:
        doubled = _FIRST_MAIL_RETRY_SECONDS * 2 ** min(tries, 10)
        delay = int(min(_LONGEST_MAIL_RETRY_SECONDS, doubled))
    else:
        delay = _RETRY_SECONDS[min(tries, len(_RETRY_SECONDS) - 1)]
    return max(delay, min(asked_seconds or 0, LONGEST_RETRY_AFTER_SECONDS))


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
