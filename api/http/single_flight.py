"""One question for all who ask it at the same time: what strangers may ask as often as they like costs one connection."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Flight(Generic[T]):
    """A question that is asked once at a time; who comes while it runs gets its answer."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._task: asyncio.Task[T] | None = None

    async def answer(self, *, seconds: float) -> T:
        """The answer; the question goes on when nobody waits for it any more.

        Raises: TimeoutError when it takes longer; whatever the question raises.
        """
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(_look_at)  # its failure is nobody's who has stopped waiting
        async with asyncio.timeout(seconds):
            return await asyncio.shield(self._task)

    async def _run(self) -> T:
        return await self._ask()


def _look_at(task: asyncio.Task[T]) -> None:
    if not task.cancelled():
        task.exception()
