"""What the panel of an incident says: the present state and the latest failure. Pure.

An older failure is named only where the latest one differs. The panel never says that the repair
endpoint is called while nothing calls it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from api.console.ui import labels
from domain.incidents import (
    Attempt,
    AttemptState,
    Incident,
    IncidentState,
    Reason,
    Repair,
    RepairState,
    Resolution,
    TimelineEntry,
    TimelineKind,
)
from domain.wording.dates import UTC_DATES, ReaderDates
from store.receipts.rows.failures import Failure

_OPEN_TEXTS: Mapping[str, str] = {
    Reason.MISSING_RESULT: "No result was received.",
    Reason.MISSING_RECEIPT: "The provider has this event, and the app sent no receipt of it in"
    " time. Check the deliveries of this event at the provider.",
    Reason.FAILED_RESULT: "Your app accepted the event, then reported a failure.",
}
HELD = "A hold matches this incident. The repair begins when the hold ends."
_NEXT = "Fix the cause, then reprocess, or resolve manually."


@dataclass(frozen=True, slots=True)
class ShownError:
    """An error with its origin, such as `Reported 4 min ago`. `request_id` may be empty."""

    code: str
    text: str
    at: datetime | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class IncidentPanel:
    """The texts of the panel. `error` is the latest failure, `first_error` an earlier one that
    opened the incident, `answer` the beginning of the endpoint's last answer. `due_at` is when the
    next call is due.
    """

    title: str
    text: str
    error: ShownError | None = None
    first_error: str = ""
    answer: str = ""
    due_at: datetime | None = None


def incident_panel(
    incident: Incident,
    repairs: Sequence[Repair],
    timeline: Sequence[TimelineEntry],
    *,
    latest: Failure | None,
    attempts_of_series: int | None,
    stopped_part: str,
    now: datetime,
    dates: ReaderDates = UTC_DATES,
) -> IncidentPanel:
    """The panel of an incident.

    `latest` is the failure that the app reported last, None if it reported none.
    `attempts_of_series` None: not known yet.
    """
    error, first_error = _errors(incident, latest)
    last = repairs[-1] if repairs else None
    answer = _last_answer(last)
    match incident.state:
        case IncidentState.RESOLVED:
            return IncidentPanel(
                labels.state_label(incident.state, str(incident.resolution or "") or None),
                _resolved_text(incident, timeline),
                error=error,
                first_error=first_error,
            )
        case IncidentState.REPAIRING:
            text, due_at = _repairing(
                incident,
                repairs,
                attempts_of_series,
                stopped_part=stopped_part,
                now=now,
                dates=dates,
            )
            return IncidentPanel("Repairing", text, error, first_error, answer, due_at)
        case _ if last is not None and last.state is RepairState.FAILED:
            return IncidentPanel(
                "Repair failed", f"{failed_repair(last)}. {_NEXT}", error, first_error, answer
            )
        case _:
            text = _OPEN_TEXTS.get(incident.reason, "The effect of the event is missing.")
            return IncidentPanel(labels.reason_label(incident.reason), f"{text} {_NEXT}", error)


def failed_repair(repair: Repair) -> str:
    """Why a repair failed, with the outcome of its last call."""
    last = repair.attempts[-1] if repair.attempts else None
    return labels.repair_cause(
        repair.cause,
        attempts=0 if last is None else last.number,
        status=None if last is None else last.status,
        error_class=None if last is None else last.error_class,
    )


def next_call(
    attempts: Sequence[Attempt], attempts_of_series: int | None, now: datetime
) -> tuple[str, datetime | None]:
    """The state of a series of calls as a sentence, and when the next call is due."""
    last = attempts[-1] if attempts else None
    if last is None:
        return f"Attempt 1{_of(attempts_of_series)} is about to start.", None
    if last.state is AttemptState.STARTED:
        return f"Attempt {last.number}{_of(attempts_of_series)} is under way.", None
    due_at, number = last.next_attempt_at, last.number + 1
    if due_at is None:
        return f"Attempt {number}{_of(attempts_of_series)} follows on a schedule.", None
    left = labels.time_left(due_at, now)
    when = "is due now" if left == "now" else f"in {left}"
    return f"Attempt {number}{_of(attempts_of_series)} {when}. {_outcome(last)}", due_at


def _of(attempts_of_series: int | None) -> str:
    return "" if attempts_of_series is None else f" of {attempts_of_series}"


def _outcome(attempt: Attempt) -> str:
    if attempt.status is not None:
        return f"The last one was answered with HTTP {attempt.status}."
    return f"The last one failed: {labels.call_error(attempt.error_class).lower()}."


def _repairing(
    incident: Incident,
    repairs: Sequence[Repair],
    attempts_of_series: int | None,
    *,
    stopped_part: str,
    now: datetime,
    dates: ReaderDates,
) -> tuple[str, datetime | None]:
    active = next((one for one in repairs if one.replay_id == incident.active_replay_id), None)
    if active is not None and active.state is RepairState.HELD:
        return HELD, None
    if active is not None and active.state is RepairState.AWAITING_RESULT:
        return _awaiting(active, now, dates), None
    if stopped_part:
        return (
            f"{stopped_part} The repair endpoint is not being called. Calls continue when workflows"
            " run again.",
            None,
        )
    return next_call(() if active is None else active.attempts, attempts_of_series, now)


def _awaiting(repair: Repair, now: datetime, dates: ReaderDates) -> str:
    last = repair.attempts[-1] if repair.attempts else None
    status = f" ({last.status})" if last is not None and last.status is not None else ""
    accepted = f"Endpoint accepted the call{status}."
    if repair.result_deadline_at is None:
        return f"{accepted} Waiting for the result."
    left = labels.time_left(repair.result_deadline_at, now)
    until = dates.time_with_zone(repair.result_deadline_at)
    when = "due now" if left == "now" else f"{left} left"
    return f"{accepted} Waiting for the result until {until} ({when})."


def _resolved_text(incident: Incident, timeline: Sequence[TimelineEntry]) -> str:
    if incident.resolution != Resolution.MANUAL:
        return labels.resolution_label(incident.resolution)
    reasons = [
        str(entry.fields.get("reason") or "")
        for entry in timeline
        if entry.kind is TimelineKind.INCIDENT_RESOLVED
    ]
    reason = reasons[-1] if reasons else ""
    return f"Reason: “{reason}”" if reason else labels.resolution_label(incident.resolution)


def _errors(incident: Incident, latest: Failure | None) -> tuple[ShownError | None, str]:
    """The latest failure, and the first one in a line if it differs."""
    first = (incident.error_code or "", incident.error_message or "")
    if latest is None:
        return (ShownError(*first) if any(first) else None), ""
    code, text = latest.error_code or "", latest.error_message or ""
    shown = ShownError(code, text, latest.reported_at, latest.request_id or "")
    if not (code or text):
        shown = ShownError(*first, at=latest.reported_at, request_id=latest.request_id or "")
    is_same = (code, text) == first or not any(first)
    first_line = ": ".join(part for part in first if part).splitlines()
    return shown, "" if is_same or not first_line else first_line[0][:200]


def _last_answer(repair: Repair | None) -> str:
    """The beginning of the last answer of the endpoint, unless it was a success."""
    ended = [one for one in (repair.attempts if repair else ()) if one.status is not None]
    if not ended or 200 <= (ended[-1].status or 0) < 300:
        return ""
    return ended[-1].answer_excerpt or ""
