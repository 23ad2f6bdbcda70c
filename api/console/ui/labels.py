"""Labels of states, reasons and causes; formats of durations, instants and ids. Pure."""

from datetime import UTC, datetime

STATE_LABELS = {
    "waiting": "Waiting",
    "applied": "Applied",
    "incident": "Incident",
    "recovered": "Recovered",
    "closed": "Closed",
    "open": "Open",
    "repairing": "Repairing",
    "resolved": "Resolved",
    "calling": "Calling",
    "awaiting_result": "Awaiting result",
    "succeeded": "Succeeded",
    "failed": "Failed",
}
# The tone decides colour and shape of a chip. The text is always shown too.
STATE_TONES = {
    "waiting": "wait",
    "applied": "good",
    "incident": "bad",
    "recovered": "good",
    "closed": "quiet",
    "open": "bad",
    "repairing": "busy",
    "resolved": "good",
    "calling": "busy",
    "awaiting_result": "busy",
    "succeeded": "good",
    "failed": "bad",
}
REASONS = {
    "missing_result": "No result before the deadline",
    "failed_result": "The app reported a failure",
}
RESOLUTIONS = {
    "repaired": "Repaired",
    "late_result": "Resolved by a late result",
    "manual": "Resolved manually",
}
CAUSES = {
    "rejected": "The repair endpoint rejected the call",
    "exhausted": "All calls to the repair endpoint failed",
    "no_result": "The endpoint accepted the call, but no result arrived before the deadline",
    "failed_result": "The app reported that the repair failed",
    "repair_url_missing": "The project has no repair URL",
    "superseded": "The app reported success without this repair",
    "closed": "The incident was resolved manually",
}
ERROR_CLASSES = {
    "no_permitted_address": "The host has no address that Makegood may call",
    "connect_failed": "Connection failed",
    "tls_failed": "TLS handshake failed",
    "timeout": "Timed out",
    "connection_reset": "Connection reset",
    "protocol_error": "Invalid HTTP response",
    "unknown": "Outcome unknown: the worker stopped",
}
ALERTS = {
    "incident_opened": "Incident opened",
    "repair_failed": "Repair failed",
    "incident_resolved": "Incident resolved",
    "destination_failing": "Alerts to another address are failing",
}
ALERT_ENDS = {
    "refused": "The mail server rejected it permanently.",
    "timed_out": "Every attempt failed for 24 hours.",
    "address_refused": "The address is invalid. Correct it in the project's settings.",
    "address_removed": "The address was removed from the project.",
    "incident_over": "The incident was resolved before the email could be sent.",
}
QUIET_ALERT_ENDS = frozenset({"address_removed", "incident_over"})
FLAGS = {
    "double_application": "Success was reported twice. Check the effect was not applied twice.",
    "contradiction": "The app reported a failure after a success. Check which one is correct.",
    "late_success": "The app reported success after the incident was resolved manually. "
    "Check that the effect was not applied twice.",
}
# The checks of `/readyz`, in the words of the navigation.
CHECKS = {
    "alerts": "Alerts",
    "engine": "Temporal",
    "migrations": "Migrations",
    "runs": "Workflows",
    "store": "Database",
    "worker": "Worker",
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


def parse_instant(text: str) -> datetime:
    """The aware datetime of an ISO 8601 text."""
    return datetime.fromisoformat(text)


def age(text: str | None, now: datetime) -> str:
    """The age in its largest unit: `now`, `42 s`, `5 min`, `3 h`, `12 d`. Empty for None."""
    return "" if text is None else coarse_duration((now - parse_instant(text)).total_seconds())


def time_left(text: str, now: datetime) -> str:
    """The time left in its largest unit. `now` if it has passed."""
    return coarse_duration((parse_instant(text) - now).total_seconds())


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


def format_date(text: str) -> str:
    """The date in UTC, as in `23 Nov 2026`."""
    return f"{parse_instant(text).astimezone(UTC):%-d %b %Y}"


def format_time(text: str) -> str:
    """The time of day in UTC, as in `11:13:55`."""
    return f"{parse_instant(text).astimezone(UTC):%H:%M:%S}"


def format_instant(text: str | None) -> str:
    """Date and time, as in `23 Nov 2026, 11:13:55 UTC`. A dash for None."""
    return f"{format_date(text)}, {format_time(text)} UTC" if text else "–"


def short_id(identifier: str) -> str:
    """The prefix and the last eight characters of an id."""
    prefix, _, rest = identifier.rpartition("_")
    return f"{prefix}_…{rest[-8:]}" if prefix and len(rest) > 12 else identifier


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
