"""Shares one running call among concurrent callers.

Anonymous clients may request the health checks at any rate. All of them together use one database
connection.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """A call that runs at most once at a time. Concurrent callers share its result."""

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        self._call = call
        self._task: asyncio.Task[T] | None = None

    async def result(self, *, timeout_seconds: float) -> T:
        """The call's result. The call continues when a caller stops waiting.

        Raises: TimeoutError when it takes longer; the call's own exceptions.
        """
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
            # A failure that no caller waits for any more must not be logged as never retrieved.
            self._task.add_done_callback(_retrieve_failure)
        async with asyncio.timeout(timeout_seconds):
            return await asyncio.shield(self._task)

    async def _run(self) -> T:
        return await self._call()


def _retrieve_failure(task: asyncio.Task[T]) -> None:
    if not task.cancelled():
        task.exception()
