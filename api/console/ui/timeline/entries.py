"""Texts of timeline entries: a function for each kind of entry that needs its own. Pure.

An entry of another kind is shown under the name of its kind with all its fields. This is enough for
a kind without a text of its own, and for one that a newer version has written.
"""

from collections.abc import Callable, Mapping

from api.console.ui import labels
from api.console.ui.timeline.text import Fields, TimelineText, actor_text, facts_of
from api.console.ui.timeline.triage import TRIAGE_RENDERERS
from domain.alerts import CHANNEL_NAMES, AlertChannel, is_destination_id
from domain.incidents import Resolution, TimelineEntry, TimelineKind
from domain.results import ResultStatus


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
        facts_of(fields, "timeout_at", "request_id"),
    )


def _result_received(fields: Fields) -> TimelineText:
    facts = facts_of(fields, "error_code", "replay_id", "request_id", "repeats", "repeated_at")
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
    facts = (*credited, *facts_of(fields, "down_from"))
    return TimelineText("clock", "quiet", "Deadline extended", detail, facts)


def _deadline_passed(fields: Fields) -> TimelineText:
    return TimelineText(
        "clock",
        "bad",
        "Deadline passed",
        "Nothing was received in time.",
        facts_of(fields, "deadline_at"),
    )


def _incident_opened(fields: Fields) -> TimelineText:
    reason = str(fields.get("reason") or "")
    return TimelineText(
        "alert",
        "bad",
        "Incident opened",
        labels.REASONS.get(reason, labels.humanize(reason)),
        facts_of(fields, "error_code"),
    )


def _alert_sent(fields: Fields) -> TimelineText:
    return TimelineText("mail", "quiet", "Alert sent", _recipient(fields), _alert_subject(fields))


def _alert_failed(fields: Fields) -> TimelineText:
    if fields.get("final"):
        return _alert_given_up(fields)
    detail = "It is retried until the other side accepts it."
    facts = (*_alert_subject(fields), *facts_of(fields, "error"))
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
    facts = (*_alert_subject(fields), *facts_of(fields, "tries", "error"))
    return TimelineText("mail", tone, "Alert not delivered", detail, facts)


def _reprocess_requested(fields: Fields) -> TimelineText:
    return TimelineText(
        "repair", "busy", "Repair requested", actor_text(fields), facts_of(fields, "replay_id")
    )


def _attempt(fields: Fields) -> TimelineText:
    number, status, error = fields.get("number"), fields.get("status"), fields.get("error_class")
    took = fields.get("duration_ms")
    facts = (
        *facts_of(fields, "replay_id"),
        *((("Took", labels.exact_duration(took / 1000)),) if took is not None else ()),
        *facts_of(fields, "next_attempt_at"),
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
        facts_of(fields, "replay_id"),
    )


def _incident_resolved(fields: Fields) -> TimelineText:
    how, reason = str(fields.get("resolution") or ""), str(fields.get("reason") or "")
    facts = facts_of(fields, "replay_id")
    if how == Resolution.MANUAL:
        by = fields.get("requested_by")
        who = f" by {by}" if by else ""
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
    facts = facts_of(fields, *(name for name in fields if name not in ("text", "requested_by")))
    detail = " ".join(part for part in (str(fields.get("text") or ""), actor_text(fields)) if part)
    return TimelineText("note", "quiet", "Note added", detail, facts)


def _flagged(fields: Fields) -> TimelineText:
    flag = str(fields.get("flag") or "")
    return TimelineText(
        "flag",
        "bad",
        f"Flagged: {labels.humanize(flag).lower()}",
        labels.FLAGS.get(flag, ""),
        facts_of(fields, "replay_id"),
    )


def _by_its_name(entry: TimelineEntry) -> TimelineText:
    facts = facts_of(entry.fields, *(name for name in entry.fields if name != "requested_by"))
    return TimelineText(
        "note", "quiet", labels.humanize(entry.kind), actor_text(entry.fields), facts
    )


def _alert_subject(fields: Fields) -> tuple[tuple[str, str], ...]:
    kind = str(fields.get("alert_kind") or "")
    return (("About", labels.ALERTS.get(kind, labels.humanize(kind))),) if kind else ()


def _recipient(fields: Fields) -> str:
    to = str(fields.get("destination") or "")
    if is_destination_id(to):
        channel = str(fields.get("channel") or AlertChannel.EMAIL)
        name = CHANNEL_NAMES.get(channel, labels.humanize(channel))
        return f"To {name} ({labels.short_id(to)})."
    return f"To {to}." if to else ""


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
    TimelineKind.INCIDENT_RESOLVED: _incident_resolved,
    TimelineKind.NOTED: _noted,
    TimelineKind.FLAGGED: _flagged,
    **TRIAGE_RENDERERS,
}
