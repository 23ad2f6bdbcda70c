"""Writes an alert about a source in words and facts, for every channel.

A source has a problem, is silent, or could not list a span of time. Pure, as
`activities.alerts.message`. Called by `activities.alerts.delivery`.
"""

from datetime import datetime

from activities.alerts.channels import AlertMessage, FactLines
from activities.alerts.incident_texts import DESTINATION_TITLE
from activities.alerts.message import compose_named_message
from domain.incidents import AlertKind
from domain.sources.source import Source, SourceKind, SourceProblem
from domain.values.text import one_line
from domain.wording.dates import ReaderDates
from store.alerts.due import AlertDue, SourceAlertFacts

_KINDS = {
    SourceKind.STRIPE_WEBHOOK: "Stripe webhook",
    SourceKind.STRIPE_API: "Stripe API",
    SourceKind.SHOPIFY_WEBHOOK: "Shopify webhook",
    SourceKind.SHOPIFY_API: "Shopify API",
}
_PROBLEMS: dict[str, str] = {
    SourceProblem.KEY_REFUSED: "The provider refuses the key. Nothing is listed until the source"
    " has one that may read events.",
    SourceProblem.THROTTLED: "The provider limits the requests of the source and does not stop.",
    SourceProblem.UNREACHABLE: "The provider does not answer the source.",
    SourceProblem.BAD_ANSWER: "The provider's answers are not as they should be.",
    SourceProblem.ENDLESS_PAGES: "The provider's pages repeat, or promise more and give nothing.",
    SourceProblem.BAD_SIGNATURE: "Deliveries come, and no signature fits the source's secret.",
    SourceProblem.SECRET_UNREADABLE: "The secret of the source cannot be decrypted.",
    SourceProblem.NOT_LISTED: "The source is not listed any more. Check that a worker runs and"
    " reaches Temporal.",
}
_WEBHOOK_PROBLEMS: dict[str, str] = {
    SourceProblem.BAD_ANSWER: "A delivery of a type that the source expects could not be read.",
}
_MISSED = "Events whose receipt never came are not found meanwhile."


def write_source_message(
    alert: AlertDue, facts: SourceAlertFacts, *, at: datetime, public_url: str
) -> AlertMessage:
    """The message of an alert about a source, sent at `at`."""
    source = facts.source
    return compose_named_message(
        alert,
        facts,
        _texts(alert, facts),
        name=source.name,
        link_label="Open the source",
        lines=_lines(source, facts, alert.dates),
        at=at,
        public_url=public_url,
    )


def _texts(alert: AlertDue, facts: SourceAlertFacts) -> tuple[str, str]:
    source = facts.source
    if alert.kind == AlertKind.DESTINATION_FAILING:
        place = one_line(facts.failing or "a destination")
        sentence = f"The alert about this source did not reach {place}."
        return (
            DESTINATION_TITLE,
            f"{sentence} Check the destination on the project's page.",
        )
    if facts.gap is not None:
        return (
            "Events could not be listed",
            "The provider no longer lists the events of a span of time, which the source had not"
            " listed. Receipts that are missing in it are not found.",
        )
    if facts.is_over:
        return "Source works again", "The source had a problem, and it has ended."
    if source.problem is not None:
        problems = _PROBLEMS | (_WEBHOOK_PROBLEMS if source.kind.is_webhook else {})
        problem = problems.get(source.problem, "The source does not work.")
        return "Source failing", f"{problem} {_MISSED}"
    return (
        "Source silent",
        f"The source has received no event for {source.silent_after_minutes} minutes. {_MISSED}",
    )


def _lines(source: Source, facts: SourceAlertFacts, dates: ReaderDates) -> FactLines:
    gap = facts.gap
    missed = [] if gap is None else [dates.beside_utc(at) for at in (gap.from_at, gap.until_at)]
    return (
        ("Source", source.name),
        ("Kind", _KINDS[source.kind]),
        ("Problem", source.problem_detail or ""),
        ("Since", _moment(source.problem_since or source.silent_since, dates)),
        ("Not listed", " to ".join(missed)),
        ("Not reached", facts.failing or ""),
        ("Last event", _moment(source.last_event_at, dates)),
        ("Last listing", _moment(source.last_listed_at, dates)),
        ("Account", _account(source)),
        ("Source ID", source.id),
    )


def _account(source: Source) -> str:
    return source.shop_domain or source.account or ""


def _moment(at: datetime | None, dates: ReaderDates) -> str:
    return "" if at is None else dates.beside_utc(at)
