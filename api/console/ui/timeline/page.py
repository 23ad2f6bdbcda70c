"""Renders a receipt's timeline: its entries in order, and the next step if it is open. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from api.console.ui import labels
from api.console.ui.event.panel import HELD, next_call
from api.console.ui.timeline.entries import render_entry
from api.console.ui.timeline.text import TimelineText
from domain.incidents import (
    AttemptState,
    Incident,
    IncidentState,
    Repair,
    RepairState,
    TimelineEntry,
)
from domain.receipts import ReceiptState

# The fields of entries that hold the id of a user or a key.
PEOPLE = ("requested_by", "assignee")
NO_TIME = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TimelineItem:
    """An entry on the timeline.

    `gap` is the time since the previous entry, empty for the first one.
    """

    at: datetime
    gap: str
    text: TimelineText


def render(
    entries: Sequence[TimelineEntry], *, viewer_id: str, names: Mapping[str, str]
) -> list[TimelineItem]:
    """Render entries, oldest first. `names` are those of the people and keys that entries hold as
    ids. The viewer is "you".
    """
    items: list[TimelineItem] = []
    for entry in entries:
        seconds = (entry.at - items[-1].at).total_seconds() if items else 0.0
        gap = f"+{labels.exact_duration(seconds)}" if seconds > 0 else ""
        people = {
            field: labels.person(str(entry.fields[field]), names, viewer_id=viewer_id)
            for field in PEOPLE
            if entry.fields.get(field)
        }
        entry = replace(entry, fields={**entry.fields, **people})
        items.append(TimelineItem(entry.at, gap, render_entry(entry)))
    return items


def next_step(
    state: ReceiptState | str,
    incident: Incident | None,
    repairs: Sequence[Repair],
    *,
    stopped_part: str = "",
    attempts_of_series: int | None = None,
    now: datetime | None = None,
) -> TimelineText | None:
    """What a receipt in this state is waiting for. None if it has ended.

    `stopped_part` says what prevents workflows from running. Empty if they run.
    `attempts_of_series` is the number of calls of a repair, None if it is not known. `now` None:
    the time left until the next call is not shown.
    """
    match state, incident:
        case ReceiptState.EXPECTED, _:
            return TimelineText(
                "clock",
                "wait",
                "Waiting for the receipt",
                "A source saw the event. The app must send its receipt before the deadline.",
            )
        case ReceiptState.WAITING, _:
            return TimelineText(
                "clock",
                "wait",
                "Waiting for the result",
                "The app must report it before the deadline.",
            )
        case ReceiptState.INCIDENT, Incident(state=IncidentState.OPEN):
            return TimelineText(
                "hand",
                "bad",
                "Waiting for an operator",
                "Fix the cause, then reprocess, or resolve the incident manually.",
            )
        case ReceiptState.INCIDENT, Incident(
            state=IncidentState.REPAIRING, active_replay_id=active
        ):
            running = [repair for repair in repairs if repair.replay_id == active]
            return _repair_step(running, stopped_part, attempts_of_series, now)
    return None


def _repair_step(
    active: Sequence[Repair],
    stopped_part: str,
    attempts_of_series: int | None,
    now: datetime | None,
) -> TimelineText:
    """`active` is the running repair; empty if it is not among those that the page shows."""
    if any(repair.state is RepairState.HELD for repair in active):
        return TimelineText(
            "clock",
            "wait",
            "The repair is held",
            HELD,
            is_now=False,
        )
    if any(repair.state is RepairState.AWAITING_RESULT for repair in active):
        return TimelineText(
            "clock",
            "busy",
            "Waiting for the app to report success",
            "The endpoint accepted the call. The app must now report success.",
            at=active[-1].result_deadline_at,
        )
    if stopped_part:
        return TimelineText(
            "clock",
            "bad",
            "The repair endpoint is not being called",
            f"{stopped_part} Calls continue when workflows run again.",
        )
    attempts = active[-1].attempts if active else ()
    detail, due_at = next_call(attempts, attempts_of_series, now or NO_TIME)
    if _waits_for_next_call(active):
        return TimelineText(
            "clock", "busy", "Waiting for the next repair call", detail, is_now=False, at=due_at
        )
    return TimelineText("send", "busy", "Calling the repair endpoint", detail)


def _waits_for_next_call(active: Sequence[Repair]) -> bool:
    """Whether the last call of the running repair has ended."""
    return any(
        repair.state is RepairState.CALLING
        and bool(repair.attempts)
        and repair.attempts[-1].state is AttemptState.FINISHED
        for repair in active
    )
