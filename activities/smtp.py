"""Hands one message to a mail server. Decides nothing else, keeps no connection, and logs no address.

The server is named by `smtp://user:pass@host:587?starttls=required` or `smtps://…`; `starttls` is `auto` (taken when offered, the
default), `required` or `never`. Built by `worker.main`, called by `activities.alerts`.
"""

from dataclasses import dataclass, field
from email.message import EmailMessage
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib

SEND_SECONDS = 10
_STARTTLS: dict[str, bool | None] = {"auto": None, "required": True, "never": False}
_PORTS = {"smtp": 25, "smtps": 465}


class MailNotSent(Exception):
    """The server did not take the message; the text names the kind of failure and no address."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail goes. `starttls` None: taken when offered. `is_implicit_tls`: TLS from the first byte."""

    host: str
    port: int
    is_implicit_tls: bool
    starttls: bool | None
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)


def parse_mail_server(url: str) -> MailServer:
    """The server that an SMTP URL names.

    Raises:
        ValueError: the URL is of another form; the message does not repeat it.
    """
    parts = urlsplit(url)
    starttls = parse_qs(parts.query).get("starttls", ["auto"])[-1]
    if parts.scheme not in _PORTS or not parts.hostname or starttls not in _STARTTLS:
        raise ValueError("the SMTP URL must look like smtp://user:password@host:587?starttls=required or smtps://host")
    return MailServer(
        host=parts.hostname,
        port=parts.port or _PORTS[parts.scheme],
        is_implicit_tls=parts.scheme == "smtps",
        starttls=False if parts.scheme == "smtps" else _STARTTLS[starttls],
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


class SmtpMailer:
    """Sends each message over a connection of its own."""

    def __init__(self, server: MailServer) -> None:
        self._server = server

    async def __call__(self, message: EmailMessage) -> None:
        """Nothing, once the server has taken the message.

        Raises:
            MailNotSent: it did not, within `SEND_SECONDS` for each step.
        """
        server = self._server
        try:
            await aiosmtplib.send(
                message,
                hostname=server.host,
                port=server.port,
                username=server.username,
                password=server.password,
                use_tls=server.is_implicit_tls,
                start_tls=server.starttls,
                timeout=SEND_SECONDS,
            )
        except aiosmtplib.SMTPResponseException as refusal:
            # The server's own words may repeat the address.
            raise MailNotSent(f"{type(refusal).__name__} {refusal.code}") from None
        except aiosmtplib.SMTPRecipientsRefused as refusal:
            codes = " ".join(str(recipient.code) for recipient in refusal.recipients)
            raise MailNotSent(f"{type(refusal).__name__} {codes}") from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as failure:
            raise MailNotSent(type(failure).__name__) from None
