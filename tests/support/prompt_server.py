"""uvicorn on the event loop of a test: it serves as in production, and stops without pauses.

uvicorn looks every 0.1 s whether it should stop, and then waits another 0.1 s for its connections.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI

from api.main import server_config
from tests.support.waiting import wait_until_async

TICK_SECONDS = 1.0  # uvicorn renews the date header once a second


class PromptServer(uvicorn.Server):
    """Stops when `stop` is called; with requests in progress, it stops as uvicorn does."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0)  # idle connections are closed now
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        await self.lifespan.shutdown()


@contextlib.asynccontextmanager
async def listening(app: FastAPI, listener: socket.socket) -> AsyncIterator[None]:
    """The application listens on the socket during the block."""
    server = PromptServer(server_config(app, host="127.0.0.1", port=listener.getsockname()[1]))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await wait_until_async(lambda: server.started or task.done(), what="the server started")
        yield
    finally:
        server.stop()
        await task
