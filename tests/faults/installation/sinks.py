"""The world around an installation: a mail server and a merchant's repair endpoint that record
everything, and can misbehave.

Both run in the harness's event loop. What they receive is in the history before they answer, so
that nothing that they acknowledged can be missing there.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from enum import StrEnum

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.faults.installation.history import History

DRIP_SECONDS = 0.5


class MailMode(StrEnum):
    """How the mail server behaves:

    as it should; 4xx to each mail; connections closed at once; no answer after the mail.
    """

    WELL = "well"
    PUTS_OFF = "puts_off"
    REFUSES = "refuses"
    HANGS = "hangs"


class CallMode(StrEnum):
    """How the repair endpoint behaves:

    202; no answer; an answer byte by byte; the connection reset; 500.
    """

    WELL = "well"
    HANGS = "hangs"
    DRIPS = "drips"
    RESETS = "resets"
    FAILS = "fails"


@dataclass(slots=True)
class MailServer:
    """A mail server on loopback; its handler is this object."""

    history: History
    mode: MailMode = MailMode.WELL
    url: str = ""
    _healed: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_EHLO(
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        session.host_name = hostname
        if self.mode is MailMode.REFUSES:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return responses

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.mode is MailMode.PUTS_OFF:
            return "451 not now"
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        text = mail.get_body(("plain",))
        self.history.note(
            "mail",
            message_id=mail["Message-ID"],
            in_reply_to=mail["In-Reply-To"],
            subject=mail["Subject"],
            to=mail["To"],
            text="" if text is None else text.get_content(),
        )
        if self.mode is MailMode.HANGS:
            await self._healed.wait()
            return "421 too late"
        return "250 OK"

    def behave(self, mode: MailMode) -> None:
        """From now on; those left hanging are let go when it is well again."""
        self.mode = mode
        if mode is MailMode.HANGS:
            self._healed.clear()
        else:
            self._healed.set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listening on a free port while the block runs."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: SMTP(self, hostname="sink.example", loop=loop), "127.0.0.1", 0
        )
        self.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            self._healed.set()
            server.close()


@dataclass(slots=True)
class RepairEndpoint:
    """A merchant's repair endpoint on loopback; `take` gets the body of each call that was answered
    with 202.
    """

    history: History
    take: Callable[[str], Coroutine[None, None, None]]
    mode: CallMode = CallMode.WELL
    url: str = ""
    _jobs: set[asyncio.Task[None]] = field(default_factory=set)
    _healed: asyncio.Event = field(default_factory=asyncio.Event)

    def behave(self, mode: CallMode) -> None:
        """From now on; those left hanging are let go when it is well again."""
        self.mode = mode
        if mode is CallMode.HANGS:
            self._healed.clear()
        else:
            self._healed.set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listening on a free port while the block runs."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/makegood/repair"
        try:
            yield
        finally:
            self._healed.set()
            server.close()

    async def finish_jobs(self) -> None:
        """Wait for the jobs of the calls that were taken."""
        await asyncio.gather(*self._jobs)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = (line.partition(":") for line in head.split("\r\n")[1:] if line)
            headers = {name.strip().lower(): value.strip() for name, _, value in lines}
            body = (await reader.readexactly(int(headers.get("content-length", "0")))).decode()
            mode = self.mode
            status = {CallMode.WELL: 202, CallMode.FAILS: 500}.get(mode)
            self.history.note("callback", headers=headers, body=body, answered=status)
            await self._answer(mode, writer)
            if mode is CallMode.WELL:
                job = asyncio.create_task(self.take(body))
                self._jobs.add(job)
                job.add_done_callback(self._jobs.discard)
        writer.close()

    async def _answer(self, mode: CallMode, writer: asyncio.StreamWriter) -> None:
        match mode:
            case CallMode.WELL:
                writer.write(
                    b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
            case CallMode.FAILS:
                writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            case CallMode.HANGS:
                await self._healed.wait()
            case CallMode.DRIPS:
                for byte in (
                    b"HTTP/1.1 202 Accepted\r\nContent-Length: 100000\r\n\r\n" + b"." * 1000
                ):
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(DRIP_SECONDS)  # it is the drip
            case CallMode.RESETS:
                connection: socket.socket = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
        if mode is not CallMode.RESETS:
            await writer.drain()
