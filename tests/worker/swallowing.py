"""A proxy before Temporal that swallows long polls, as some do that stand between: every other call is answered as before.

It reads the frames of HTTP/2 that the client sends. A poll's request is never handed on, so that it stays unanswered for ever.
"""

import asyncio
import contextlib
import gzip
import struct
from types import TracebackType
from typing import Self

from google.protobuf.message import DecodeError
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueRequest

PREFACE_BYTES = 24
FRAME_BYTES = 9
DATA = 0
GRPC_PREFIX_BYTES = 5


class SwallowingProxy:
    """Hands on what comes to a port; `swallowed` counts the polls that it kept."""

    def __init__(self, *, listens_on: int, leads_to: int) -> None:
        self.swallowed = 0
        self._listens_on, self._leads_to = listens_on, leads_to
        self._is_swallowing = False
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._listens_on)
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.close()
        await self._cut()

    async def swallow_polls(self) -> None:
        """From now on; the connections are cut, since the polls that wait in them have been handed on."""
        self._is_swallowing = True
        await self._cut()

    async def _cut(self) -> None:
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._hand_on(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._leads_to)
        except OSError:
            writer.close()
            return
        back = asyncio.create_task(_copy(there_reader, writer))
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._copy_frames(reader, there_writer)
        finally:
            back.cancel()
            writer.close()
            there_writer.close()

    async def _copy_frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept_streams: set[int] = set()
        writer.write(await reader.readexactly(PREFACE_BYTES))
        while True:
            head = await reader.readexactly(FRAME_BYTES)
            body = await reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, (stream,) = head[3], struct.unpack(">I", head[5:])
            if kind == DATA and self._is_swallowing and _is_poll(body):
                kept_streams.add(stream)
                self.swallowed += 1
            if kind != DATA or stream not in kept_streams:
                writer.write(head + body)
                await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


def _is_poll(body: bytes) -> bool:
    """Polls for activities have the same first fields; no other request names its queue and its sender there."""
    is_compressed, message = body[:1] == b"\1", body[GRPC_PREFIX_BYTES:]
    try:
        request = PollWorkflowTaskQueueRequest.FromString(gzip.decompress(message) if is_compressed else message)
    except (DecodeError, OSError, EOFError):
        return False
    return request.namespace == "default" and bool(request.task_queue.name) and request.identity.startswith("worker-")
