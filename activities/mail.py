"""The message that tells people about an incident: text and HTML, the same facts in both.

Pure: an alert in, a message out, the same bytes' worth each time, so that a copy is recognised by its Message-ID. It never sends,
and never holds a secret or a payload. Called by `activities.alerts`.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import BaseHeader, HeaderRegistry, MessageIDHeader
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime
from pathlib import Path

import jinja2

from domain.incidents import AlertKind, Incident, Reason, RepairCause, Resolution
from domain.instants import wire
from store.alerts import AlertDue

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


@dataclass(frozen=True, slots=True)
class Words:
    """What a mail says beyond its facts. `color` is its accent in HTML."""

    title: str
    sentence: str
    call: str
    color: str


class MailWriter:
    """Writes the messages of one installation: from whom, and where links lead."""

    def __init__(self, *, mail_from: str, public_url: str) -> None:
        self._mail_from = mail_from
        self._public_url = public_url
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=jinja2.select_autoescape(["html"]),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def write(self, alert: AlertDue, *, at: datetime) -> EmailMessage:
        """The message of an alert; `at` is the instant of this sending."""
        message = EmailMessage(policy=_POLICY)
        words = _words(alert)
        message["Subject"] = _subject(alert, words)
        message["From"] = f"Makegood <{self._mail_from}>"
        message["To"] = alert.destination
        message["Date"] = format_datetime(at.astimezone(UTC))
        message["Message-ID"] = self._message_id(alert, alert.kind, alert.replay_id)
        if alert.kind is not AlertKind.INCIDENT_OPENED:
            opened = self._message_id(alert, AlertKind.INCIDENT_OPENED, None)
            message["In-Reply-To"] = opened
            message["References"] = opened
        message["Auto-Submitted"] = "auto-generated"
        message["X-Auto-Response-Suppress"] = "All"
        values = {
            "words": words,
            "facts": _facts(alert),
            "link": f"{self._public_url}/events/{alert.receipt.event_id}",
            "project": alert.project_name,
            "mode": "live" if alert.receipt.livemode else "test",
        }
        message.set_content(self._templates.get_template("alert.txt").render(values))
        message.add_alternative(self._templates.get_template("alert.html").render(values), subtype="html")
        return message

    def _message_id(self, alert: AlertDue, kind: AlertKind, replay_id: str | None) -> str:
        """From incident, kind, `replay_id` and destination alone (contract, "Mail")."""
        destination = hashlib.sha256(alert.destination.encode()).hexdigest()[:16]
        parts = (alert.incident.id, kind.value, replay_id or "", destination)
        return f"<{'.'.join(part for part in parts if part)}@{self._mail_from.rpartition('@')[2]}>"


class _Headers(HeaderRegistry):
    """Makes the class of each header once, where the library makes one for every header of every message."""

    def __init__(self) -> None:
        super().__init__()
        # Ids longer than a line stay as they are in every header: Python knows `Message-ID` alone as one, and encodes the others.
        self.map_to_type("in-reply-to", MessageIDHeader)  # type: ignore[arg-type]  # the stubs forget that these are mixed in
        self.map_to_type("references", MessageIDHeader)  # type: ignore[arg-type]  # the stubs forget that these are mixed in
        self._made: dict[str, type[BaseHeader]] = {}

    def __getitem__(self, name: str) -> type[BaseHeader]:
        if name not in self._made:
            self._made[name] = super().__getitem__(name)
        return self._made[name]


_POLICY = EmailPolicy(header_factory=_Headers())


def _words(alert: AlertDue) -> Words:
    reason = _REASONS[alert.incident.reason]
    match alert.kind:
        case AlertKind.INCIDENT_OPENED:
            return Words(
                title="Incident open",
                sentence=f"A paid event was accepted, and its effect is not proven: {reason}.",
                call="Review and reprocess",
                color="#c2410c",
            )
        case AlertKind.REPAIR_FAILED:
            cause = _CAUSES[alert.cause] if alert.cause else "the repair failed"
            return Words(
                title="Repair failed",
                sentence=f"The repair did not succeed: {cause}. The incident is open again.",
                call="Look at the attempts",
                color="#b91c1c",
            )
        case AlertKind.INCIDENT_RESOLVED:
            return Words(
                title="Incident resolved",
                sentence=_resolution(alert.incident),
                call="See the timeline",
                color="#15803d",
            )


def _resolution(incident: Incident) -> str:
    return _RESOLUTIONS[incident.resolution] if incident.resolution else "The incident is resolved."


def _subject(alert: AlertDue, words: Words) -> str:
    receipt = alert.receipt
    mode = "" if receipt.livemode else "[test] "
    text = f"{mode}{words.title}: {receipt.internal_reference} · {receipt.event_type} · {alert.incident.reason}"
    # The app's own text: a line break in a header is refused, and other controls are of no use to people.
    return re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", text)[:SUBJECT_CHARACTERS]


def _facts(alert: AlertDue) -> tuple[tuple[str, str], ...]:
    """Name and value of each line, those without a value left out."""
    receipt, incident = alert.receipt, alert.incident
    lines = (
        ("Reference", receipt.internal_reference),
        ("Event", receipt.event_type.value),
        ("Effect", receipt.effect_type.value),
        ("Reason", incident.reason.value),
        ("Error", " ".join(part for part in (incident.error_code, incident.error_message) if part)),
        ("Repair failed", f"{alert.cause.value}" if alert.cause else ""),
        ("Resolution", incident.resolution.value if incident.resolution else ""),
        ("Provider", f"{receipt.provider.value} {receipt.provider_event_id}"),
        ("Occurred", wire(receipt.occurred_at)),
        ("Deadline", wire(receipt.deadline_at)),
        ("Opened", wire(incident.opened_at)),
        ("Resolved", wire(incident.resolved_at) if incident.resolved_at else ""),
        ("Event id", receipt.event_id),
        ("Incident id", incident.id),
        ("Replay id", alert.replay_id or ""),
    )
    return tuple((name, value) for name, value in lines if value)
