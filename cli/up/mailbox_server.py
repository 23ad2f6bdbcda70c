"""The built-in mailbox: an SMTP server on loopback that keeps every mail it is handed and forwards none.

It accepts any sender and any recipient, so it listens on 127.0.0.1 alone. A mail is on disk before it is accepted. A child
of `makegood up` when no `MAKEGOOD_SMTP_URL` is set; `store.maintenance.mailbox` holds the files and reads them.
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
    """What aiosmtpd calls for each mail."""

    def __init__(self, directory: Path) -> None:
        """`directory` takes the files."""
        self._directory = directory

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keep the mail, then accept it; a full or broken disk is a temporary refusal, so that the sender tries again."""
        del server, session
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        try:
            await asyncio.to_thread(store_mail, self._directory, content, received_at=datetime.now(UTC))
        except OSError as error:
            print(f"mail_not_kept reason={error.strerror}", flush=True)
            return "452 The mail could not be stored"
        print(f"mail_kept recipients={len(envelope.rcpt_tos)} bytes={len(content)}", flush=True)
        return "250 Kept"


def run_mailbox(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; the exit code."""
    os.umask(0o077)
    try:
        asyncio.run(serve_mailbox(settings.mailbox_dir, settings.smtp_port))
    except OSError as error:
        print(f"port {settings.smtp_port} (MAKEGOOD_SMTP_PORT) cannot be used: {error.strerror}", file=sys.stderr)
        return 1
    return 0


async def serve_mailbox(directory: Path, port: int) -> None:
    """Serve until this process is signalled, with the mails kept in `directory`."""
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
    return SMTP(handler, data_size_limit=MAIL_BYTES, enable_SMTPUTF8=True, hostname="localhost", ident="Makegood mailbox")
