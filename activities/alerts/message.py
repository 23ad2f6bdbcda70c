"""Writes an alert in words and facts, for every channel.

Pure: the same alert always gives the same message except for its instant. Messages hold no secrets
and no payloads. Text from outside is reduced to one line. Called by `activities.alerts.delivery`.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from activities.alerts.channels import AlertMessage, FactLines
from activities.alerts.http.data import alert_data, dedup_key, livemode_of
from domain.effects import IMPACTS
from domain.ids import is_project_id
from domain.incidents import AlertKind, Incident, Reason, RepairCause, Resolution
from domain.sources.source import is_source_id
from domain.values.amounts import format_amount
from domain.values.text import one_line
from domain.values.timestamps import format_span
from store.alerts.delivery import AlertDue, AlertFacts, SourceAlertFacts, UnclaimedFacts
from store.overview.silence import SilenceFacts
from store.receipts.rows.alerts import AlertRound

SUMMARY_CHARACTERS = 200
DESTINATION_TITLE = "Alerts to a destination are failing"
_REASONS: dict[str, str] = {
    Reason.MISSING_RESULT: "No result before the deadline",
    Reason.MISSING_RECEIPT: "No receipt of an event at the provider",
    Reason.FAILED_RESULT: "The app reported a failure",
}
_CAUSES: dict[str, str] = {
    RepairCause.REJECTED: "the repair endpoint rejected the call",
    RepairCause.EXHAUSTED: "all calls to the repair endpoint failed",
    RepairCause.NO_RESULT: "the call was accepted, but no result arrived before the deadline",
    RepairCause.FAILED_RESULT: "the app reported that the repair failed",
    RepairCause.REPAIR_URL_MISSING: "the project has no repair URL",
    RepairCause.SUPERSEDED: "the app reported success without this repair",
    RepairCause.CLOSED: "the incident was resolved manually",
}
_OPENINGS: dict[str, str] = {
    Reason.MISSING_RESULT: "The app accepted a payment event, but reported no result in time.",
    Reason.MISSING_RECEIPT: "The provider has a payment event that the app never reported.",
    Reason.FAILED_RESULT: "The app accepted a payment event, then reported that its effect failed.",
}
_AGAIN: dict[str, str] = {
    AlertRound.ACKNOWLEDGEMENT_ENDED: "The acknowledgement of this incident has ended.",
    AlertRound.SNOOZE_ENDED: "The snooze of this incident has ended.",
    AlertRound.REOPENED: "This incident was reopened.",
}
_RESOLUTIONS: dict[str, str] = {
    Resolution.REPAIRED: "The repair worked: the app reported success.",
    Resolution.LATE_RESULT: "The app reported success after the deadline, without a repair.",
    Resolution.ALREADY_APPLIED: "The app found the effect applied, and applied nothing.",
    Resolution.MANUAL: "An operator resolved the incident manually.",
}
_PLAIN_TITLES: dict[str, str] = {
    AlertKind.INCIDENT_OPENED: "Incident open",
    AlertKind.REPAIR_FAILED: "Repair failed",
    AlertKind.INCIDENT_RESOLVED: "Incident resolved",
    AlertKind.INCIDENT_ASSIGNED: "Incident assigned to you",
    AlertKind.DESTINATION_FAILING: DESTINATION_TITLE,
    AlertKind.INCIDENT_ACKNOWLEDGED: "Incident acknowledged",
    AlertKind.SOURCE_SILENT: "A source needs attention",
    AlertKind.EARLY_RESULTS_UNCLAIMED: "Results without a receipt",
    AlertKind.PROJECT_SILENT: "No receipts",
}
# The alerts of one incident. A notice about a destination is not about the incident itself.
_THREADED = frozenset(
    {AlertKind.INCIDENT_OPENED, AlertKind.REPAIR_FAILED, AlertKind.INCIDENT_RESOLVED}
)


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
    wording = _texts(alert, alert.facts)
    return compose_message(
        alert,
        wording,
        at=at,
        public_url=public_url,
        summary=_line(alert.facts, wording.title),
        facts=_facts(alert, alert.facts),
        project=_project(alert.facts.project_name, alert.facts.receipt.livemode),
        thread=_thread(alert.kind, alert.facts),
    )


def write_plain_message(alert: AlertDue, *, at: datetime, public_url: str) -> AlertMessage:
    """The plain message: only ids, kind and link. Nothing in it comes from outside."""
    subject = _subject(alert)
    wording = Wording(
        title=_PLAIN_TITLES.get(alert.kind, "Incident update"),
        sentence=f"This alert could not be sent with its details. Open the {subject} to see them.",
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
        facts=_with_values(ids),
        thread=f"Incident: {alert.event_id}" if alert.kind in _THREADED else "",
    )


def compose_message(
    alert: AlertDue,
    wording: Wording,
    *,
    at: datetime,
    public_url: str,
    summary: str,
    facts: FactLines,
    project: str = "",
    thread: str = "",
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
        link=f"{public_url}/{_path(alert)}",
        link_label=wording.link_label,
        color=wording.color,
        project=project,
        is_plain=not project,
        thread=thread,
        dedup_key=dedup_key(alert),
        data=alert_data(alert if project else replace(alert, facts=None)),
        livemode=livemode_of(alert),
        created_at=alert.created_at,
    )


def compose_named_message(
    alert: AlertDue,
    about: SourceAlertFacts | UnclaimedFacts | SilenceFacts,
    texts: tuple[str, str],
    *,
    name: str,
    link_label: str,
    lines: FactLines,
    at: datetime,
    public_url: str,
) -> AlertMessage:
    """The message about a source or a project, known by its `name`. `texts`: title and sentence.

    It is green once it is over. Lines without a value are left out.
    """
    title, sentence = texts
    color = "#15803d" if about.is_over else "#b91c1c"
    summary = f"{_mark(about.livemode)}{title}: {name}"
    return compose_message(
        alert,
        Wording(title, sentence, link_label=link_label, color=color),
        at=at,
        public_url=public_url,
        summary=one_line(summary, longest=SUMMARY_CHARACTERS),
        facts=_with_values(lines),
        project=_project(about.project_name, about.livemode),
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
            is_silence = alert.kind == AlertKind.PROJECT_SILENT
            return f"projects/{alert.incident_id}#{'silence' if is_silence else 'early-results'}"
        case _:
            return f"events/{alert.event_id}"


def _texts(alert: AlertDue, facts: AlertFacts) -> Wording:
    match alert.kind:
        case AlertKind.INCIDENT_ASSIGNED:
            return Wording(
                title="Incident assigned to you",
                sentence=f"This incident was assigned to you. {_opening(facts)}",
                link_label="Open the incident",
                color="#c2410c",
            )
        case AlertKind.INCIDENT_OPENED:
            return Wording(
                title="Incident open",
                sentence=f"{_why_again(alert.about)} {_opening(facts)}".lstrip(),
                link_label="Review and reprocess",
                color="#c2410c",
            )
        case AlertKind.REPAIR_FAILED:
            cause = _cause(facts.cause) if facts.cause else "the repair failed"
            return Wording(
                title="Repair failed",
                sentence=f"The repair failed: {cause}. The incident is open again.",
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
            return Wording(
                title="Incident resolved",
                sentence=_resolution(facts.incident),
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


def _opening(facts: AlertFacts) -> str:
    impact = IMPACTS.get(facts.receipt.effect_type, "")
    opening = _OPENINGS.get(facts.incident.reason, "The effect of a payment event is missing.")
    return f"{opening} {impact}".rstrip()


def _resolution(incident: Incident) -> str:
    return _RESOLUTIONS.get(incident.resolution or "", "The incident is resolved.")


def _reason(name: str) -> str:
    return _REASONS.get(name, _words(name))


def _cause(name: str) -> str:
    return _CAUSES.get(name, _words(name).lower())


def _thread(kind: str, facts: AlertFacts) -> str:
    """The subject that all mails of an incident share: Gmail threads by it. Empty for others."""
    return _line(facts, "Incident") if kind in _THREADED else ""


def _line(facts: AlertFacts, title: str) -> str:
    receipt = facts.receipt
    reason = _reason(facts.incident.reason).lower()
    summary = f"{title}: {receipt.internal_reference} · {receipt.event_type} · {reason}"
    return one_line(f"{_mark(receipt.livemode)}{summary}", longest=SUMMARY_CHARACTERS)


def _facts(alert: AlertDue, facts: AlertFacts) -> FactLines:
    receipt, incident = facts.receipt, facts.incident
    lines = (
        ("Reference", receipt.internal_reference),
        ("Customer", receipt.customer_reference or ""),
        ("Amount", format_amount(receipt.amount, receipt.currency)),
        ("Event", str(receipt.event_type)),
        ("Effect", _words(receipt.effect_type)),
        ("Reason", f"{_reason(incident.reason)} ({incident.reason})"),
        ("Error", " ".join(part for part in (incident.error_code, incident.error_message) if part)),
        ("Cause", _sentence(_cause(facts.cause)) if facts.cause else ""),
        ("Not reached", facts.failing or ""),
        ("Resolution", _resolution(incident) if incident.resolution else ""),
        ("Provider", f"{_words(receipt.provider)} {receipt.provider_event_id}"),
        ("Missing for", _missing_for(facts)),
        ("Occurred", moment(receipt.occurred_at)),
        ("Deadline", moment(receipt.deadline_at)),
        ("Opened", moment(incident.opened_at)),
        ("Resolved", moment(incident.resolved_at) if incident.resolved_at else ""),
        ("Event ID", receipt.event_id),
        ("Incident ID", incident.id),
        ("Repair ID", alert.replay_id or ""),
    )
    return _with_values(lines)


def _with_values(lines: FactLines) -> FactLines:
    return tuple((name, one_line(value)) for name, value in lines if value)


def _mark(livemode: bool) -> str:
    return "" if livemode else "[test] "


def _project(name: str, livemode: bool) -> str:
    return f"{one_line(name)} ({'live' if livemode else 'test'})"


def _missing_for(facts: AlertFacts) -> str:
    """How long the effect was missing when the incident opened, or until it was resolved."""
    ended_at = facts.incident.resolved_at or facts.incident.opened_at
    return format_span(ended_at - facts.receipt.occurred_at)


def _words(name: str) -> str:
    """An enum value as wording: `access_unlock` becomes `Access unlock`."""
    return name.replace("_", " ").capitalize()


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def moment(at: datetime) -> str:
    """Date and time, as in `23 Nov 2026, 11:13:55 UTC`."""
    return f"{at.astimezone(UTC):%-d %b %Y, %H:%M:%S} UTC"
