"""The built-in mailbox: an SMTP server on loopback that stores every mail and forwards none.

It accepts any sender and recipient, so it listens on 127.0.0.1 only. A mail is on disk before it is
accepted. `makegood up` runs it when `MAKEGOOD_SMTP_URL` is not set. `store.maintenance.mailbox`
writes and reads the files.
"""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from config.settings import Settings
from store.maintenance.mailbox import store_mail

MAIL_BYTES = 10 * 1024 * 1024
HOST = "127.0.0.1"


class StoreEveryMail:
    """The aiosmtpd handler: called for each mail."""

    def __init__(self, directory: Path) -> None:
        """`directory` is where the mails are stored."""
        self._directory = directory

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Store the mail, then accept it. A disk error is a temporary refusal (452), so that the
        sender retries.
        """
        del server, session
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        try:
            await asyncio.to_thread(
                store_mail, self._directory, content, received_at=datetime.now(UTC)
            )
        except OSError as error:
            print(f"mail_not_stored reason={error.strerror}", flush=True)
            return "452 The mail could not be stored"
        print(f"mail_stored recipients={len(envelope.rcpt_tos)} bytes={len(content)}", flush=True)
        return "250 Stored"


def run_mailbox(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code."""
    os.umask(0o077)
    try:
        asyncio.run(serve_mailbox(settings.mailbox_dir, settings.smtp_port))
    except OSError as error:
        print(
            f"port {settings.smtp_port} (MAKEGOOD_SMTP_PORT) cannot be used: {error.strerror}",
            file=sys.stderr,
        )
        return 1
    return 0


async def serve_mailbox(directory: Path, port: int) -> None:
    """Serve until SIGINT or SIGTERM, storing mails in `directory`."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    handler = StoreEveryMail(directory)
    server = await loop.create_server(lambda: _protocol(handler), HOST, port)
    async with server:
        await stopped.wait()
        server.close()


def _protocol(handler: StoreEveryMail) -> SMTP:
    return SMTP(
        handler,
        data_size_limit=MAIL_BYTES,
        enable_SMTPUTF8=True,
        hostname="localhost",
        ident="Makegood mailbox",
    )
