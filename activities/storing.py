"""Brings what was done into the store: begun, it ends, whoever is cancelled; a store that is away is asked again for a while.

What became of a sending is known to this process alone: lost here, it would be sent once more. Used by `activities.alerts.send`
and `activities.callback.send`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from domain.errors import Unavailable

AGAIN_SECONDS = 0.2

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]  # Any: what a coroutine is sent, which is nothing


async def finished(work: Work[T]) -> T:
    """What the work returns. A cancellation waits until the work has ended, and goes on then.

    Raises: what the work raises.
    """
    task = asyncio.create_task(work())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # Retrieved: nobody waits for it any more.
        raise


async def recorded(record: Work[T], *, seconds: float) -> T:
    """What `record` returns, once the store takes it; not begun again after `seconds`.

    Raises:
        Unavailable: the store was away for that long.
    """
    return await finished(lambda: _until_taken(record, seconds))


async def _until_taken(record: Work[T], seconds: float) -> T:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        try:
            return await record()
        except Unavailable:
            if loop.time() + AGAIN_SECONDS > deadline:
                raise
        await asyncio.sleep(AGAIN_SECONDS)
