"""The tokens of links in mails: signed, each for one purpose.

A token is readable, and its last part is an HMAC. The key derives from the project's data key: a
replaced root secret leaves tokens valid, and a deleted project ends them. Pure:
`store.alerts.links` reads the key.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import StrEnum

from domain.ids import DestinationId, IncidentId, ProjectId

_ID = "[0-9a-f]{32}"
_MAC = "(?P<mac>[A-Za-z0-9_-]{43})"
_PATTERNS = {
    "unsubscribe": re.compile(rf"(?P<project>prj_{_ID})\.(?P<destination>dst_{_ID})\.{_MAC}"),
    "acknowledge": re.compile(
        rf"(?P<project>prj_{_ID})\.(?P<incident>inc_{_ID})"
        rf"\.(?P<alert>[0-9]{{1,18}})\.(?P<expires>[0-9]{{1,12}})\.{_MAC}"
    ),
}


class LinkPurpose(StrEnum):
    """The one thing that a link is good for."""

    UNSUBSCRIBE = "unsubscribe"
    ACKNOWLEDGE = "acknowledge"


@dataclass(frozen=True, slots=True)
class UnsubscribeLink:
    """Disables one destination. It does not expire: old mails keep their way out."""

    project_id: ProjectId
    destination_id: DestinationId

    @property
    def body(self) -> str:
        """The text that is signed."""
        return f"{self.project_id}.{self.destination_id}"


@dataclass(frozen=True, slots=True)
class AcknowledgeLink:
    """Acknowledges one incident, once. `alert_id` is the alert whose mail has the link."""

    project_id: ProjectId
    incident_id: IncidentId
    alert_id: int
    expires_at_seconds: int

    @property
    def body(self) -> str:
        """The text that is signed."""
        return f"{self.project_id}.{self.incident_id}.{self.alert_id}.{self.expires_at_seconds}"


MailLink = UnsubscribeLink | AcknowledgeLink


@dataclass(frozen=True, slots=True)
class SignedLink:
    """A link as a token says it, before its signature is verified."""

    link: MailLink
    mac: str


def link_token(link: MailLink, *, data_key: bytes) -> str:
    """The token of a link: letters, digits, `.`, `_` and `-`."""
    return f"{link.body}.{_mac(link, data_key)}"


def read_token(purpose: LinkPurpose, token: str) -> SignedLink | None:
    """The link that a token of this purpose claims to be; None if it has another form."""
    found = _PATTERNS[purpose].fullmatch(token)
    if found is None:
        return None
    project_id = ProjectId(found["project"])
    if purpose is LinkPurpose.UNSUBSCRIBE:
        link: MailLink = UnsubscribeLink(project_id, DestinationId(found["destination"]))
    else:
        incident_id, alert_id = IncidentId(found["incident"]), int(found["alert"])
        link = AcknowledgeLink(project_id, incident_id, alert_id, int(found["expires"]))
    # Leading zeros would be a second spelling of one link.
    return SignedLink(link, found["mac"]) if token.startswith(f"{link.body}.") else None


def is_signed(signed: SignedLink, *, data_key: bytes) -> bool:
    """Whether the signature is the one of this project."""
    return hmac.compare_digest(signed.mac.encode(), _mac(signed.link, data_key).encode())


def _mac(link: MailLink, data_key: bytes) -> str:
    purpose = "unsubscribe" if isinstance(link, UnsubscribeLink) else "acknowledge"
    key = hmac.new(data_key, b"makegood/mail-links/1", hashlib.sha256).digest()
    digest = hmac.new(key, f"{purpose}\0{link.body}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
