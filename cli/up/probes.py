"""The readiness and liveness probes of the children; each returns False instead of raising.

Each opens a connection and makes the smallest request that proves a working server. None uses the
Temporal client: a short-lived one can crash its process. The supervisor calls them several times a
second.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

LOOPBACK = "127.0.0.1"
TIMEOUT_SECONDS = 2.0
# The HTTP/2 connection preface and an empty SETTINGS frame; the server answers with its own
# SETTINGS frame.
HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
HTTP2_FRAME_BYTES, HTTP2_TYPE_AT, HTTP2_SETTINGS = 9, 3, 4
# What a connection raises that is refused, cut, or answered in another protocol.
NOT_READY = (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError)


def reachable_host(host: str) -> str:
    """The address at which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": LOOPBACK, "::": "::1", "": LOOPBACK}.get(host, host)  # noqa: S104 - compared, not bound


async def answers_http(host: str, port: int, path: str) -> bool:
    """True when a GET of the path returns 200."""
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    return (await _first_line(host, port, request.encode())).split(b" ")[1:2] == [b"200"]


async def greets_by_smtp(host: str, port: int) -> bool:
    """True when the mail server sends its greeting."""
    return (await _first_line(host, port, b"")).startswith(b"220")


async def speaks_http2(host: str, port: int) -> bool:
    """True when the server completes an HTTP/2 handshake, as gRPC does. A frozen server only
    accepts the connection.
    """
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), _connected(host, port) as (reader, writer):
            writer.write(HTTP2_GREETING)
            return (await reader.readexactly(HTTP2_FRAME_BYTES))[HTTP2_TYPE_AT] == HTTP2_SETTINGS
    except NOT_READY:
        return False


async def temporal_is_healthy(
    program: str, host: str, port: int, environment: Mapping[str, str]
) -> bool:
    """True when the port accepts connections and `temporal operator cluster health` succeeds."""
    try:
        async with _connected(host, port):
            pass
    except NOT_READY:
        return False
    command = (program, "operator", "cluster", "health", "--address", f"{host}:{port}")
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command, stdin=quiet, stdout=quiet, stderr=quiet, env=environment
    )
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
    except NOT_READY:
        return b""


@contextlib.asynccontextmanager
async def _connected(
    host: str, port: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
