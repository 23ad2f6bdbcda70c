"""Counts what a `Product` shows: incidents on timelines, mails, calls of the repair endpoint.

Used by the tests of `tests/faults` that watch one `Product`.
"""

import re
from collections import Counter
from datetime import datetime
from email.message import EmailMessage
from typing import Any

from tests.console.receiver import Call
from tests.support.product import Product

Event = dict[str, Any]  # JSON, as REST shows it


def unix(instant: str) -> float:
    """Unix seconds of an instant in the contract's form."""
    return datetime.fromisoformat(instant).timestamp()


def kinds(event: Event) -> Counter[str]:
    """How often each kind of line is on the event's timeline."""
    return Counter(entry["kind"] for entry in event["timeline"])


def opening_mails(mails: list[EmailMessage]) -> Counter[str]:
    """How many mails announced the opening of each incident, by its id.

    The Message-ID begins with that id.
    """
    parts = [str(mail["Message-ID"]).strip("<>").split(".") for mail in mails]
    return Counter(incident_id for incident_id, kind, *_ in parts if kind == "incident_opened")


def copies(mails: list[EmailMessage]) -> list[str]:
    """The Message-IDs that came more than once."""
    return [
        name
        for name, count in Counter(str(mail["Message-ID"]) for mail in mails).items()
        if count > 1
    ]


def series(calls: list[Call]) -> dict[str, list[int]]:
    """The attempts that came in of each repair, by `replay_id`."""
    found: dict[str, list[int]] = {}
    for call in calls:
        found.setdefault(call.body["replay_id"], []).append(
            int(call.headers["x-sendpromptly-attempt"])
        )
    return found


def count_of_runs(shop: Product, *, status: str) -> int:
    """How many runs of receipts have that status, by Temporal's visibility."""
    query = f"WorkflowType = 'receipt' AND ExecutionStatus = '{status}'"
    counted = re.search(r"\d+", shop.temporal("workflow", "count", "--query", query))
    return int(counted[0]) if counted else 0


def quantile(values: list[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
