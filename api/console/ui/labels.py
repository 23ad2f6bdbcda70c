"""How the console says things: states, effects, reasons, ages and durations. Pure: text in, text out, no clock of its own."""

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
# Tone decides colour and shape of a chip; the text is always there too.
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
    "missing_result": "No result in time",
    "failed_result": "The app reported a failure",
}
RESOLUTIONS = {
    "repaired": "Repaired",
    "late_result": "The result came late",
    "manual": "Resolved by hand",
}
CAUSES = {
    "rejected": "The repair endpoint declined the call",
    "exhausted": "No call got through, and the schedule is at its end",
    "no_result": "The call was taken, but no result came in time",
    "failed_result": "The app reported that the repair failed",
    "repair_url_missing": "The project has no repair URL",
    "superseded": "Success came another way",
    "closed": "The incident was resolved by hand",
}
ERROR_CLASSES = {
    "no_permitted_address": "The host has no address that may be called",
    "connect_failed": "No connection",
    "tls_failed": "TLS failed",
    "timeout": "Timeout",
    "connection_reset": "Connection broke",
    "protocol_error": "Not an HTTP answer",
    "unknown": "Unknown: the worker stopped",
}
ALERTS = {
    "incident_opened": "Incident opened",
    "repair_failed": "Repair failed",
    "incident_resolved": "Incident resolved",
    "destination_failing": "Alerts to another address fail",
}
ALERT_ENDS = {
    "refused": "The mail server refused it for good.",
    "timed_out": "It failed at every try of a day.",
    "address_refused": "No mail server takes this address: correct it in the project's settings.",
    "address_removed": "The address is no longer on the project's list.",
    "incident_over": "The incident was resolved before the mail could be sent.",
}
QUIET_ALERT_ENDS = frozenset({"address_removed", "incident_over"})
FLAGS = {
    "double_application": "Two different reports of success came in: check that the customer did not get it twice.",
    "contradiction": "A failure was reported after a success: check which is true.",
    "late_success": "The app reported success after this was resolved by hand: check that it was not done twice.",
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


def browser(user_agent: str) -> str:
    """`Firefox on Linux`, as far as the browser says so; the name that comes first here is the one that it goes by."""
    name = next((told for mark, told in BROWSERS if mark in user_agent), "")
    system = next((told for mark, told in SYSTEMS if mark in user_agent), "")
    return f"{name or 'A browser'} on {system}" if system else name or "Something that is no known browser"


def words(name: str | None) -> str:
    """`access_unlock` as `Access unlock`; an empty text for None."""
    return (name or "").replace("_", " ").capitalize()


def instant(text: str) -> datetime:
    """The aware moment that a wire instant names."""
    return datetime.fromisoformat(text)


def since(text: str | None, now: datetime) -> str:
    """How long ago, coarse: `now`, `42 s`, `5 min`, `3 h`, `12 d`; empty for None."""
    return "" if text is None else span((now - instant(text)).total_seconds())


def until(text: str, now: datetime) -> str:
    """How long from now, coarse; `now` once it has passed."""
    return span((instant(text) - now).total_seconds())


def span(seconds: float) -> str:
    """A length of time in its largest unit."""
    for size, unit in UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s" if seconds >= 1 else "now"


def exact_span(seconds: float) -> str:
    """A length of time in its two largest units, finer below a minute: `31 min 4 s`, `2.41 s`, `83 ms`."""
    if seconds < 0.9995:
        return f"{round(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    seconds = max(seconds, 60)
    for (size, unit), (small, small_unit) in zip(UNITS, (*UNITS[1:], (1, "s")), strict=True):
        if seconds >= size:
            rest = int(seconds % size // small)
            return f"{int(seconds // size)} {unit} {rest} {small_unit}" if rest else f"{int(seconds // size)} {unit}"
    raise AssertionError("unreachable: a minute is the smallest unit")


def day(text: str) -> str:
    """`23 Nov 2026`, UTC."""
    return f"{instant(text).astimezone(UTC):%-d %b %Y}"


def clock(text: str) -> str:
    """`11:13:55`, UTC."""
    return f"{instant(text).astimezone(UTC):%H:%M:%S}"


def moment(text: str | None) -> str:
    """`23 Nov 2026, 11:13:55 UTC`; a dash for None."""
    return f"{day(text)}, {clock(text)} UTC" if text else "–"


def short_id(identifier: str) -> str:
    """The id's prefix and its last eight characters, enough to tell two apart."""
    prefix, _, rest = identifier.rpartition("_")
    return f"{prefix}_…{rest[-8:]}" if prefix and len(rest) > 12 else identifier


def minutes(value: float) -> str:
    """Minutes as one says them: `30 min`, `1 h`, `0.6 s`."""
    seconds = float(value) * 60
    return f"{seconds:g} s" if seconds < 60 else exact_span(seconds)


def cause(name: str | None) -> str:
    """Why a repair failed."""
    return CAUSES.get(name or "", words(name))


def error_class(name: str | None) -> str:
    """Why a call got no answer."""
    return ERROR_CLASSES.get(name or "", words(name))
