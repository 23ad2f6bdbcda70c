"""A timeline entry in words, and the parts that the texts of several kinds share. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.console.ui import labels

# The fields of an entry. Any: JSON values and instants, by the kind of the entry.
Fields = Mapping[str, Any]
Facts = tuple[tuple[str, str | datetime], ...]
FACT_LABELS = {
    "replay_id": "Repair",
    "timeout_at": "Deadline",
    "deadline_at": "Deadline",
    "down_from": "Unavailable since",
    "acknowledged_until": "Until",
    "snoozed_until": "Until",
    "moved_from": "Was",
    "superseded_by": "Later event",
    "next_attempt_at": "Next call",
}


_IDS = ("replay_id", "incident_id", "superseded_by")


@dataclass(frozen=True, slots=True)
class TimelineText:
    """One timeline entry in words, as the event's page shows it.

    `facts` are pairs of label and value; an instant is shown as its reader sees times. `is_now`: as
    a next step, it is under way. `at` is when it is due, None if it has no time.
    """

    icon: str
    tone: str
    title: str
    detail: str = ""
    facts: Facts = ()
    is_now: bool = True
    at: datetime | None = None


def actor_text(fields: Fields) -> str:
    """Who requested it. `render` has replaced ids by names."""
    by = fields.get("requested_by")
    return f"By {by}." if by else ""


def facts_of(fields: Fields, *names: str) -> Facts:
    """Label and value of each of these fields that the entry has."""
    return tuple(
        (_label(name), _value(name, fields[name]))
        for name in names
        if fields.get(name) not in (None, "")
    )


def _label(name: str) -> str:
    return FACT_LABELS.get(name, labels.humanize(name))


def _value(name: str, value: object) -> str | datetime:
    if isinstance(value, datetime):
        return value
    return labels.short_id(str(value)) if name in _IDS else str(value)
