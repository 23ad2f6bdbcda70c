"""Sends one mail to an SMTP server, and classifies a refusal as permanent or temporary.

It keeps no connection and logs no address. The server's URL is
`smtp://user:pass@host:587?starttls=required` or `smtps://…`. `starttls` is `auto` (used when
offered, the default), `required` or `never`. Built by `worker.main`, called by
`activities.alerts.email`.
"""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib

from activities.alerts.channels import AlertNotDelivered, ChannelAnswer
from activities.alerts.email_format import OutgoingMail

STEP_SECONDS = 10
# From the resolution of the server's name to its reply to DATA, even if the reply arrives byte by
# byte.
EXCHANGE_SECONDS = 12
QUIT_SECONDS = 1
_STARTTLS: dict[str, bool | None] = {"auto": None, "required": True, "never": False}
_PORTS = {"smtp": 25, "smtps": 465}
_URL_EXAMPLE = "smtp://user:password@host:587?starttls=required"

# 5xx codes about the connection or the account, not the mail. They pass, or an operator corrects
# them.
_CONNECTION_CODES = frozenset({500, 501, 502, 503, 521, 530, 534, 535, 538})
# Enhanced codes (RFC 3463, 5248) that pass or are corrected, although their class is permanent: a
# full mailbox or disk, a system that accepts nothing now or is misconfigured, an account that must
# sign in again.
_TEMPORARY = re.compile(r"4\.|5\.2\.2\b|5\.3\.[1235]\b|5\.7\.(8|9|1[1-4])\b")


@dataclass(frozen=True, slots=True)
class MailServer:
    """An SMTP server. `starttls` None: used when offered. `is_implicit_tls`: TLS from the first
    byte.
    """

    host: str
    port: int
    is_implicit_tls: bool
    starttls: bool | None
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)


def parse_mail_server(url: str) -> MailServer:
    """The server that an SMTP URL names.

    Raises:
        ValueError: the URL has another form. The message does not repeat it.
    """
    parts = urlsplit(url)
    starttls = parse_qs(parts.query).get("starttls", ["auto"])[-1]
    if parts.scheme not in _PORTS or not parts.hostname or starttls not in _STARTTLS:
        raise ValueError(f"the SMTP URL must look like {_URL_EXAMPLE} or smtps://host")
    return MailServer(
        host=parts.hostname,
        port=parts.port or _PORTS[parts.scheme],
        is_implicit_tls=parts.scheme == "smtps",
        starttls=False if parts.scheme == "smtps" else _STARTTLS[starttls],
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


class SmtpMailer:
    """Sends each mail over a connection of its own."""

    def __init__(self, server: MailServer, *, exchange_seconds: float = EXCHANGE_SECONDS) -> None:
        self._server = server
        self._exchange_seconds = exchange_seconds
        # Resolved once, for the first mail: a name server may be slow each time.
        self._own_name: str | None = None

    async def __call__(self, mail: OutgoingMail) -> None:
        """Send the mail, and return once the server has accepted it.

        A cancellation closes the connection and waits for nothing.

        Raises:
            AlertNotDelivered: the server did not accept it within `STEP_SECONDS` for each step and
                `exchange_seconds` in all.
        """
        client = self._client()
        try:
            async with asyncio.timeout(self._exchange_seconds):
                await client.connect()
                self._own_name = client.local_hostname
                await client.sendmail(mail.sender, [mail.recipient], mail.content)
            await _quit(client)
        except aiosmtplib.SMTPRecipientsRefused as refusal:
            first = refusal.recipients[0]
            raise _not_sent(refusal, first.code, first.message, is_final=True) from None
        except aiosmtplib.SMTPResponseException as refusal:
            is_data = isinstance(refusal, aiosmtplib.SMTPDataError)
            is_final = is_data or isinstance(refusal, aiosmtplib.SMTPSenderRefused)
            code, message = refusal.code, refusal.message
            raise _not_sent(refusal, code, message, is_final=is_final, is_data=is_data) from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as failure:
            is_silent = isinstance(failure, TimeoutError)
            raise AlertNotDelivered(type(failure).__name__, is_silent=is_silent) from None
        finally:
            client.close()

    def _client(self) -> aiosmtplib.SMTP:
        server = self._server
        return aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            local_hostname=self._own_name,
            username=server.username,
            password=server.password,
            use_tls=server.is_implicit_tls,
            start_tls=server.starttls,
            timeout=STEP_SECONDS,
        )


def is_permanent(code: int, message: str) -> bool:
    """Whether a reply to MAIL, RCPT or DATA refuses the same mail for ever (RFC 5321, 4.2.1)."""
    is_about_mail = 500 <= code <= 599 and code not in _CONNECTION_CODES
    return is_about_mail and not _TEMPORARY.match(message.strip())


def _not_sent(
    refusal: Exception, code: int, message: str, *, is_final: bool, is_data: bool = False
) -> AlertNotDelivered:
    # The server's own text may repeat the address, so it is left out.
    kind, is_over = f"{type(refusal).__name__} {code}", is_final and is_permanent(code, message)
    return AlertNotDelivered(
        kind,
        is_permanent=is_over,
        is_content_refused=is_over and is_data,
        answer=ChannelAnswer(code),
    )


async def _quit(client: aiosmtplib.SMTP) -> None:
    """Send QUIT and ignore its outcome, because the mail is already accepted."""
    with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
        async with asyncio.timeout(QUIT_SECONDS):
            await client.quit()
