"""A real HTTP server that accepts, refuses, throttles, hangs, drips or resets."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from egress.policy import Network

LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"),)


@dataclass(frozen=True, slots=True)
class Got:
    """One request; header names are lowercase."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Receiver:
    """The server's address, how it behaves, and what it got.

    `mode` is `answer`, `hang`, `drip` or `reset`. `statuses` are answered in turn, the last
    repeatedly.
    """

    url: str = ""
    mode: str = "answer"
    statuses: list[int] = field(default_factory=lambda: [200])
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b"ok"
    got: list[Got] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(await self._read(reader), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Got:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        headers = {name.lower(): value for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        got = Got(first.split(" ")[1], headers, body)
        self.got.append(got)
        return got

    async def _answer(self, got: Got, writer: asyncio.StreamWriter) -> None:
        if self.mode == "reset":
            # Closed at once, with what was not read thrown away: a reset.
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return
        if self.mode == "hang":
            await self.ended.wait()
            return
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        fields = {"Content-Length": str(len(self.content)), **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode())
        if self.mode == "drip":
            while not self.ended.is_set():
                writer.write(b"x")
                await writer.drain()
                await asyncio.wait([asyncio.ensure_future(self.ended.wait())], timeout=0.05)
        writer.write(self.content)
        await writer.drain()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """The server while the block runs, on a free port of loopback."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    receiver.url = f"http://127.0.0.1:{port}"
    try:
        yield receiver
    finally:
        receiver.ended.set()
        server.close()
        await server.wait_closed()
