"""Labels of states, reasons and causes; formats of durations, instants and ids. Pure."""

from collections.abc import Mapping
from datetime import UTC, date, datetime

from domain.incidents import (
    UNREACHED_ENDS,
    AlertEnd,
    AlertKind,
    IncidentState,
    Reason,
    RepairCause,
    RepairState,
    Resolution,
)
from domain.receipts import Flag, ReceiptState
from domain.retries import ErrorClass
from domain.sources.source import SourceState
from domain.values.timestamps import to_iso

STATE_LABELS: Mapping[str, str] = {
    ReceiptState.EXPECTED: "Expected",
    ReceiptState.WAITING: "Waiting",
    ReceiptState.APPLIED: "Applied",
    ReceiptState.INCIDENT: "Incident",
    ReceiptState.RECOVERED: "Recovered",
    ReceiptState.CLOSED: "Closed",
    IncidentState.OPEN: "Open",
    IncidentState.REPAIRING: "Repairing",
    IncidentState.RESOLVED: "Resolved",
    RepairState.CALLING: "Calling",
    RepairState.AWAITING_RESULT: "Awaiting result",
    RepairState.SUCCEEDED: "Succeeded",
    RepairState.FAILED: "Failed",
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
    RepairState.CALLING: "busy",
    RepairState.AWAITING_RESULT: "busy",
    RepairState.SUCCEEDED: "good",
    RepairState.FAILED: "bad",
    SourceState.NEW: "wait",
    SourceState.HEALTHY: "good",
    SourceState.SILENT: "bad",
    SourceState.FAILING: "bad",
    SourceState.PAUSED: "quiet",
}
REASONS: Mapping[str, str] = {
    Reason.MISSING_RESULT: "No result before the deadline",
    Reason.MISSING_RECEIPT: "No receipt of an event at the provider",
    Reason.FAILED_RESULT: "The app reported a failure",
}
RESOLUTIONS: Mapping[str, str] = {
    Resolution.REPAIRED: "Repaired",
    Resolution.LATE_RESULT: "Resolved by a late result",
    Resolution.ALREADY_APPLIED: "Effect was already applied",
    Resolution.MANUAL: "Resolved manually",
}
CAUSES: Mapping[str, str] = {
    RepairCause.REJECTED: "The repair endpoint rejected the call",
    RepairCause.EXHAUSTED: "All calls to the repair endpoint failed",
    RepairCause.NO_RESULT: "The endpoint accepted the call, but no result arrived before the "
    "deadline",
    RepairCause.FAILED_RESULT: "The app reported that the repair failed",
    RepairCause.REPAIR_URL_MISSING: "The project has no repair URL",
    RepairCause.SUPERSEDED: "The app reported success without this repair",
    RepairCause.CLOSED: "The incident was resolved manually",
}
ERROR_CLASSES: Mapping[str, str] = {
    ErrorClass.NO_PERMITTED_ADDRESS: "The host has no address that Makegood may call",
    ErrorClass.CONNECT_FAILED: "Connection failed",
    ErrorClass.TLS_FAILED: "TLS handshake failed",
    ErrorClass.TIMEOUT: "Timed out",
    ErrorClass.CONNECTION_RESET: "Connection reset",
    ErrorClass.PROTOCOL_ERROR: "Invalid HTTP response",
    ErrorClass.UNKNOWN: "Outcome unknown: the worker stopped",
}
ALERTS: Mapping[str, str] = {
    AlertKind.INCIDENT_OPENED: "Incident opened",
    AlertKind.REPAIR_FAILED: "Repair failed",
    AlertKind.INCIDENT_RESOLVED: "Incident resolved",
    AlertKind.INCIDENT_ASSIGNED: "Assignment",
    AlertKind.INCIDENT_ACKNOWLEDGED: "Incident acknowledged",
    AlertKind.DESTINATION_FAILING: "Alerts to another destination are failing",
    AlertKind.SOURCE_SILENT: "A source is failing or silent",
    AlertKind.EARLY_RESULTS_UNCLAIMED: "Results have no receipt",
    AlertKind.PROJECT_SILENT: "No receipts came",
}
ALERT_ENDS: Mapping[str, str] = {
    AlertEnd.REFUSED: "It was refused permanently.",
    AlertEnd.TIMED_OUT: "Every attempt failed for 24 hours.",
    AlertEnd.ADDRESS_REFUSED: "The address is invalid. Correct it in the project's settings.",
    AlertEnd.ADDRESS_REMOVED: "The destination was removed from the project.",
    AlertEnd.DESTINATION_DISABLED: "The destination is disabled.",
    AlertEnd.INCIDENT_OVER: "The incident was resolved before the alert could be sent.",
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
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def browser_name(user_agent: str) -> str:
    """The browser of a User-Agent header, as in `Firefox on Linux`.

    The first match of each table counts.
    """
    name = next((label for mark, label in BROWSERS if mark in user_agent), "")
    system = next((label for mark, label in SYSTEMS if mark in user_agent), "")
    return f"{name or 'Unknown browser'} on {system}" if system else name or "Unknown browser"


def humanize(name: str | None) -> str:
    """An enum value as words: `access_unlock` becomes `Access unlock`. Empty for None."""
    return (name or "").replace("_", " ").capitalize()


def age(at: datetime | None, now: datetime) -> str:
    """The age in its largest unit: `now`, `42 s`, `5 min`, `3 h`, `12 d`. Empty for None."""
    return "" if at is None else coarse_duration((now - at).total_seconds())


def time_left(until: datetime, now: datetime) -> str:
    """The time left in its largest unit. `now` if it has passed."""
    return coarse_duration((until - now).total_seconds())


def coarse_duration(seconds: float) -> str:
    """A duration in its largest unit."""
    for size, unit in UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s" if seconds >= 1 else "now"


def exact_duration(seconds: float) -> str:
    """A duration in its two largest units, or with decimals: `31 min 4 s`, `2.41 s`, `83 ms`."""
    if seconds < 0.9995:
        return f"{round(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    seconds = max(seconds, 60)
    for (size, unit), (small, small_unit) in zip(UNITS, (*UNITS[1:], (1, "s")), strict=True):
        if seconds >= size:
            rest = int(seconds % size // small)
            return (
                f"{int(seconds // size)} {unit} {rest} {small_unit}"
                if rest
                else f"{int(seconds // size)} {unit}"
            )
    raise AssertionError("unreachable: a minute is the smallest unit")


def format_date(at: datetime) -> str:
    """The date in UTC, as in `23 Nov 2026`."""
    return f"{at.astimezone(UTC):%-d %b %Y}"


def format_day(day: date) -> str:
    """A day, as in `23 Nov 2026`."""
    return f"{day:%-d %b %Y}"


def format_time(at: datetime) -> str:
    """The time of day in UTC, as in `11:13:55`."""
    return f"{at.astimezone(UTC):%H:%M:%S}"


def format_instant(at: datetime | None) -> str:
    """Date and time, as in `23 Nov 2026, 11:13:55 UTC`. A dash for None."""
    return "–" if at is None else f"{format_date(at)}, {format_time(at)} UTC"


def datetime_attribute(at: datetime) -> str:
    """The instant as the `datetime` attribute of a `time` element."""
    return to_iso(at)


def short_id(identifier: str) -> str:
    """The prefix and the last eight characters of an id."""
    prefix, _, rest = identifier.rpartition("_")
    return f"{prefix}_…{rest[-8:]}" if prefix and len(rest) > 12 else identifier


def person(identifier: str, names: Mapping[str, str], *, viewer_id: str) -> str:
    """A user or a key by name, never by its id. Other actors are named as they are."""
    if identifier == viewer_id:
        return "you"
    for prefix, gone in (("usr_", "a deleted account"), ("key_", "a deleted key")):
        if identifier.startswith(prefix):
            name = names.get(identifier, gone)
            return f"the key {name}" if prefix == "key_" and identifier in names else name
    return {"cli": "the command line", "temporal": "a signal in Temporal"}.get(
        identifier, short_id(identifier)
    )


def format_minutes(value: float) -> str:
    """A number of minutes as a duration: `30 min`, `1 h`, `0.6 s`."""
    seconds = float(value) * 60
    return f"{seconds:g} s" if seconds < 60 else exact_duration(seconds)


def repair_cause(name: str | None) -> str:
    """The text of a repair's failure cause."""
    return CAUSES.get(name or "", humanize(name))


def call_error(name: str | None) -> str:
    """The text of the error of a repair call."""
    return ERROR_CLASSES.get(name or "", humanize(name))
