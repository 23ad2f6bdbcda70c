"""Texts of timeline entries: a function for each kind of entry that needs its own. Pure.

An entry of another kind is shown under the name of its kind with all its fields. This is enough for
a kind without a text of its own, and for one that a newer version has written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.console.ui import labels
from domain.incidents import Resolution, TimelineEntry, TimelineKind
from domain.results import ResultStatus

# The fields of an entry. Any: JSON values and instants, by the kind of the entry.
Fields = Mapping[str, Any]
FACT_LABELS = {
    "replay_id": "Repair",
    "timeout_at": "Deadline",
    "deadline_at": "Deadline",
    "down_from": "Unavailable since",
    "next_attempt_at": "Next call",
}


@dataclass(frozen=True, slots=True)
class TimelineText:
    """One timeline entry in words, as the event's page shows it.

    `facts` are pairs of label and value. `is_now`: as a next step, it is under way. `at` is when it
    is due, None if it has no time.
    """

    icon: str
    tone: str
    title: str
    detail: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    is_now: bool = True
    at: datetime | None = None


def render_entry(entry: TimelineEntry) -> TimelineText:
    """Render one entry of a receipt's timeline."""
    renderer = RENDERERS.get(entry.kind)
    return _by_its_name(entry) if renderer is None else renderer(entry.fields)


def _receipt_accepted(fields: Fields) -> TimelineText:
    return TimelineText(
        "inbox",
        "wait",
        "Receipt accepted",
        "Your app accepted the event. The result is due before the deadline.",
        _facts(fields, "timeout_at", "request_id"),
    )


def _result_received(fields: Fields) -> TimelineText:
    facts = _facts(fields, "error_code", "replay_id", "request_id", "repeats", "repeated_at")
    if fields.get("status") == ResultStatus.SUCCESS:
        is_found = fields.get("already_applied") is True
        detail = "The app found the effect applied." if is_found else "The app applied the effect."
        return TimelineText("check", "good", "Success reported", detail, facts)
    return TimelineText(
        "cross", "bad", "Failure reported", str(fields.get("error_message") or ""), facts
    )


def _deadline_credited(fields: Fields) -> TimelineText:
    detail = "Makegood was unavailable; the deadline was extended."
    seconds = fields.get("credited_seconds")
    credited = () if seconds is None else (("Extended by", labels.exact_duration(float(seconds))),)
    facts = (*credited, *_facts(fields, "down_from"))
    return TimelineText("clock", "quiet", "Deadline extended", detail, facts)


def _deadline_passed(fields: Fields) -> TimelineText:
    return TimelineText(
        "clock",
        "bad",
        "Deadline passed",
        "Nothing was received in time.",
        _facts(fields, "deadline_at"),
    )


def _incident_opened(fields: Fields) -> TimelineText:
    reason = str(fields.get("reason") or "")
    return TimelineText(
        "alert",
        "bad",
        "Incident opened",
        labels.REASONS.get(reason, labels.humanize(reason)),
        _facts(fields, "error_code"),
    )


def _alert_sent(fields: Fields) -> TimelineText:
    return TimelineText("mail", "quiet", "Alert sent", _recipient(fields), _alert_subject(fields))


def _alert_failed(fields: Fields) -> TimelineText:
    if fields.get("final"):
        return _alert_given_up(fields)
    detail = "It is retried until the mail server accepts it."
    facts = (*_alert_subject(fields), *_facts(fields, "error"))
    return TimelineText("mail", "bad", "Alert not sent yet", _recipient(fields) or detail, facts)


def _alert_given_up(fields: Fields) -> TimelineText:
    """A failed alert that is not retried.

    Its tone is `bad` if somebody should still have been notified.
    """
    reason = str(fields.get("reason") or "")
    detail = " ".join(
        part
        for part in (_recipient(fields), labels.ALERT_ENDS.get(reason, labels.humanize(reason)))
        if part
    )
    tone = "quiet" if reason in labels.QUIET_ALERT_ENDS else "bad"
    facts = (*_alert_subject(fields), *_facts(fields, "tries", "error"))
    return TimelineText("mail", tone, "Alert not delivered", detail, facts)


def _reprocess_requested(fields: Fields) -> TimelineText:
    return TimelineText(
        "repair", "busy", "Repair requested", _actor(fields), _facts(fields, "replay_id")
    )


def _attempt(fields: Fields) -> TimelineText:
    number, status, error = fields.get("number"), fields.get("status"), fields.get("error_class")
    took = fields.get("duration_ms")
    facts = (
        *_facts(fields, "replay_id"),
        *((("Took", labels.exact_duration(took / 1000)),) if took is not None else ()),
        *_facts(fields, "next_attempt_at"),
    )
    if status is not None and 200 <= status < 300:
        return TimelineText(
            "send",
            "good",
            f"Repair call {number}: HTTP {status}",
            "Endpoint accepted the call.",
            facts,
        )
    answer = str(fields.get("answer_excerpt") or "")
    if status is not None:
        return TimelineText("send", "bad", f"Repair call {number}: HTTP {status}", answer, facts)
    if error:
        return TimelineText(
            "send", "bad", f"Repair call {number}: no response", labels.call_error(error), facts
        )
    return TimelineText("send", "busy", f"Repair call {number} sent", "", facts)


def _repair_failed(fields: Fields) -> TimelineText:
    return TimelineText(
        "cross",
        "bad",
        "Repair failed",
        labels.repair_cause(fields.get("cause")),
        _facts(fields, "replay_id"),
    )


def _incident_acknowledged(fields: Fields) -> TimelineText:
    return TimelineText(
        "eye", "quiet", "Incident acknowledged", _actor(fields) or "Someone is investigating."
    )


def _incident_resolved(fields: Fields) -> TimelineText:
    how, reason = str(fields.get("resolution") or ""), str(fields.get("reason") or "")
    facts = _facts(fields, "replay_id")
    if how == Resolution.MANUAL:
        by = fields.get("requested_by")
        who = f" by {labels.short_id(str(by))}" if by else ""
        why = f": “{reason}”" if reason else "."
        return TimelineText(
            "flag",
            "quiet",
            labels.state_label("resolved", how),
            f"Resolved manually{who}{why}",
            facts,
        )
    return TimelineText(
        "check",
        "good",
        labels.state_label("resolved", how or None),
        labels.resolution_label(how),
        facts,
    )


def _noted(fields: Fields) -> TimelineText:
    facts = _facts(fields, *(name for name in fields if name not in ("text", "requested_by")))
    detail = " ".join(part for part in (str(fields.get("text") or ""), _actor(fields)) if part)
    return TimelineText("note", "quiet", "Note added", detail, facts)


def _flagged(fields: Fields) -> TimelineText:
    flag = str(fields.get("flag") or "")
    return TimelineText(
        "flag",
        "bad",
        f"Flagged: {labels.humanize(flag).lower()}",
        labels.FLAGS.get(flag, ""),
        _facts(fields, "replay_id"),
    )


def _by_its_name(entry: TimelineEntry) -> TimelineText:
    facts = _facts(entry.fields, *(name for name in entry.fields if name != "requested_by"))
    return TimelineText("note", "quiet", labels.humanize(entry.kind), _actor(entry.fields), facts)


def _alert_subject(fields: Fields) -> tuple[tuple[str, str], ...]:
    kind = str(fields.get("alert_kind") or "")
    return (("About", labels.ALERTS.get(kind, labels.humanize(kind))),) if kind else ()


def _actor(fields: Fields) -> str:
    """Who requested it. `render` has replaced the viewer's own id with `you`."""
    by = fields.get("requested_by")
    return f"By {labels.short_id(str(by))}." if by else ""


def _recipient(fields: Fields) -> str:
    to = fields.get("destination")
    return f"To {to}." if to else ""


def _facts(fields: Fields, *names: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (_label(name), _value(name, fields[name]))
        for name in names
        if fields.get(name) not in (None, "")
    )


def _label(name: str) -> str:
    return FACT_LABELS.get(name, labels.humanize(name))


def _value(name: str, value: object) -> str:
    if isinstance(value, datetime):
        return labels.format_instant(value)
    return labels.short_id(str(value)) if name in ("replay_id", "incident_id") else str(value)


RENDERERS: Mapping[str, Callable[[Fields], TimelineText]] = {
    TimelineKind.RECEIPT_ACCEPTED: _receipt_accepted,
    TimelineKind.RESULT_RECEIVED: _result_received,
    TimelineKind.DEADLINE_CREDITED: _deadline_credited,
    TimelineKind.DEADLINE_PASSED: _deadline_passed,
    TimelineKind.INCIDENT_OPENED: _incident_opened,
    TimelineKind.ALERT_SENT: _alert_sent,
    TimelineKind.ALERT_FAILED: _alert_failed,
    TimelineKind.REPROCESS_REQUESTED: _reprocess_requested,
    TimelineKind.ATTEMPT: _attempt,
    TimelineKind.REPAIR_FAILED: _repair_failed,
    TimelineKind.INCIDENT_ACKNOWLEDGED: _incident_acknowledged,
    TimelineKind.INCIDENT_RESOLVED: _incident_resolved,
    TimelineKind.NOTED: _noted,
    TimelineKind.FLAGGED: _flagged,
}
