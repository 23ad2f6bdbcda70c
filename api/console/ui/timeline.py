"""A receipt's timeline in words: one entry of the contract becomes a title, a line of detail, an icon and a tone. Pure.

An entry of a kind that is not known here is still shown, under its own name and with all its fields.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.console.ui import labels as wording

# The REST shape of an entry or an event: JSON, so its values are of any JSON type.
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TimelineText:
    """How one entry is told; `facts` are short labelled values."""

    icon: str
    tone: str
    title: str
    detail: str = ""
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """An entry in its place: when, how long after the one before (empty for the first), and what is said of it."""

    at: str
    gap: str
    saying: TimelineText


def tell(entries: Sequence[Json], *, viewer_id: str) -> list[Moment]:
    """The timeline, oldest first; what the viewer did is told as theirs."""
    moments = []
    before: str | None = None
    for entry in entries:
        at = str(entry["at"])
        seconds = 0.0 if before is None else (wording.instant(at) - wording.instant(before)).total_seconds()
        gap = "" if before is None or seconds <= 0 else f"+{wording.exact_span(seconds)}"
        own = entry.get("requested_by") == viewer_id
        moments.append(Moment(at, gap, say({**entry, "requested_by": "you"} if own else entry)))
        before = at
    return moments


def say(entry: Json) -> TimelineText:
    """What one entry means."""
    teller = RENDERERS.get(str(entry["kind"]))
    return _unknown(entry) if teller is None else teller(entry)


def next_step(event: Json) -> TimelineText | None:
    """What the receipt waits for now; None once it has ended."""
    incident = event["incident"]
    match event["state"], incident and incident["state"]:
        case "waiting", _:
            return TimelineText("clock", "wait", "Waiting for the result", "The app has until the deadline to report it.")
        case "incident", "open":
            return TimelineText(
                "hand", "bad", "Waiting for someone", "Press Reprocess once the cause is mended, or resolve it by hand."
            )
        case "incident", "repairing":
            return _repair_step(event)
    return None


def _repair_step(event: Json) -> TimelineText:
    active = event["incident"]["active_replay_id"]
    repair = next((repair for repair in event.get("repairs", ()) if repair["replay_id"] == active), None)
    if repair and repair["state"] == "awaiting_result":
        return TimelineText(
            "clock",
            "busy",
            "Waiting for the app to report success",
            "The repair endpoint took the call. A 200 alone ends nothing.",
        )
    return TimelineText("send", "busy", "Calling the repair endpoint", "Failed attempts are repeated on the schedule.")


def _receipt_accepted(entry: Json) -> TimelineText:
    return TimelineText(
        "inbox",
        "wait",
        "Receipt accepted",
        "The app took the payment event and owes its effect.",
        _facts(entry, "timeout_at", "request_id"),
    )


def _result_received(entry: Json) -> TimelineText:
    facts = _facts(entry, "error_code", "replay_id", "repeats", "repeated_at")
    if entry.get("status") == "success":
        return TimelineText("check", "good", "Success reported", "The business effect was applied.", facts)
    return TimelineText("cross", "bad", "Failure reported", str(entry.get("error_message") or ""), facts)


def _deadline_credited(entry: Json) -> TimelineText:
    detail = "Ingest was down for a while; that time is not held against the app."
    seconds = entry.get("credited_seconds")
    credited = () if seconds is None else (("Credited", wording.exact_span(float(seconds))),)
    facts = (*credited, *_facts(entry, "down_from"))
    return TimelineText("clock", "quiet", "Deadline moved", detail, facts)


def _deadline_passed(entry: Json) -> TimelineText:
    return TimelineText("clock", "bad", "Deadline passed", "No result had come.", _facts(entry, "deadline_at"))


def _incident_opened(entry: Json) -> TimelineText:
    reason = str(entry.get("reason") or "")
    return TimelineText(
        "alert", "bad", "Incident opened", wording.REASONS.get(reason, wording.words(reason)), _facts(entry, "error_code")
    )


def _alert_sent(entry: Json) -> TimelineText:
    return TimelineText("mail", "quiet", "Alert sent", _to(entry), _about(entry))


def _alert_failed(entry: Json) -> TimelineText:
    if entry.get("final"):
        return _alert_ended(entry)
    detail = "It is tried again until the mail server takes it."
    facts = (*_about(entry), *_facts(entry, "error", "error_class", "last_error"))
    return TimelineText("mail", "bad", "Alert not sent", _to(entry) or detail, facts)


def _alert_ended(entry: Json) -> TimelineText:
    """It is not tried any more: a fault where somebody was still to be notified."""
    reason = str(entry.get("reason") or "")
    detail = " ".join(part for part in (_to(entry), wording.ALERT_ENDS.get(reason, wording.words(reason))) if part)
    tone = "quiet" if reason in wording.QUIET_ALERT_ENDS else "bad"
    facts = (*_about(entry), *_facts(entry, "tries", "error"))
    return TimelineText("mail", tone, "Alert not sent, and not tried again", detail, facts)


def _reprocess_requested(entry: Json) -> TimelineText:
    return TimelineText("repair", "busy", "Reprocess requested", _by(entry), _facts(entry, "replay_id"))


def _attempt(entry: Json) -> TimelineText:
    number, status, error = entry.get("number"), entry.get("status"), entry.get("error_class")
    took = entry.get("duration_ms")
    facts = (*_facts(entry, "replay_id"), *((("Took", wording.exact_span(took / 1000)),) if took is not None else ()))
    if status is not None and 200 <= status < 300:
        return TimelineText("send", "good", f"Repair call {number} answered {status}", "The app took the request.", facts)
    if status is not None:
        return TimelineText("send", "bad", f"Repair call {number} answered {status}", wording.error_class(error), facts)
    if error:
        return TimelineText("send", "bad", f"Repair call {number} got no answer", wording.error_class(error), facts)
    return TimelineText("send", "busy", f"Repair call {number} sent", "", facts)


def _repair_failed(entry: Json) -> TimelineText:
    return TimelineText("cross", "bad", "Repair failed", wording.cause(entry.get("cause")), _facts(entry, "replay_id"))


def _incident_acknowledged(entry: Json) -> TimelineText:
    return TimelineText("eye", "quiet", "Incident acknowledged", _by(entry) or "Someone is looking at it.")


def _incident_resolved(entry: Json) -> TimelineText:
    how, reason = str(entry.get("resolution") or ""), str(entry.get("reason") or "")
    facts = _facts(entry, "replay_id")
    if how == "manual":
        detail = " ".join(part for part in (f"By hand: {reason}", _by(entry)) if part)
        return TimelineText("flag", "quiet", "Incident resolved", detail, facts)
    return TimelineText("check", "good", "Incident resolved", wording.RESOLUTIONS.get(how, wording.words(how)), facts)


def _noted(entry: Json) -> TimelineText:
    facts = _facts(entry, *(name for name in entry if name not in ("at", "kind", "text", "requested_by")))
    detail = " ".join(part for part in (str(entry.get("text") or ""), _by(entry)) if part)
    return TimelineText("note", "quiet", "Noted", detail, facts)


def _flagged(entry: Json) -> TimelineText:
    flag = str(entry.get("flag") or "")
    return TimelineText(
        "flag", "bad", f"Flagged: {wording.words(flag).lower()}", wording.FLAGS.get(flag, ""), _facts(entry, "replay_id")
    )


def _unknown(entry: Json) -> TimelineText:
    return TimelineText("note", "quiet", wording.words(str(entry["kind"])), "", _all_facts(entry))


def _about(entry: Json) -> tuple[tuple[str, str], ...]:
    kind = str(entry.get("alert_kind") or entry.get("alert") or "")
    return (("About", wording.ALERTS.get(kind, wording.words(kind))),) if kind else ()


def _by(entry: Json) -> str:
    """Who asked; `tell` has put `you` in the place of the viewer's own id."""
    by = entry.get("requested_by")
    return f"By {wording.short_id(str(by))}." if by else ""


def _to(entry: Json) -> str:
    to = entry.get("destination") or entry.get("to")
    return f"To {to}." if to else ""


def _facts(entry: Json, *names: str) -> tuple[tuple[str, str], ...]:
    return tuple((_label(name), _value(name, entry[name])) for name in names if entry.get(name) not in (None, ""))


def _all_facts(entry: Json) -> tuple[tuple[str, str], ...]:
    return _facts(entry, *(name for name in entry if name not in ("at", "kind")))


def _label(name: str) -> str:
    return {"replay_id": "Repair", "timeout_at": "Deadline", "deadline_at": "Deadline"}.get(name, wording.words(name))


def _value(name: str, value: object) -> str:
    if name.endswith("_at") or name == "down_from":
        return wording.moment(str(value))
    return wording.short_id(str(value)) if name in ("replay_id", "incident_id") else str(value)


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
