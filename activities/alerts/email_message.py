"""Writes the alert mail about an incident, as text and HTML with the same facts.

Pure: the same alert always gives the same mail except for its date, so that copies are recognised
by their Message-ID. Mails hold no secrets and no payloads. Text from outside is reduced to one
line. Called by `activities.alerts.send`.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import jinja2

from activities.alerts.email_format import OutgoingMail, compose, encoded, raw
from domain.effects import IMPACTS
from domain.incidents import AlertKind, Incident, Reason, RepairCause, Resolution
from domain.values.text import one_line
from store.alerts.delivery import AlertDue, AlertFacts
from store.people.email_addresses import canonical_address

TEMPLATES = Path(__file__).parent / "templates"
SUBJECT_CHARACTERS = 200

_REASONS: dict[Reason, str] = {
    Reason.MISSING_RESULT: "No result before the deadline",
    Reason.FAILED_RESULT: "The app reported a failure",
}
_CAUSES: dict[RepairCause, str] = {
    RepairCause.REJECTED: "the repair endpoint rejected the call",
    RepairCause.EXHAUSTED: "all calls to the repair endpoint failed",
    RepairCause.NO_RESULT: "the call was accepted, but no result arrived before the deadline",
    RepairCause.FAILED_RESULT: "the app reported that the repair failed",
    RepairCause.REPAIR_URL_MISSING: "the project has no repair URL",
    RepairCause.SUPERSEDED: "the app reported success without this repair",
    RepairCause.CLOSED: "the incident was resolved manually",
}
_OPENINGS: dict[Reason, str] = {
    Reason.MISSING_RESULT: "The app accepted a payment event, but reported no result in time.",
    Reason.FAILED_RESULT: "The app accepted a payment event, then reported that its effect failed.",
}
_RESOLUTIONS: dict[Resolution, str] = {
    Resolution.REPAIRED: "The repair worked: the app reported success.",
    Resolution.LATE_RESULT: "The app reported success after the deadline, without a repair.",
    Resolution.MANUAL: "An operator resolved the incident manually.",
}


_PLAIN_TITLES: dict[str, str] = {
    AlertKind.INCIDENT_OPENED: "Incident open",
    AlertKind.REPAIR_FAILED: "Repair failed",
    AlertKind.INCIDENT_RESOLVED: "Incident resolved",
    AlertKind.DESTINATION_FAILING: "Alerts to an address are failing",
}

FactLines = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class MailWording:
    """The texts of a mail around its facts. `color` is the accent of the HTML version."""

    title: str
    sentence: str
    link_label: str
    color: str


class MailWriter:
    """Writes the mails of one installation, with its sender address and the base of its links.

    Raises:
        AddressRefused: `mail_from` is not a valid address.
    """

    def __init__(self, *, mail_from: str, public_url: str) -> None:
        self._mail_from = canonical_address(mail_from)
        self._public_url = public_url
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=jinja2.select_autoescape(["html"]),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def write(self, alert: AlertDue, *, at: datetime) -> OutgoingMail:
        """The mail of an alert, sent at `at`. An alert without facts gets the plain mail.

        Raises:
            AddressRefused: the destination is not a valid address.
        """
        if alert.facts is None:
            return self.write_plainly(alert, at=at)
        wording = _texts(alert.kind, alert.facts)
        mode = "live" if alert.facts.receipt.livemode else "test"
        subject = encoded(_subject(alert.facts, wording), longest=SUBJECT_CHARACTERS)
        signed = f"{one_line(alert.facts.project_name)} ({mode})"
        return self._mail(
            alert, wording, _facts(alert, alert.facts), at=at, subject=subject, signed=signed
        )

    def write_plainly(self, alert: AlertDue, *, at: datetime) -> OutgoingMail:
        """The plain mail: only ids, kind and link. Nothing in it comes from outside.

        Raises:
            AddressRefused: the destination is not a valid address.
        """
        wording = MailWording(
            title=_PLAIN_TITLES.get(alert.kind, "Incident update"),
            sentence="This email could not be sent with its details. Open the event to see them.",
            link_label="Open the event",
            color="#c2410c",
        )
        ids = (
            ("Event ID", alert.event_id),
            ("Incident ID", alert.incident_id),
            ("Repair ID", alert.replay_id or ""),
        )
        facts = tuple((name, value) for name, value in ids if value)
        return self._mail(
            alert,
            wording,
            facts,
            at=at,
            subject=raw(f"{wording.title}: {alert.event_id}"),
            signed="",
        )

    def _mail(
        self,
        alert: AlertDue,
        wording: MailWording,
        facts: FactLines,
        *,
        at: datetime,
        subject: str,
        signed: str,
    ) -> OutgoingMail:
        recipient = canonical_address(alert.destination)
        opened = self._message_id(alert, AlertKind.INCIDENT_OPENED, None)
        is_first = alert.kind == AlertKind.INCIDENT_OPENED
        fields = (
            ("Subject", subject),
            ("From", raw(f"Makegood <{self._mail_from}>")),
            ("To", raw(recipient)),
            ("Date", raw(format_datetime(at.astimezone(UTC)))),
            (
                "Message-ID",
                raw(self._message_id(alert, alert.kind, alert.replay_id or alert.about)),
            ),
            *(() if is_first else (("In-Reply-To", raw(opened)), ("References", raw(opened)))),
            ("Auto-Submitted", "auto-generated"),
            ("X-Auto-Response-Suppress", "All"),
        )
        link = f"{self._public_url}/events/{alert.event_id}"
        values = {"wording": wording, "facts": facts, "link": link, "signed": signed}
        text, html = (
            self._templates.get_template(name).render(values)
            for name in ("alert.txt", "alert.html")
        )
        return OutgoingMail(self._mail_from, recipient, compose(fields, text=text, html=html))

    def _message_id(self, alert: AlertDue, kind: str, subject_id: str | None) -> str:
        """Made from incident, kind, `replay_id` and destination (contract, "Mail")."""
        destination = hashlib.sha256(alert.destination.encode()).hexdigest()[:16]
        parts = (alert.incident_id, kind, subject_id or "", destination)
        return f"<{'.'.join(part for part in parts if part)}@{self._mail_from.rpartition('@')[2]}>"


def _texts(kind: str, facts: AlertFacts) -> MailWording:
    match kind:
        case AlertKind.INCIDENT_OPENED:
            return MailWording(
                title="Incident open",
                sentence=_opening(facts),
                link_label="Review and reprocess",
                color="#c2410c",
            )
        case AlertKind.REPAIR_FAILED:
            cause = _CAUSES[facts.cause] if facts.cause else "the repair failed"
            return MailWording(
                title="Repair failed",
                sentence=f"The repair failed: {cause}. The incident is open again.",
                link_label="Review the attempts",
                color="#b91c1c",
            )
        case AlertKind.DESTINATION_FAILING:
            return MailWording(
                title="Alerts to an address are failing",
                sentence="The alert of this incident did not reach "
                f"{one_line(facts.failing or 'an address')}. "
                "The mail server rejected it permanently, or every attempt failed for 24 hours. "
                "Check the address in the project's settings.",
                link_label="Open the timeline",
                color="#b91c1c",
            )
        case AlertKind.INCIDENT_RESOLVED:
            return MailWording(
                title="Incident resolved",
                sentence=_resolution(facts.incident),
                link_label="Open the timeline",
                color="#15803d",
            )
        case _:
            raise LookupError("an unknown kind of alert, written by a newer version")


def _opening(facts: AlertFacts) -> str:
    impact = IMPACTS.get(facts.receipt.effect_type, "")
    return f"{_OPENINGS[facts.incident.reason]} {impact}".rstrip()


def _resolution(incident: Incident) -> str:
    return _RESOLUTIONS[incident.resolution] if incident.resolution else "The incident is resolved."


def _subject(facts: AlertFacts, wording: MailWording) -> str:
    receipt = facts.receipt
    mode = "" if receipt.livemode else "[test] "
    reason = _REASONS[facts.incident.reason].lower()
    return f"{mode}{wording.title}: {receipt.internal_reference} · {receipt.event_type} · {reason}"


def _facts(alert: AlertDue, facts: AlertFacts) -> FactLines:
    """The lines of the mail, without those that have no value."""
    receipt, incident = facts.receipt, facts.incident
    lines = (
        ("Reference", receipt.internal_reference),
        ("Event", str(receipt.event_type)),
        ("Effect", _words(receipt.effect_type)),
        ("Reason", f"{_REASONS[incident.reason]} ({incident.reason})"),
        ("Error", " ".join(part for part in (incident.error_code, incident.error_message) if part)),
        ("Cause", _sentence(_CAUSES[facts.cause]) if facts.cause else ""),
        ("Not reached", facts.failing or ""),
        ("Resolution", _RESOLUTIONS[incident.resolution] if incident.resolution else ""),
        ("Provider", f"{_words(receipt.provider)} {receipt.provider_event_id}"),
        ("Occurred", _moment(receipt.occurred_at)),
        ("Deadline", _moment(receipt.deadline_at)),
        ("Opened", _moment(incident.opened_at)),
        ("Resolved", _moment(incident.resolved_at) if incident.resolved_at else ""),
        ("Event ID", receipt.event_id),
        ("Incident ID", incident.id),
        ("Repair ID", alert.replay_id or ""),
    )
    return tuple((name, one_line(value)) for name, value in lines if value)


def _words(name: str) -> str:
    """An enum value as wording: `access_unlock` becomes `Access unlock`."""
    return name.replace("_", " ").capitalize()


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _moment(at: datetime) -> str:
    """Date and time, as in `23 Nov 2026, 11:13:55 UTC`."""
    return f"{at.astimezone(UTC):%-d %b %Y, %H:%M:%S} UTC"
