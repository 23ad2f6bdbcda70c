"""Incidents, repairs, attempts, alerts and timeline entries: enumerations and values, named as in
the contract.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.ids import EventId, GroupId, IncidentId, ProjectId, ReplayId


class IncidentState(StrEnum):
    OPEN = "open"
    REPAIRING = "repairing"
    RESOLVED = "resolved"


class Reason(StrEnum):
    MISSING_RESULT = "missing_result"
    FAILED_RESULT = "failed_result"
    MISSING_RECEIPT = "missing_receipt"


class Resolution(StrEnum):
    REPAIRED = "repaired"
    LATE_RESULT = "late_result"
    ALREADY_APPLIED = "already_applied"
    MANUAL = "manual"


class RepairState(StrEnum):
    HELD = "held"
    CALLING = "calling"
    AWAITING_RESULT = "awaiting_result"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class RepairCause(StrEnum):
    """Why a repair failed."""

    REJECTED = "rejected"
    EXHAUSTED = "exhausted"
    NO_RESULT = "no_result"
    FAILED_RESULT = "failed_result"
    REPAIR_URL_MISSING = "repair_url_missing"
    SUPERSEDED = "superseded"
    CLOSED = "closed"
    STOPPED = "stopped"


class AttemptState(StrEnum):
    STARTED = "started"
    FINISHED = "finished"


class AlertKind(StrEnum):
    INCIDENT_OPENED = "incident_opened"
    REPAIR_FAILED = "repair_failed"
    INCIDENT_RESOLVED = "incident_resolved"
    # To the assignee alone, whether or not the project has destinations.
    INCIDENT_ASSIGNED = "incident_assigned"
    # Further incidents of a group opened. Of an alert about a group, `incident_id` and `event_id`
    # are the group's id, and `replay_id` is an instant and the number of incidents.
    GROUP_GREW = "group_grew"
    # Sent to the project's other destinations when one of them never got its alert.
    DESTINATION_FAILING = "destination_failing"
    # A source is failing or silent, or could not list a span of time. It is about no incident:
    # `incident_id` and `event_id` of the alert are the source's id.
    SOURCE_SILENT = "source_silent"
    # Results are held, and no receipt has claimed them. Once a day (UTC): `incident_id` and
    # `event_id` are the project's id, `replay_id` is the day.
    EARLY_RESULTS_UNCLAIMED = "early_results_unclaimed"
    # A project, or one type of its events, is silent. `incident_id` and `event_id` are the
    # project's id, `replay_id` is the last receipt before the silence, with the type.
    PROJECT_SILENT = "project_silent"
    # Only pagers get it: their alert shows that somebody is on it. `replay_id` is the instant.
    INCIDENT_ACKNOWLEDGED = "incident_acknowledged"
    # A bulk repair finished, stopped or was aborted: `incident_id` and `event_id` are its id.
    BULK_REPAIR_ENDED = "bulk_repair_ended"
    # A rule disarmed itself: `incident_id` and `event_id` are its id, `replay_id` is the instant.
    RULE_DISARMED = "rule_disarmed"


class AlertEnd(StrEnum):
    """Why an alert that was never sent is not retried any more."""

    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    ADDRESS_REFUSED = "address_refused"
    ADDRESS_REMOVED = "address_removed"
    INCIDENT_OVER = "incident_over"
    DESTINATION_DISABLED = "destination_disabled"
    GROUP_MUTED = "group_muted"


# The alert was still wanted and did not arrive: the project's other destinations and the operators
# are notified.
UNREACHED_ENDS = frozenset({AlertEnd.REFUSED, AlertEnd.TIMED_OUT, AlertEnd.ADDRESS_REFUSED})


class TimelineKind(StrEnum):
    RECEIPT_ACCEPTED = "receipt_accepted"
    RESULT_RECEIVED = "result_received"
    DEADLINE_CREDITED = "deadline_credited"
    DEADLINE_PASSED = "deadline_passed"
    INCIDENT_OPENED = "incident_opened"
    ALERT_SENT = "alert_sent"
    ALERT_FAILED = "alert_failed"
    REPROCESS_REQUESTED = "reprocess_requested"
    ATTEMPT = "attempt"
    REPAIR_FAILED = "repair_failed"
    INCIDENT_ACKNOWLEDGED = "incident_acknowledged"
    INCIDENT_UNACKNOWLEDGED = "incident_unacknowledged"
    INCIDENT_ASSIGNED = "incident_assigned"
    INCIDENT_COMMENTED = "incident_commented"
    INCIDENT_SNOOZED = "incident_snoozed"
    SNOOZE_ENDED = "snooze_ended"
    INCIDENT_REOPENED = "incident_reopened"
    DEADLINE_MOVED = "deadline_moved"
    INCIDENT_RESOLVED = "incident_resolved"
    NOTED = "noted"
    FLAGGED = "flagged"
    GROUP_MUTED = "group_muted"
    GROUP_UNMUTED = "group_unmuted"


# The fields of timeline entries that hold an instant. The database stores their text.
TIMELINE_INSTANTS = frozenset(
    {
        "acknowledged_until",
        "deadline_at",
        "down_from",
        "held_since",
        "moved_from",
        "muted_until",
        "next_attempt_at",
        "repeated_at",
        "snoozed_until",
        "timeout_at",
    }
)


@dataclass(frozen=True, slots=True)
class Incident:
    """A stored incident. `amount`, `currency` and `customer_reference` are those of its receipt.

    1. `acknowledged_by` and `assignee` are names: an e-mail address, or the label of a key. None:
       there is none, or the account is deleted.
    2. `acknowledged_until` is when the acknowledgement ends; None without one.
    3. While it is snoozed, no alert about it is sent: until `snoozed_until`, or a failed repair.
    4. `superseded_by` is a later event of the same reference that makes a repair doubtful.
    5. `muted`: its group was muted when it was read.
    """

    id: IncidentId
    event_id: EventId
    project_id: ProjectId
    state: IncidentState | str
    reason: Reason | str
    error_code: str | None
    error_message: str | None
    opened_at: datetime
    acknowledged_at: datetime | None
    resolved_at: datetime | None
    resolution: Resolution | str | None
    active_replay_id: ReplayId | None
    resolving_replay_id: ReplayId | None
    amount: int | None = None
    currency: str | None = None
    customer_reference: str | None = None
    assignee: str | None = None
    acknowledged_by: str | None = None
    acknowledged_until: datetime | None = None
    snoozed_until: datetime | None = None
    superseded_by: EventId | None = None
    group_id: GroupId | None = None
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed call of the repair URL.

    `status` and `duration_ms` are None while it runs; `error_class` names a failure.
    `answer_excerpt` is the beginning of the answer's body, None without one. `next_attempt_at` is
    when the next attempt is due, None when none follows.
    """

    number: int
    at: datetime
    state: AttemptState | str
    status: int | None
    duration_ms: int | None
    error_class: str | None
    answer_excerpt: str | None = None
    next_attempt_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SentCallback:
    """What Makegood sent in one attempt of a repair, and the beginning of the answer.

    `headers` are those of the request in their order; empty for an attempt of an earlier version.
    """

    attempt: Attempt
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RepairCallback:
    """The callback of a repair: its body, and every attempt to send it.

    `body` is the same text in every attempt; None before the first one.
    """

    repair: "Repair"
    body: str | None
    sent: tuple[SentCallback, ...]


@dataclass(frozen=True, slots=True)
class Repair:
    """One repair, identified by its `replay_id`.

    `requested_by` is an id, never an address. `result_deadline_at` is None until the callback is
    accepted.
    """

    replay_id: ReplayId
    incident_id: IncidentId
    event_id: EventId
    state: RepairState | str
    cause: RepairCause | str | None
    requested_by: str
    requested_at: datetime
    result_deadline_at: datetime | None
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One entry of a receipt's timeline.

    `fields` depend on its kind and hold JSON values; those that `TIMELINE_INSTANTS` names are
    aware instants.
    """

    at: datetime
    kind: TimelineKind | str
    fields: dict[str, object]
