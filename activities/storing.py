"""Writes results to the store despite cancellations and store outages.

Only this process knows the result of what it sent. If the result were lost here, the message would
be sent again. Used by `activities.alerts.send` and `activities.callback.send`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from domain.errors import Unavailable

RETRY_SECONDS = 0.2

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]  # Any: the types that a coroutine yields and is sent


async def run_uncancelled(work: Work[T]) -> T:
    """Run the work to its end and return its result. A cancellation takes effect after that.

    Raises: what the work raises.
    """
    task = asyncio.create_task(work())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # Retrieved, because nobody awaits the task any more.
        raise


async def retry_until_stored(write: Work[T], *, seconds: float) -> T:
    """Run `write` until the store accepts it, and return its result. No retry begins after
    `seconds`.

    Raises:
        Unavailable: the store was unavailable for that long.
    """
    return await run_uncancelled(lambda: _retry(write, seconds))


async def _retry(write: Work[T], seconds: float) -> T:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        try:
            return await write()
        except Unavailable:
            if loop.time() + RETRY_SECONDS > deadline:
                raise
        await asyncio.sleep(RETRY_SECONDS)
