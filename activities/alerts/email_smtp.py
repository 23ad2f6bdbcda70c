"""Hands one letter to a mail server, and says whether its no is for good. Keeps no connection, and logs no address.

The server is named by `smtp://user:pass@host:587?starttls=required` or `smtps://…`; `starttls` is `auto` (taken when offered, the
default), `required` or `never`. Built by `worker.main`, called by `activities.alerts.send`.
"""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib

from activities.alerts.email_format import Letter

STEP_SECONDS = 10
# From the look-up of the server's name to its answer to DATA, however slowly it drips.
EXCHANGE_SECONDS = 12
QUIT_SECONDS = 1
_STARTTLS: dict[str, bool | None] = {"auto": None, "required": True, "never": False}
_PORTS = {"smtp": 25, "smtps": 465}


# 5xx that are about this connection or its account, not about the letter: what an operator corrects, or what passes.
_OF_THE_CONNECTION = frozenset({500, 501, 502, 503, 521, 530, 534, 535, 538})
# Enhanced codes (RFC 3463, 5248) that pass or are corrected though the class says for good: a full mailbox or disk, a system
# that takes nothing now or is misconfigured, an account that has to sign in again.
_PASSING = re.compile(r"4\.|5\.2\.2\b|5\.3\.[1235]\b|5\.7\.(8|9|1[1-4])\b")


class MailNotSent(Exception):
    """The server did not take the letter; the text names the kind of failure and no address.

    `is_permanent`: the server says that it never will. `is_of_contents`: it took the addresses, and not what is in it.
    `is_silent`: it did not answer in time.
    """

    def __init__(
        self, failure: str, *, is_permanent: bool = False, is_of_contents: bool = False, is_silent: bool = False
    ) -> None:
        super().__init__(failure)
        self.is_permanent = is_permanent
        self.is_of_contents = is_of_contents
        self.is_silent = is_silent


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
    """Sends each letter over a connection of its own."""

    def __init__(self, server: MailServer, *, exchange_seconds: float = EXCHANGE_SECONDS) -> None:
        self._server = server
        self._exchange_seconds = exchange_seconds
        # Looked up for the first letter, and not again: a name server may be slow each time.
        self._own_name: str | None = None

    async def __call__(self, letter: Letter) -> None:
        """Nothing, once the server has taken the letter. Cancelled, it closes the connection and waits for nothing.

        Raises:
            MailNotSent: it did not, within `STEP_SECONDS` for each step and `exchange_seconds` for all.
        """
        client = self._client()
        try:
            async with asyncio.timeout(self._exchange_seconds):
                await client.connect()
                self._own_name = client.local_hostname
                await client.sendmail(letter.sender, [letter.recipient], letter.content)
            await _part_politely(client)
        except aiosmtplib.SMTPRecipientsRefused as refusal:
            first = refusal.recipients[0]
            raise _not_sent(refusal, first.code, first.message, is_final=True) from None
        except aiosmtplib.SMTPResponseException as refusal:
            is_data = isinstance(refusal, aiosmtplib.SMTPDataError)
            is_final = is_data or isinstance(refusal, aiosmtplib.SMTPSenderRefused)
            raise _not_sent(refusal, refusal.code, refusal.message, is_final=is_final, is_data=is_data) from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as failure:
            raise MailNotSent(type(failure).__name__, is_silent=isinstance(failure, TimeoutError)) from None
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
    """Whether an answer to MAIL, RCPT or DATA means that the same letter will never be taken (RFC 5321, 4.2.1)."""
    return 500 <= code <= 599 and code not in _OF_THE_CONNECTION and not _PASSING.match(message.strip())


def _not_sent(refusal: Exception, code: int, message: str, *, is_final: bool, is_data: bool = False) -> MailNotSent:
    # The server's own words may repeat the address.
    kind, is_over = f"{type(refusal).__name__} {code}", is_final and is_permanent(code, message)
    return MailNotSent(kind, is_permanent=is_over, is_of_contents=is_over and is_data)


async def _part_politely(client: aiosmtplib.SMTP) -> None:
    """The letter is taken: whatever the server does about QUIT changes nothing."""
    with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
        async with asyncio.timeout(QUIT_SECONDS):
            await client.quit()
