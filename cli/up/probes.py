"""Asks a child whether it is ready, or still works; each answers False rather than raise while it does not.

They open a connection and ask the least that proves it. None uses the Temporal client: a short-lived one may end its
process by a signal. Called by `cli.up.run` for the supervisor, several times a second.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

TIMEOUT_SECONDS = 2.0
# What opens a connection of HTTP/2, and an empty frame of settings; the other side answers with its own settings.
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
HTTP2_FRAME_BYTES, HTTP2_TYPE_AT, HTTP2_SETTINGS = 9, 3, 4
# What a connection that is refused, cut, or answered with something else raises.
NOT_YET = (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError)


async def answers_http(host: str, port: int, path: str) -> bool:
    """True when a GET of the path is answered with 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    return (await _first_line(host, port, request.encode())).split(b" ")[1:2] == [b"200"]


async def greets_by_smtp(host: str, port: int) -> bool:
    """True when the mail server says its greeting."""
    return (await _first_line(host, port, b"")).startswith(b"220")


async def speaks_http2(host: str, port: int) -> bool:
    """True when what listens there shakes hands, as a gRPC server does before any call; a frozen one just lets one connect."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), _connected(host, port) as (reader, writer):
            writer.write(HTTP2_GREETING)
            return (await reader.readexactly(HTTP2_FRAME_BYTES))[HTTP2_TYPE_AT] == HTTP2_SETTINGS
    except NOT_YET:
        return False


async def temporal_is_healthy(program: str, host: str, port: int, environment: Mapping[str, str]) -> bool:
    """True when the port accepts and the engine's own health check, asked by the Temporal program, is good."""
    try:
        async with _connected(host, port):
            pass
    except NOT_YET:
        return False
    command = (program, "operator", "cluster", "health", "--address", f"{host}:{port}")
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=quiet, stdout=quiet, stderr=quiet, env=environment)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await process.wait() == 0
    except TimeoutError:
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _first_line(host: str, port: int, request: bytes) -> bytes:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), _connected(host, port) as (reader, writer):
            writer.write(request)
            return await reader.readline()
    except NOT_YET:
        return b""


@contextlib.asynccontextmanager
async def _connected(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
