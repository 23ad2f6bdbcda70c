"""Labels of states, reasons and causes; formats of durations and ids. Pure.

Instants are formatted by `domain.wording.dates`, as their reader sees them.
"""

from collections.abc import Mapping
from datetime import datetime

from domain.incidents import (
    UNREACHED_ENDS,
    AlertEnd,
    AlertKind,
    IncidentState,
    RepairState,
)
from domain.receipts import Flag, ReceiptState
from domain.repairing.bulk import BulkState, ItemState, SkipReason
from domain.sources.source import SourceState
from domain.values.durations import coarse_duration as coarse_duration
from domain.values.durations import exact_duration as exact_duration
from domain.values.timestamps import to_iso
from domain.wording import states as words
from domain.wording.states import CAUSES as CAUSES
from domain.wording.states import ERROR_CLASSES as ERROR_CLASSES
from domain.wording.states import REASONS as REASONS
from domain.wording.states import call_error as call_error
from domain.wording.states import humanize as humanize
from domain.wording.states import reason_label as reason_label
from domain.wording.states import repair_cause as repair_cause
from domain.wording.states import resolution_label as resolution_label
from domain.wording.states import short_reason as short_reason
from domain.wording.states import state_label as state_label

STATE_LABELS: Mapping[str, str] = {
    **words.STATES,
    BulkState.RUNNING: "Running",
    BulkState.STOPPED: "Stopped itself",
    BulkState.FINISHED: "Finished",
    BulkState.ABORTED: "Aborted",
    ItemState.SKIPPED: "Skipped",
    SourceState.NEW: "New",
    SourceState.HEALTHY: "Working",
    SourceState.SILENT: "Silent",
    SourceState.FAILING: "Failing",
    SourceState.PAUSED: "Paused",
}
# The tone decides colour and shape of a chip. The text is always shown too.
STATE_TONES: Mapping[str, str] = {
    ReceiptState.EXPECTED: "wait",
    ReceiptState.WAITING: "wait",
    ReceiptState.APPLIED: "good",
    ReceiptState.INCIDENT: "bad",
    ReceiptState.RECOVERED: "good",
    ReceiptState.CLOSED: "quiet",
    IncidentState.OPEN: "bad",
    IncidentState.REPAIRING: "busy",
    IncidentState.RESOLVED: "good",
    RepairState.HELD: "wait",
    RepairState.CALLING: "busy",
    RepairState.AWAITING_RESULT: "busy",
    RepairState.SUCCEEDED: "good",
    RepairState.FAILED: "bad",
    BulkState.RUNNING: "busy",
    BulkState.STOPPED: "bad",
    BulkState.FINISHED: "good",
    BulkState.ABORTED: "quiet",
    ItemState.SKIPPED: "quiet",
    SourceState.NEW: "wait",
    SourceState.HEALTHY: "good",
    SourceState.SILENT: "bad",
    SourceState.FAILING: "bad",
    SourceState.PAUSED: "quiet",
}
RESOLUTIONS = words.RESOLVED
SKIP_REASONS: Mapping[str, str] = {
    SkipReason.INCIDENT_RESOLVED: "Already resolved",
    SkipReason.ALREADY_REPAIRING: "Another repair was running",
    SkipReason.SUPERSEDED: "A later event makes the repair doubtful",
    SkipReason.REPAIR_URL_MISSING: "The project has no repair URL",
    SkipReason.CLOSED: "Resolved manually meanwhile",
    SkipReason.STOPPED: "Its repair was stopped",
    SkipReason.NOT_FOUND: "Deleted with its project",
    SkipReason.NOT_BEGUN: "It could not begin. See the worker's log",
}
ALERTS: Mapping[str, str] = {
    AlertKind.INCIDENT_OPENED: "Incident opened",
    AlertKind.REPAIR_FAILED: "Repair failed",
    AlertKind.INCIDENT_RESOLVED: "Incident resolved",
    AlertKind.INCIDENT_ASSIGNED: "Assignment",
    AlertKind.GROUP_GREW: "More incidents of one cause opened",
    AlertKind.INCIDENT_ACKNOWLEDGED: "Incident acknowledged",
    AlertKind.DESTINATION_FAILING: "Alerts to another destination are failing",
    AlertKind.SOURCE_SILENT: "A source is failing or silent",
    AlertKind.EARLY_RESULTS_UNCLAIMED: "Results have no receipt",
    AlertKind.BULK_REPAIR_ENDED: "A bulk repair ended",
    AlertKind.RULE_DISARMED: "A rule of automatic repair disarmed itself",
    AlertKind.PROJECT_SILENT: "No receipts came",
}
ALERT_ENDS: Mapping[str, str] = {
    AlertEnd.REFUSED: "It was refused permanently.",
    AlertEnd.TIMED_OUT: "Every attempt failed for 24 hours.",
    AlertEnd.ADDRESS_REFUSED: "The address is invalid. Correct it in the project's settings.",
    AlertEnd.ADDRESS_REMOVED: "The destination was removed from the project.",
    AlertEnd.DESTINATION_DISABLED: "The destination is disabled.",
    AlertEnd.INCIDENT_OVER: "The incident was resolved before the alert could be sent.",
    AlertEnd.GROUP_MUTED: "The group of the incident is muted.",
}
QUIET_ALERT_ENDS = frozenset(AlertEnd) - UNREACHED_ENDS
FLAGS: Mapping[str, str] = {
    Flag.DOUBLE_APPLICATION: "Success was reported twice. Check the effect was not applied twice.",
    Flag.CONTRADICTION: "The app reported a failure after a success. Check which one is correct.",
    Flag.LATE_SUCCESS: "The app reported success after the incident was resolved manually. "
    "Check that the effect was not applied twice.",
}
# The checks of `/readyz`, in the words of the navigation.
CHECKS = {
    "alerts": "Alerts",
    "engine": "Temporal",
    "migrations": "Migrations",
    "projects": "Projects",
    "runs": "Workflows",
    "sources": "Sources",
    "store": "Database",
    "worker": "Worker",
}
# What prevents workflows from running, by the failed check. The first one that failed is shown.
STOPPED_PARTS = {
    "engine": "No worker reaches Temporal.",
    "worker": "No worker is running.",
}
BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def browser_name(user_agent: str) -> str:
    """The browser of a User-Agent header, as in `Firefox on Linux`.

    The first match of each table counts.
    """
    name = next((label for mark, label in BROWSERS if mark in user_agent), "")
    system = next((label for mark, label in SYSTEMS if mark in user_agent), "")
    return f"{name or 'Unknown browser'} on {system}" if system else name or "Unknown browser"


def first_line(text: str) -> str:
    """The first line of a message that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def age(at: datetime | None, now: datetime) -> str:
    """The age in its largest unit: `now`, `42 s`, `5 min`, `3 h`, `12 d`. Empty for None."""
    return "" if at is None else coarse_duration((now - at).total_seconds())


def time_left(until: datetime, now: datetime) -> str:
    """The time left in its largest unit. `now` if it has passed."""
    return coarse_duration((until - now).total_seconds())


def datetime_attribute(at: datetime) -> str:
    """The instant as the `datetime` attribute of a `time` element."""
    return to_iso(at)


def short_id(identifier: str) -> str:
    """The prefix and the last eight characters of an id."""
    prefix, _, rest = identifier.rpartition("_")
    return f"{prefix}_…{rest[-8:]}" if prefix and len(rest) > 12 else identifier


def person(identifier: str, names: Mapping[str, str], *, viewer_id: str) -> str:
    """A user, a key or a rule by name, never by its id. Other actors are named as they are."""
    if identifier == viewer_id:
        return "you"
    for prefix, gone in (("usr_", "a deleted account"), ("key_", "a deleted key")):
        if identifier.startswith(prefix):
            name = names.get(identifier, gone)
            return f"the key {name}" if prefix == "key_" and identifier in names else name
    if identifier.startswith("rule:"):
        return f"the rule {identifier.removeprefix('rule:')}"
    if identifier.startswith("blk_"):
        return f"the bulk repair {short_id(identifier)}"
    return {"cli": "the command line", "temporal": "a signal in Temporal"}.get(
        identifier, short_id(identifier)
    )


def format_minutes(value: float) -> str:
    """A number of minutes as a duration: `30 min`, `1 h`, `0.6 s`."""
    seconds = float(value) * 60
    return f"{seconds:g} s" if seconds < 60 else exact_duration(seconds)
