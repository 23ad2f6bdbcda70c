"""Asks a child whether it is ready; each answers False rather than raise while the child is still starting.

They open a connection and ask the least that proves it. None uses the Temporal client: a short-lived one may end its
process by a signal. Called by `cli.up` for the supervisor, several times a second.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

TIMEOUT_SECONDS = 2.0
# What a connection that is refused, cut, or answered with something else raises.
NOT_YET = (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError)


async def answers_http(host: str, port: int, path: str) -> bool:
    """True when a GET of the path is answered with 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    return (await _first_line(host, port, request.encode())).split(b" ")[1:2] == [b"200"]


async def greets_by_smtp(host: str, port: int) -> bool:
    """True when the mail server says its greeting."""
    return (await _first_line(host, port, b"")).startswith(b"220")


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
