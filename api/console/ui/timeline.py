"""Renders a receipt's timeline: its entries in order, and the next step if it is open. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.console.ui import labels
from api.console.ui.timeline_entries import Json, TimelineText, render_entry


@dataclass(frozen=True, slots=True)
class TimelineItem:
    """An entry on the timeline.

    `gap` is the time since the previous entry, empty for the first one.
    """

    at: str
    gap: str
    text: TimelineText


def render(entries: Sequence[Json], *, viewer_id: str) -> list[TimelineItem]:
    """Render entries, oldest first. Actions of the viewer are attributed to "you"."""
    items = []
    before: str | None = None
    for entry in entries:
        at = str(entry["at"])
        seconds = (
            0.0
            if before is None
            else (labels.parse_instant(at) - labels.parse_instant(before)).total_seconds()
        )
        gap = "" if before is None or seconds <= 0 else f"+{labels.exact_duration(seconds)}"
        own = entry.get("requested_by") == viewer_id
        items.append(
            TimelineItem(at, gap, render_entry({**entry, "requested_by": "you"} if own else entry))
        )
        before = at
    return items


def next_step(event: Json) -> TimelineText | None:
    """What the receipt is waiting for. None if it has ended."""
    incident = event["incident"]
    match event["state"], incident and incident["state"]:
        case "waiting", _:
            return TimelineText(
                "clock",
                "wait",
                "Waiting for the result",
                "The app must report it before the deadline.",
            )
        case "incident", "open":
            return TimelineText(
                "hand",
                "bad",
                "Waiting for an operator",
                "Fix the cause, then reprocess, or resolve the incident manually.",
            )
        case "incident", "repairing":
            return _repair_step(event)
    return None


def _repair_step(event: Json) -> TimelineText:
    active = event["incident"]["active_replay_id"]
    repair = next(
        (repair for repair in event.get("repairs", ()) if repair["replay_id"] == active), None
    )
    if repair and repair["state"] == "awaiting_result":
        return TimelineText(
            "clock",
            "busy",
            "Waiting for the app to report success",
            "The repair endpoint accepted the call. The app must now report success.",
        )
    return TimelineText(
        "send", "busy", "Calling the repair endpoint", "Failed calls are retried on a schedule."
    )
