"""Writes an alert about results that no receipt has claimed, in words and facts, for every channel.

Pure, as `activities.alerts.message`. Called by `activities.alerts.delivery`.
"""

from datetime import datetime

from activities.alerts.channels import AlertMessage, FactLines
from activities.alerts.incident_texts import DESTINATION_TITLE
from activities.alerts.message import compose_named_message
from domain.incidents import AlertKind
from domain.values.text import one_line
from domain.wording.dates import ReaderDates
from store.alerts.due import AlertDue, UnclaimedFacts
from store.receipts.early_results.hold import HELD_FOR
from store.receipts.early_results.unclaimed import COUNTED_AT_MOST, Unclaimed

_ADVICE = (
    "No receipt has come for more than an hour, so no effect of these events is watched. Check that"
    " the app sends a receipt of each event before its result, with the same provider and event id."
    " A result without a receipt is deleted 24 hours after it came."
)


def write_unclaimed_message(
    alert: AlertDue, facts: UnclaimedFacts, *, at: datetime, public_url: str
) -> AlertMessage:
    """The message of an alert about unclaimed results, sent at `at`."""
    return compose_named_message(
        alert,
        facts,
        _texts(alert, facts),
        name=facts.project_name,
        link_label="Open the project",
        lines=_lines(facts, alert.dates),
        at=at,
        public_url=public_url,
    )


def _texts(alert: AlertDue, facts: UnclaimedFacts) -> tuple[str, str]:
    if alert.kind == AlertKind.DESTINATION_FAILING:
        place = one_line(facts.failing or "a destination")
        return (
            DESTINATION_TITLE,
            f"An alert about this project did not reach {place}."
            " Check the destination on the project's page.",
        )
    if facts.is_over:
        return (
            "No result waits for its receipt",
            "Results had come before their receipt. Receipts have claimed them, or they were"
            " deleted after 24 hours.",
        )
    number = _number(facts.unclaimed)
    came = "1 result came" if number == "1" else f"{number} results came"
    return "Results without a receipt", f"{came} before the receipt. {_ADVICE}"


def _lines(facts: UnclaimedFacts, dates: ReaderDates) -> FactLines:
    oldest_at = facts.unclaimed.oldest_at
    return (
        ("Results", _number(facts.unclaimed)),
        ("Oldest", "" if oldest_at is None else dates.beside_utc(oldest_at)),
        ("First deleted", "" if oldest_at is None else dates.beside_utc(oldest_at + HELD_FOR)),
        ("List", "GET /api/v1/early-results"),
        ("Not reached", facts.failing or ""),
        ("Project ID", facts.project_id),
    )


def _number(unclaimed: Unclaimed) -> str:
    more = " or more" if unclaimed.count >= COUNTED_AT_MOST else ""
    return f"{unclaimed.count:,}{more}"
