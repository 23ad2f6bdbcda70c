"""Renders the mail about an incident: text and HTML, the same facts in both.

Pure: the same alert gives the same mail except for its date, and the same Message-ID. A mail
contains no secret and no payload. Text from outside is always reduced to one line. Called by
`activities.alerts.send`.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import jinja2

from activities.alerts.email_format import OutgoingMail, compose, encoded, raw
from domain.incidents import AlertKind, Incident, Reason, RepairCause, Resolution
from domain.values.text import one_line
from domain.values.timestamps import wire
from store.alerts.delivery import AlertDue, AlertFacts
from store.people.email_addresses import canonical_address

TEMPLATES = Path(__file__).parent / "templates"
SUBJECT_CHARACTERS = 200

_REASONS: dict[Reason, str] = {
    Reason.MISSING_RESULT: "no result came before the deadline",
    Reason.FAILED_RESULT: "the app reported that the effect failed",
}
_CAUSES: dict[RepairCause, str] = {
    RepairCause.REJECTED: "the repair endpoint declined the callback",
    RepairCause.EXHAUSTED: "the repair endpoint could not be reached, or failed, at every attempt",
    RepairCause.NO_RESULT: "the endpoint took the callback, but no result came in time",
    RepairCause.FAILED_RESULT: "the app reported that the repair failed",
    RepairCause.REPAIR_URL_MISSING: "the project has no repair URL",
    RepairCause.SUPERSEDED: "another repair succeeded first",
    RepairCause.CLOSED: "the incident was closed by hand",
}
_RESOLUTIONS: dict[Resolution, str] = {
    Resolution.REPAIRED: "The app reported success: the repair worked.",
    Resolution.LATE_RESULT: "The app reported success, late, without a repair.",
    Resolution.MANUAL: "An operator closed it by hand.",
}


_PLAIN_TITLES: dict[str, str] = {
    AlertKind.INCIDENT_OPENED: "Incident open",
    AlertKind.REPAIR_FAILED: "Repair failed",
    AlertKind.INCIDENT_RESOLVED: "Incident resolved",
    AlertKind.DESTINATION_FAILING: "Alerts to an address fail",
}

FactLines = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class MailWording:
    """The text of a mail beside its facts. `color` is the accent color in HTML."""

    title: str
    sentence: str
    link_label: str
    color: str


class MailWriter:
    """Renders the mails of one installation. `public_url` is the base of the links.

    Raises:
        AddressRefused: no mail server accepts the address `mail_from`.
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
        """The mail of an alert; `at` is the time of sending. Without facts it is the plain mail.

        Raises:
            AddressRefused: no mail server accepts the destination.
        """
        if alert.facts is None:
            return self.write_plainly(alert, at=at)
        wording = _wording(alert.kind, alert.facts)
        mode = "live" if alert.facts.receipt.livemode else "test"
        subject = encoded(_subject(alert.facts, wording), longest=SUBJECT_CHARACTERS)
        signed = f"{one_line(alert.facts.project_name)} ({mode})"
        return self._mail(alert, wording, _facts(alert, alert.facts), at=at, subject=subject, signed=signed)

    def write_plainly(self, alert: AlertDue, *, at: datetime) -> OutgoingMail:
        """The mail with only ids, kind and link. It contains no text from outside.

        Raises:
            AddressRefused: no mail server accepts the destination.
        """
        wording = MailWording(
            title=_PLAIN_TITLES.get(alert.kind, "News of an incident"),
            sentence="This mail could not be sent with its details. The event's page has them.",
            link_label="Look at the event",
            color="#c2410c",
        )
        ids = (("Event id", alert.event_id), ("Incident id", alert.incident_id), ("Replay id", alert.replay_id or ""))
        facts = tuple((name, value) for name, value in ids if value)
        return self._mail(alert, wording, facts, at=at, subject=raw(f"{wording.title}: {alert.event_id}"), signed="")

    def _mail(
        self, alert: AlertDue, wording: MailWording, facts: FactLines, *, at: datetime, subject: str, signed: str
    ) -> OutgoingMail:
        recipient = canonical_address(alert.destination)
        opened = self._message_id(alert, AlertKind.INCIDENT_OPENED, None)
        is_first = alert.kind == AlertKind.INCIDENT_OPENED
        fields = (
            ("Subject", subject),
            ("From", raw(f"Makegood <{self._mail_from}>")),
            ("To", raw(recipient)),
            ("Date", raw(format_datetime(at.astimezone(UTC)))),
            ("Message-ID", raw(self._message_id(alert, alert.kind, alert.replay_id or alert.about))),
            *(() if is_first else (("In-Reply-To", raw(opened)), ("References", raw(opened)))),
            ("Auto-Submitted", "auto-generated"),
            ("X-Auto-Response-Suppress", "All"),
        )
        link = f"{self._public_url}/events/{alert.event_id}"
        values = {"wording": wording, "facts": facts, "link": link, "signed": signed}
        text, html = (self._templates.get_template(name).render(values) for name in ("alert.txt", "alert.html"))
        return OutgoingMail(self._mail_from, recipient, compose(fields, text=text, html=html))

    def _message_id(self, alert: AlertDue, kind: str, subject_id: str | None) -> str:
        """Made of incident, kind, `replay_id` and destination only (contract, "Mail")."""
        destination = hashlib.sha256(alert.destination.encode()).hexdigest()[:16]
        parts = (alert.incident_id, kind, subject_id or "", destination)
        return f"<{'.'.join(part for part in parts if part)}@{self._mail_from.rpartition('@')[2]}>"


def _wording(kind: str, facts: AlertFacts) -> MailWording:
    reason = _REASONS[facts.incident.reason]
    match kind:
        case AlertKind.INCIDENT_OPENED:
            return MailWording(
                title="Incident open",
                sentence=f"A paid event was accepted, and its effect is not proven: {reason}.",
                link_label="Review and reprocess",
                color="#c2410c",
            )
        case AlertKind.REPAIR_FAILED:
            cause = _CAUSES[facts.cause] if facts.cause else "the repair failed"
            return MailWording(
                title="Repair failed",
                sentence=f"The repair did not succeed: {cause}. The incident is open again.",
                link_label="Look at the attempts",
                color="#b91c1c",
            )
        case AlertKind.DESTINATION_FAILING:
            address = one_line(facts.failing or "an address")
            return MailWording(
                title="Alerts to an address fail",
                sentence=(
                    f"The alert of this incident never reached {address}: "
                    "the mail server refused it permanently, or every attempt of a day failed. "
                    "Check the address in the project's settings."
                ),
                link_label="See the timeline",
                color="#b91c1c",
            )
        case AlertKind.INCIDENT_RESOLVED:
            return MailWording(
                title="Incident resolved",
                sentence=_resolution(facts.incident),
                link_label="See the timeline",
                color="#15803d",
            )
        case _:
            raise LookupError("an alert kind written by a newer version")


def _resolution(incident: Incident) -> str:
    return _RESOLUTIONS[incident.resolution] if incident.resolution else "The incident is resolved."


def _subject(facts: AlertFacts, wording: MailWording) -> str:
    receipt = facts.receipt
    mode = "" if receipt.livemode else "[test] "
    what = f"{receipt.internal_reference} · {receipt.event_type} · {facts.incident.reason}"
    return f"{mode}{wording.title}: {what}"


def _facts(alert: AlertDue, facts: AlertFacts) -> FactLines:
    """The name and value of each line that has a value."""
    receipt, incident = facts.receipt, facts.incident
    lines = (
        ("Reference", receipt.internal_reference),
        ("Event", str(receipt.event_type)),
        ("Effect", str(receipt.effect_type)),
        ("Reason", incident.reason.value),
        ("Error", " ".join(part for part in (incident.error_code, incident.error_message) if part)),
        ("Repair failed", facts.cause.value if facts.cause else ""),
        ("Not reached", facts.failing or ""),
        ("Resolution", incident.resolution.value if incident.resolution else ""),
        ("Provider", f"{receipt.provider} {receipt.provider_event_id}"),
        ("Occurred", wire(receipt.occurred_at)),
        ("Deadline", wire(receipt.deadline_at)),
        ("Opened", wire(incident.opened_at)),
        ("Resolved", wire(incident.resolved_at) if incident.resolved_at else ""),
        ("Event id", receipt.event_id),
        ("Incident id", incident.id),
        ("Replay id", alert.replay_id or ""),
    )
    return tuple((name, one_line(value)) for name, value in lines if value)
