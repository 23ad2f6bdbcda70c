"""Writes an alert about a project that receives no receipts, in words and facts, for every channel.

Pure, as `activities.alerts.message`. Called by `activities.alerts.delivery`.
"""

from datetime import datetime

from activities.alerts.channels import AlertMessage, FactLines
from activities.alerts.message import compose_named_message
from domain.values.durations import whole_duration
from domain.values.text import one_line
from domain.wording.dates import ReaderDates
from store.alerts.due import AlertDue
from store.overview.silence import SilenceFacts

_ADVICE = (
    "A payment event whose receipt never comes opens no incident. Check that the app runs, that it"
    " reaches Makegood, and that its API key is valid."
)


def write_silence_message(
    alert: AlertDue, facts: SilenceFacts, *, at: datetime, public_url: str
) -> AlertMessage:
    """The message of an alert about a silent project, sent at `at`."""
    return compose_named_message(
        alert,
        facts,
        _texts(facts, alert.dates),
        name=facts.project_name,
        link_label="Open the project",
        lines=_lines(facts, alert.dates),
        at=at,
        public_url=public_url,
    )


def _texts(facts: SilenceFacts, dates: ReaderDates) -> tuple[str, str]:
    what = f"receipts of type {one_line(facts.event_type)}" if facts.event_type else "receipts"
    if facts.is_over:
        return "Receipts come again", f"The project had received no {what}. They come again."
    if not facts.has_receipts:
        return "No receipts yet", f"The project has received no {what} so far. {_ADVICE}"
    title = f"No {what} since {dates.beside_utc(facts.since)}"
    return title, f"The project usually receives {what} more often. {_ADVICE}"


def _lines(facts: SilenceFacts, dates: ReaderDates) -> FactLines:
    usual = "" if facts.minutes is None else whole_duration(60 * facts.minutes)
    return (
        ("Event type", facts.event_type),
        ("Last receipt", dates.beside_utc(facts.since) if facts.has_receipts else "None yet"),
        ("Silent after", usual),
        ("Project ID", facts.project_id),
    )
