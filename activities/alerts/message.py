"""Writes an alert in words and facts, for every channel.

Pure: the same alert always gives the same message except for its instant. Messages hold no secrets
and no payloads. Text from outside is reduced to one line. Called by `activities.alerts.delivery`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from activities.alerts.channels import AlertMessage, FactLines
from domain.ids import is_project_id
from domain.incidents import AlertKind, Reason
from domain.sources.source import is_source_id
from domain.values.amounts import format_amount
from domain.values.durations import exact_duration
from domain.values.text import one_line
from domain.wording.harm import Harm, harm_of
from domain.wording.states import (
    SHORT_REASONS,
    humanize,
    reason_label,
    repair_cause,
    resolution_label,
    state_label,
)
from store.alerts.delivery import AlertDue, AlertFacts

SUMMARY_CHARACTERS = 200
# So that the subject of a mail has room for each.
_NAME_CHARACTERS, _REFERENCE_CHARACTERS, _CODE_CHARACTERS = 48, 80, 48
_ERROR_CHARACTERS = 300
_OPENINGS: dict[str, str] = {
    Reason.MISSING_RESULT: "Your app accepted the event but never confirmed the effect.",
    Reason.MISSING_RECEIPT: "The provider has this event, but your app never reported it.",
    Reason.FAILED_RESULT: "Your app accepted the event, then reported a failure.",
}
_PLAIN_TITLES: dict[str, str] = {
    AlertKind.INCIDENT_OPENED: "Incident open",
    AlertKind.REPAIR_FAILED: "Repair failed",
    AlertKind.INCIDENT_RESOLVED: "Incident resolved",
    AlertKind.DESTINATION_FAILING: "Alerts to an address are failing",
    AlertKind.SOURCE_SILENT: "A source needs attention",
    AlertKind.EARLY_RESULTS_UNCLAIMED: "Results without a receipt",
}


@dataclass(frozen=True, slots=True)
class Wording:
    """The texts of a message around its facts."""

    title: str
    sentence: str
    link_label: str
    color: str


def write_message(alert: AlertDue, *, at: datetime, public_url: str) -> AlertMessage:
    """The message of an alert, sent at `at`. An alert without facts gets the plain message."""
    if not isinstance(alert.facts, AlertFacts):
        return write_plain_message(alert, at=at, public_url=public_url)
    facts = alert.facts
    wording = _texts(alert.kind, facts)
    mode = "live" if facts.receipt.livemode else "test"
    return compose_message(
        alert,
        wording,
        at=at,
        public_url=public_url,
        summary=_summary(alert.kind, facts, wording),
        facts=_facts(facts),
        details=_details(alert, facts),
        project=f"{one_line(facts.project_name)} ({mode})",
    )


def write_plain_message(alert: AlertDue, *, at: datetime, public_url: str) -> AlertMessage:
    """The plain message: only ids, kind and link. Nothing in it comes from outside."""
    subject = _subject(alert)
    wording = Wording(
        title=_PLAIN_TITLES.get(alert.kind, "Incident update"),
        sentence=f"This email could not be sent with its details. Open the {subject} to see them.",
        link_label=f"Open the {subject}",
        color="#c2410c",
    )
    is_of_event = subject == "event"
    ids = (
        (f"{subject.capitalize()} ID", alert.event_id),
        ("Incident ID", alert.incident_id if is_of_event else ""),
        ("Repair ID", alert.replay_id or ""),
    )
    return compose_message(
        alert,
        wording,
        at=at,
        public_url=public_url,
        summary=f"{wording.title}: {alert.event_id}",
        facts=tuple((name, value) for name, value in ids if value),
    )


def compose_message(
    alert: AlertDue,
    wording: Wording,
    *,
    at: datetime,
    public_url: str,
    summary: str,
    facts: FactLines,
    details: FactLines = (),
    project: str = "",
) -> AlertMessage:
    """The message with these texts. Without a `project` it is plain."""
    return AlertMessage(
        incident_id=alert.incident_id,
        event_id=alert.event_id,
        kind=alert.kind,
        subject_id=alert.replay_id or alert.about,
        destination=alert.destination,
        at=at,
        title=wording.title,
        summary=summary,
        sentence=wording.sentence,
        facts=facts,
        details=details,
        link=f"{public_url}/{_path(alert)}",
        link_label=wording.link_label,
        color=wording.color,
        project=project,
        is_plain=not project,
    )


def _subject(alert: AlertDue) -> str:
    """What the alert is about: an event, a source or a project."""
    if is_source_id(alert.incident_id):
        return "source"
    return "project" if is_project_id(alert.incident_id) else "event"


def _path(alert: AlertDue) -> str:
    """The page of what the alert is about."""
    match _subject(alert):
        case "source":
            return f"projects/{alert.project_id}/sources/{alert.incident_id}"
        case "project":
            return f"projects/{alert.incident_id}#early-results"
        case _:
            return f"events/{alert.event_id}"


def _texts(kind: str, facts: AlertFacts) -> Wording:
    harm = _harm(facts)
    match kind:
        case AlertKind.INCIDENT_OPENED:
            opening = _OPENINGS.get(facts.incident.reason, "The effect of the event is missing.")
            return Wording(
                title=_plain(harm.title),
                sentence=_plain(f"{harm.sentence} {opening}"),
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
                title="Alerts to an address are failing",
                sentence="The alert of this incident did not reach "
                f"{one_line(facts.failing or 'an address')}. "
                "The mail server rejected it permanently, or every attempt failed for 24 hours. "
                "Check the address in the project's settings.",
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
        case _:
            raise LookupError("an unknown kind of alert, written by a newer version")


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


def _summary(kind: str, facts: AlertFacts, wording: Wording) -> str:
    """What every alert of the incident is called, whatever its kind: mails form one thread."""
    incident, receipt = facts.incident, facts.receipt
    name = one_line(facts.project_name, longest=_NAME_CHARACTERS)
    project = name if receipt.livemode else f"{name}, test" if name else "test"
    short = SHORT_REASONS.get(incident.reason, reason_label(incident.reason))
    code = one_line(incident.error_code or short, longest=_CODE_CHARACTERS)
    title = wording.title if kind == AlertKind.DESTINATION_FAILING else _harm(facts).title
    reference = one_line(receipt.internal_reference, longest=_REFERENCE_CHARACTERS)
    line = f"[{project}] {_plain(title)}: {reference} ({code})"
    return one_line(line, longest=SUMMARY_CHARACTERS)


def _facts(facts: AlertFacts) -> FactLines:
    """What people need first, without what has no value."""
    receipt, incident = facts.receipt, facts.incident
    open_for = (incident.resolved_at or incident.opened_at) - incident.opened_at
    lines = (
        ("Reference", receipt.internal_reference),
        ("Customer", receipt.customer_reference or ""),
        ("Amount", format_amount(receipt.amount, receipt.currency)),
        ("Error", _error(facts)),
        ("Not reached", facts.failing or ""),
        ("Open for", exact_duration(open_for.total_seconds()) if incident.resolved_at else ""),
        ("Open since", "" if incident.resolved_at else moment(incident.opened_at)),
    )
    return tuple((name, one_line(value)) for name, value in lines if value)


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


def _details(alert: AlertDue, facts: AlertFacts) -> FactLines:
    """What programs and records need, at the foot."""
    receipt, incident = facts.receipt, facts.incident
    lines = (
        ("Reason", reason_label(incident.reason)),
        ("Event", f"{receipt.event_type} from {humanize(receipt.provider)}"),
        ("Occurred", moment(receipt.occurred_at)),
        ("Deadline", moment(receipt.deadline_at)),
        ("Opened", moment(incident.opened_at)),
        ("Resolved", moment(incident.resolved_at) if incident.resolved_at else ""),
        ("Provider ID", receipt.provider_event_id),
        ("Event ID", receipt.event_id),
        ("Incident ID", incident.id),
        ("Repair ID", alert.replay_id or ""),
    )
    return tuple((name, one_line(value)) for name, value in lines if value)


def moment(at: datetime) -> str:
    """Date and time, as in `23 Nov 2026, 11:13:55 UTC`."""
    return f"{at.astimezone(UTC):%-d %b %Y, %H:%M:%S} UTC"
