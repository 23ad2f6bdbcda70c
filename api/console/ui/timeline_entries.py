"""Texts of timeline entries: one function for each kind of entry. Pure.

An entry of an unknown kind, written by a newer version, is shown under its own name with all its
fields.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from api.console.ui import labels

# The REST shape of an entry or an event. Values are of any JSON type.
Json = Mapping[str, Any]
FACT_LABELS = {
    "replay_id": "Repair",
    "timeout_at": "Deadline",
    "deadline_at": "Deadline",
    "down_from": "Unavailable since",
}


@dataclass(frozen=True, slots=True)
class TimelineText:
    """The rendered text of one entry. `facts` are pairs of label and value."""

    icon: str
    tone: str
    title: str
    detail: str = ""
    facts: tuple[tuple[str, str], ...] = ()


def render_entry(entry: Json) -> TimelineText:
    """Render one entry."""
    renderer = RENDERERS.get(str(entry["kind"]))
    return _unknown(entry) if renderer is None else renderer(entry)


def _receipt_accepted(entry: Json) -> TimelineText:
    return TimelineText(
        "inbox",
        "wait",
        "Receipt accepted",
        "The app accepted the payment event and must report the result before the deadline.",
        _facts(entry, "timeout_at", "request_id"),
    )


def _result_received(entry: Json) -> TimelineText:
    facts = _facts(entry, "error_code", "replay_id", "repeats", "repeated_at")
    if entry.get("status") == "success":
        return TimelineText(
            "check", "good", "Success reported", "The app applied the effect.", facts
        )
    return TimelineText(
        "cross", "bad", "Failure reported", str(entry.get("error_message") or ""), facts
    )


def _deadline_credited(entry: Json) -> TimelineText:
    detail = (
        "Makegood could not receive results for a while. The deadline was extended by that time."
    )
    seconds = entry.get("credited_seconds")
    credited = () if seconds is None else (("Extended by", labels.exact_duration(float(seconds))),)
    facts = (*credited, *_facts(entry, "down_from"))
    return TimelineText("clock", "quiet", "Deadline extended", detail, facts)


def _deadline_passed(entry: Json) -> TimelineText:
    return TimelineText(
        "clock", "bad", "Deadline passed", "No result was received.", _facts(entry, "deadline_at")
    )


def _incident_opened(entry: Json) -> TimelineText:
    reason = str(entry.get("reason") or "")
    return TimelineText(
        "alert",
        "bad",
        "Incident opened",
        labels.REASONS.get(reason, labels.humanize(reason)),
        _facts(entry, "error_code"),
    )


def _alert_sent(entry: Json) -> TimelineText:
    return TimelineText("mail", "quiet", "Alert sent", _recipient(entry), _alert_subject(entry))


def _alert_failed(entry: Json) -> TimelineText:
    if entry.get("final"):
        return _alert_given_up(entry)
    detail = "It is retried until the mail server accepts it."
    facts = (*_alert_subject(entry), *_facts(entry, "error", "error_class", "last_error"))
    return TimelineText("mail", "bad", "Alert not sent yet", _recipient(entry) or detail, facts)


def _alert_given_up(entry: Json) -> TimelineText:
    """A failed alert that is not retried.

    Its tone is `bad` if somebody should still have been notified.
    """
    reason = str(entry.get("reason") or "")
    detail = " ".join(
        part
        for part in (_recipient(entry), labels.ALERT_ENDS.get(reason, labels.humanize(reason)))
        if part
    )
    tone = "quiet" if reason in labels.QUIET_ALERT_ENDS else "bad"
    facts = (*_alert_subject(entry), *_facts(entry, "tries", "error"))
    return TimelineText("mail", tone, "Alert not delivered", detail, facts)


def _reprocess_requested(entry: Json) -> TimelineText:
    return TimelineText(
        "repair", "busy", "Reprocess requested", _actor(entry), _facts(entry, "replay_id")
    )


def _attempt(entry: Json) -> TimelineText:
    number, status, error = entry.get("number"), entry.get("status"), entry.get("error_class")
    took = entry.get("duration_ms")
    facts = (
        *_facts(entry, "replay_id"),
        *((("Took", labels.exact_duration(took / 1000)),) if took is not None else ()),
    )
    if status is not None and 200 <= status < 300:
        return TimelineText(
            "send",
            "good",
            f"Repair call {number}: HTTP {status}",
            "The repair endpoint accepted the call.",
            facts,
        )
    if status is not None:
        return TimelineText(
            "send", "bad", f"Repair call {number}: HTTP {status}", labels.call_error(error), facts
        )
    if error:
        return TimelineText(
            "send", "bad", f"Repair call {number}: no response", labels.call_error(error), facts
        )
    return TimelineText("send", "busy", f"Repair call {number} sent", "", facts)


def _repair_failed(entry: Json) -> TimelineText:
    return TimelineText(
        "cross",
        "bad",
        "Repair failed",
        labels.repair_cause(entry.get("cause")),
        _facts(entry, "replay_id"),
    )


def _incident_acknowledged(entry: Json) -> TimelineText:
    return TimelineText(
        "eye", "quiet", "Incident acknowledged", _actor(entry) or "Someone is investigating."
    )


def _incident_resolved(entry: Json) -> TimelineText:
    how, reason = str(entry.get("resolution") or ""), str(entry.get("reason") or "")
    facts = _facts(entry, "replay_id")
    if how == "manual":
        by = entry.get("requested_by")
        who = f" by {labels.short_id(str(by))}" if by else ""
        why = f": “{reason}”" if reason else "."
        return TimelineText(
            "flag", "quiet", "Incident resolved", f"Resolved manually{who}{why}", facts
        )
    return TimelineText(
        "check",
        "good",
        "Incident resolved",
        labels.RESOLUTIONS.get(how, labels.humanize(how)),
        facts,
    )


def _noted(entry: Json) -> TimelineText:
    facts = _facts(
        entry, *(name for name in entry if name not in ("at", "kind", "text", "requested_by"))
    )
    detail = " ".join(part for part in (str(entry.get("text") or ""), _actor(entry)) if part)
    return TimelineText("note", "quiet", "Note added", detail, facts)


def _flagged(entry: Json) -> TimelineText:
    flag = str(entry.get("flag") or "")
    return TimelineText(
        "flag",
        "bad",
        f"Flagged: {labels.humanize(flag).lower()}",
        labels.FLAGS.get(flag, ""),
        _facts(entry, "replay_id"),
    )


def _unknown(entry: Json) -> TimelineText:
    return TimelineText("note", "quiet", labels.humanize(str(entry["kind"])), "", _all_facts(entry))


def _alert_subject(entry: Json) -> tuple[tuple[str, str], ...]:
    kind = str(entry.get("alert_kind") or entry.get("alert") or "")
    return (("About", labels.ALERTS.get(kind, labels.humanize(kind))),) if kind else ()


def _actor(entry: Json) -> str:
    """Who requested it. `render` has replaced the viewer's own id with `you`."""
    by = entry.get("requested_by")
    return f"By {labels.short_id(str(by))}." if by else ""


def _recipient(entry: Json) -> str:
    to = entry.get("destination") or entry.get("to")
    return f"To {to}." if to else ""


def _facts(entry: Json, *names: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (_label(name), _value(name, entry[name]))
        for name in names
        if entry.get(name) not in (None, "")
    )


def _all_facts(entry: Json) -> tuple[tuple[str, str], ...]:
    return _facts(entry, *(name for name in entry if name not in ("at", "kind")))


def _label(name: str) -> str:
    return FACT_LABELS.get(name, labels.humanize(name))


def _value(name: str, value: object) -> str:
    if name.endswith("_at") or name == "down_from":
        return labels.format_instant(str(value))
    return labels.short_id(str(value)) if name in ("replay_id", "incident_id") else str(value)


RENDERERS: Mapping[str, Callable[[Json], TimelineText]] = {
    "receipt_accepted": _receipt_accepted,
    "result_received": _result_received,
    "deadline_credited": _deadline_credited,
    "deadline_passed": _deadline_passed,
    "incident_opened": _incident_opened,
    "alert_sent": _alert_sent,
    "alert_failed": _alert_failed,
    "reprocess_requested": _reprocess_requested,
    "attempt": _attempt,
    "repair_failed": _repair_failed,
    "incident_acknowledged": _incident_acknowledged,
    "incident_resolved": _incident_resolved,
    "noted": _noted,
    "flagged": _flagged,
}
