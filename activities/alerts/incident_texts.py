"""The texts of an alert about an incident: title, sentence, facts, and one line for all. Pure.

The sentence says who is harmed and how. Text from outside is reduced to one line. Used by
`activities.alerts.message`.
"""

from dataclasses import dataclass

from activities.alerts.channels import FactLines
from domain.incidents import AlertKind, Reason
from domain.values.amounts import format_amount
from domain.values.durations import exact_duration, whole_duration
from domain.values.text import one_line
from domain.wording.dates import ReaderDates
from domain.wording.harm import Harm, harm_of
from domain.wording.states import (
    SHORT_REASONS,
    humanize,
    reason_label,
    repair_cause,
    resolution_label,
    state_label,
)
from store.alerts.due import AlertDue, AlertFacts
from store.receipts.rows.alerts import AlertRound

SUMMARY_CHARACTERS = 200
DESTINATION_TITLE = "Alerts to a destination are failing"
# The alerts of one incident. A notice about a destination is not about the incident itself.
THREADED = frozenset(
    {AlertKind.INCIDENT_OPENED, AlertKind.REPAIR_FAILED, AlertKind.INCIDENT_RESOLVED}
)
# So that the subject of a mail has room for each.
_NAME_CHARACTERS, _REFERENCE_CHARACTERS, _CODE_CHARACTERS = 48, 80, 48
_ERROR_CHARACTERS = 300
_OPENINGS: dict[str, str] = {
    Reason.MISSING_RESULT: "Your app accepted the event but never confirmed the effect.",
    Reason.MISSING_RECEIPT: "The provider has this event, but your app never reported it.",
    Reason.FAILED_RESULT: "Your app accepted the event, then reported a failure.",
}
_AGAIN: dict[str, str] = {
    AlertRound.ACKNOWLEDGEMENT_ENDED: "The acknowledgement of this incident has ended.",
    AlertRound.SNOOZE_ENDED: "The snooze of this incident has ended.",
    AlertRound.REOPENED: "This incident was reopened.",
}


@dataclass(frozen=True, slots=True)
class Wording:
    """The texts of a message around its facts."""

    title: str
    sentence: str
    link_label: str
    color: str


def incident_wording(alert: AlertDue, facts: AlertFacts) -> Wording:
    harm = _harm(facts)
    opening = _OPENINGS.get(facts.incident.reason, "The effect of the event is missing.")
    match alert.kind:
        case AlertKind.INCIDENT_ASSIGNED:
            return Wording(
                title="Incident assigned to you",
                sentence=_plain(f"This incident was assigned to you. {harm.sentence} {opening}"),
                link_label="Open the incident",
                color="#c2410c",
            )
        case AlertKind.INCIDENT_OPENED:
            return Wording(
                title=_plain(harm.title),
                sentence=_plain(f"{_why_again(alert.about)} {harm.sentence} {opening}"),
                link_label="Review and reprocess",
                color="#c2410c",
            )
        case AlertKind.REPAIR_FAILED:
            return Wording(
                title=_plain(f"Repair failed: {harm.title[:1].lower()}{harm.title[1:]}"),
                sentence=_plain(f"{_cause(facts)}. {harm.sentence} The incident is open again."),
                link_label="Review the attempts",
                color="#b91c1c",
            )
        case AlertKind.DESTINATION_FAILING:
            return Wording(
                title=DESTINATION_TITLE,
                sentence="The alert of this incident did not reach "
                f"{one_line(facts.failing or 'a destination')}. "
                "It was refused permanently, or every attempt failed for 24 hours. "
                "Check the destination on the project's page.",
                link_label="Open the timeline",
                color="#b91c1c",
            )
        case AlertKind.INCIDENT_RESOLVED:
            resolution = str(facts.incident.resolution or "")
            return Wording(
                title=state_label(facts.incident.state, resolution or None),
                sentence=resolution_label(resolution),
                link_label="Open the timeline",
                color="#15803d",
            )
        case AlertKind.INCIDENT_ACKNOWLEDGED:
            return Wording(
                title="Incident acknowledged",
                sentence="Someone is investigating the incident.",
                link_label="Open the timeline",
                color="#6b7280",
            )
        case _:
            raise LookupError("an unknown kind of alert, written by a newer version")


def _why_again(about: str | None) -> str:
    """Why this is not the incident's first alert; empty if it is."""
    return _AGAIN.get((about or "").partition("-")[0], "")


def _harm(facts: AlertFacts) -> Harm:
    receipt = facts.receipt
    return harm_of(receipt.effect_type, receipt.event_type, facts.incident.reason)


def _plain(text: str) -> str:
    """A sentence on one line, with single spaces: a type of a project's own may hold others."""
    return " ".join(one_line(text).split())


def _cause(facts: AlertFacts) -> str:
    """Why the repair failed, without a full stop."""
    if facts.cause is None:
        return "The repair failed"
    failure = facts.repair_failure
    if failure is None:
        return repair_cause(facts.cause)
    return repair_cause(
        facts.cause,
        attempts=failure.attempts,
        status=failure.status,
        error_class=failure.error_class,
    )


def incident_line(facts: AlertFacts, title: str) -> str:
    """What happened to what, in one line: project, title, reference and error code."""
    incident, receipt = facts.incident, facts.receipt
    name = one_line(facts.project_name, longest=_NAME_CHARACTERS)
    project = name if receipt.livemode else f"{name}, test" if name else "test"
    short = SHORT_REASONS.get(incident.reason, reason_label(incident.reason))
    code = one_line(incident.error_code or short, longest=_CODE_CHARACTERS)
    reference = one_line(receipt.internal_reference, longest=_REFERENCE_CHARACTERS)
    line = f"[{project}] {_plain(title)}: {reference} ({code})"
    return one_line(line, longest=SUMMARY_CHARACTERS)


def thread_of(kind: str, facts: AlertFacts) -> str:
    """The subject that all mails of an incident share: Gmail threads by it. Empty for others."""
    return incident_line(facts, _harm(facts).title) if kind in THREADED else ""


def incident_facts(facts: AlertFacts, dates: ReaderDates) -> FactLines:
    """What people need first, without what has no value. `dates` are the reader's."""
    receipt, incident = facts.receipt, facts.incident
    open_for = (incident.resolved_at or incident.opened_at) - incident.opened_at
    lines = (
        ("Reference", receipt.internal_reference),
        ("Customer", receipt.customer_reference or ""),
        ("Amount", format_amount(receipt.amount, receipt.currency)),
        ("Error", _error(facts)),
        ("Not reached", facts.failing or ""),
        ("Open for", exact_duration(open_for.total_seconds()) if incident.resolved_at else ""),
        ("Open since", "" if incident.resolved_at else dates.beside_utc(incident.opened_at)),
    )
    return with_values(lines)


def _error(facts: AlertFacts) -> str:
    """The latest error: of the repair if this is about one, else what opened the incident."""
    code, message = facts.incident.error_code, facts.incident.error_message
    failure = facts.repair_failure
    if failure is not None and failure.reported is not None:
        code, message = failure.reported.error_code, failure.reported.error_message
    elif failure is not None and facts.cause is not None:
        return _cause(facts)
    stated = ": ".join(part for part in (code, message) if part)
    return one_line(stated or reason_label(facts.incident.reason), longest=_ERROR_CHARACTERS)


def incident_details(alert: AlertDue, facts: AlertFacts) -> FactLines:
    """What programs and records need, at the foot."""
    receipt, incident, moment = facts.receipt, facts.incident, alert.dates.beside_utc
    lines = (
        ("Reason", reason_label(incident.reason)),
        ("Event", f"{receipt.event_type} from {humanize(receipt.provider)}"),
        ("Missing for", _missing_for(facts)),
        ("Occurred", moment(receipt.occurred_at)),
        ("Deadline", moment(receipt.deadline_at)),
        ("Opened", moment(incident.opened_at)),
        ("Resolved", moment(incident.resolved_at) if incident.resolved_at else ""),
        ("Provider ID", receipt.provider_event_id),
        ("Event ID", receipt.event_id),
        ("Incident ID", incident.id),
        ("Repair ID", alert.replay_id or ""),
    )
    return with_values(lines)


def _missing_for(facts: AlertFacts) -> str:
    """How long the effect was missing when the incident opened, or until it was resolved."""
    ended_at = facts.incident.resolved_at or facts.incident.opened_at
    return whole_duration((ended_at - facts.receipt.occurred_at).total_seconds())


def with_values(lines: FactLines) -> FactLines:
    """The lines that have a value, each on one line."""
    return tuple((name, one_line(value)) for name, value in lines if value)
