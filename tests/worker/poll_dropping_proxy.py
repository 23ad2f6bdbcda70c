"""A proxy that drops Temporal's long polls, as some real proxies do, and forwards other calls.

It reads the HTTP/2 frames of the client. The request of a poll is never forwarded, so it is never
answered.
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


class PollDroppingProxy:
    """Forwards the connections of a port. `dropped` counts the polls that were not forwarded."""

    def __init__(self, *, from_port: int, to_port: int) -> None:
        self.dropped = 0
        self._from_port, self._to_port = from_port, to_port
        self._is_dropping = False
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._from_port)
        return self

    async def __aexit__(
        self, *_: type[BaseException] | BaseException | TracebackType | None
    ) -> None:
        self._server.close()
        await self._close_connections()

    async def drop_polls(self) -> None:
        """Drop polls from now on.

        Open connections are closed, because their polls were forwarded already.
        """
        self._is_dropping = True
        await self._close_connections()

    async def _close_connections(self) -> None:
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.close()
            return
        responses = asyncio.create_task(_copy(server_reader, writer))
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._copy_frames(reader, server_writer)
        finally:
            responses.cancel()
            writer.close()
            server_writer.close()

    async def _copy_frames(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        dropped_streams: set[int] = set()
        writer.write(await reader.readexactly(PREFACE_BYTES))
        while True:
            head = await reader.readexactly(FRAME_BYTES)
            body = await reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, (stream,) = head[3], struct.unpack(">I", head[5:])
            if kind == DATA and self._is_dropping and _is_poll(body):
                dropped_streams.add(stream)
                self.dropped += 1
            if kind != DATA or stream not in dropped_streams:
                writer.write(head + body)
                await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


def _is_poll(body: bytes) -> bool:
    """Whether a request is a poll.

    Activity polls have the same first fields, and no other request has them.
    """
    is_compressed, message = body[:1] == b"\1", body[GRPC_PREFIX_BYTES:]
    try:
        request = PollWorkflowTaskQueueRequest.FromString(
            gzip.decompress(message) if is_compressed else message
        )
    except (DecodeError, OSError, EOFError):
        return False
    return (
        request.namespace == "default"
        and bool(request.task_queue.name)
        and request.identity.startswith("worker-")
    )
