"""Writes an alert as a mail, in text and HTML with the same facts.

Pure: the same message always gives the same mail except for its date, so that copies are recognised
by their Message-ID. Called by `activities.alerts.email`.
"""

import hashlib
from datetime import UTC
from email.utils import format_datetime
from pathlib import Path

import jinja2

from activities.alerts.channels import TRIAL_KIND, AlertMessage
from activities.alerts.email_format import OutgoingMail, compose, encoded, raw
from domain.incidents import AlertKind
from store.people.email_addresses import canonical_address

TEMPLATES = Path(__file__).parent / "templates"
# Their mails answer no earlier mail.
FIRST_OF_THEIR_SUBJECT = frozenset(
    {
        AlertKind.INCIDENT_OPENED,
        AlertKind.SOURCE_SILENT,
        AlertKind.EARLY_RESULTS_UNCLAIMED,
        AlertKind.PROJECT_SILENT,
        TRIAL_KIND,
        AlertKind.BULK_REPAIR_ENDED,
        AlertKind.RULE_DISARMED,
    }
)
SUBJECT_CHARACTERS = 200  # no summary is longer


class MailWriter:
    """Writes the mails of one installation, with its sender address.

    Raises:
        AddressRefused: `mail_from` is not a valid address.
    """

    def __init__(self, *, mail_from: str) -> None:
        self._mail_from = canonical_address(mail_from)
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=jinja2.select_autoescape(["html"]),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def write(self, message: AlertMessage, address: str) -> OutgoingMail:
        """The mail of a message to this address.

        Raises:
            AddressRefused: the address is not valid.
        """
        recipient = canonical_address(address)
        text, html = (
            self._templates.get_template(name).render(message=message)
            for name in ("alert.txt", "alert.html")
        )
        content = compose(self._fields(message, recipient), text=text, html=html)
        return OutgoingMail(self._mail_from, recipient, content)

    def _fields(self, message: AlertMessage, recipient: str) -> tuple[tuple[str, str], ...]:
        opened = self._message_id(message, AlertKind.INCIDENT_OPENED, None)
        is_again = message.kind == AlertKind.INCIDENT_OPENED and message.subject_id is not None
        is_first = message.kind in FIRST_OF_THEIR_SUBJECT and not is_again
        message_id = self._message_id(message, message.kind, message.subject_id)
        return (
            ("Subject", _subject(message)),
            ("From", raw(f"Makegood <{self._mail_from}>")),
            ("To", raw(recipient)),
            ("Date", raw(format_datetime(message.at.astimezone(UTC)))),
            ("Message-ID", raw(message_id)),
            *(() if is_first else (("In-Reply-To", raw(opened)), ("References", raw(opened)))),
            *_unsubscribe_fields(message.links.unsubscribe),
            ("Auto-Submitted", "auto-generated"),
            ("X-Auto-Response-Suppress", "All"),
        )

    def _message_id(self, message: AlertMessage, kind: str, subject_id: str | None) -> str:
        """Made from incident, kind, `replay_id` and destination (contract, "Mail")."""
        destination = hashlib.sha256(message.destination.encode()).hexdigest()[:16]
        parts = (message.incident_id, kind, subject_id or "", destination)
        return f"<{'.'.join(part for part in parts if part)}@{self._mail_from.rpartition('@')[2]}>"


def _unsubscribe_fields(link: str) -> tuple[tuple[str, str], ...]:
    """The fields of RFC 2369 and, for an https link, of one click (RFC 8058)."""
    if not link:
        return ()
    one_click = (("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),)
    return (
        ("List-Unsubscribe", raw(f"<{link}>")),
        *(one_click if link.startswith("https://") else ()),
    )


def _subject(message: AlertMessage) -> str:
    """The summary, or for an incident the subject of its thread, with `Re:` after the first.

    Gmail threads mails with equal subjects, apart from `Re:`, that name an earlier one.
    """
    subject = message.thread or message.summary
    if message.thread and message.kind not in FIRST_OF_THEIR_SUBJECT:
        subject = f"Re: {subject}"
    return raw(subject) if message.is_plain else encoded(subject, longest=SUBJECT_CHARACTERS + 4)
