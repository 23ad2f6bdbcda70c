"""Looks at Temporal from outside while the programs of this folder measure; the same way for ours and for baselines."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from temporalio.client import Client, WorkflowHandle

POLL_SECONDS = 0.25
GIVE_UP_SECONDS = 240
# The engine sets a timer for each task it gives out, and looks at it when it fires, the task long done: the longest that ours
# and the minimal workflows have, and a second. What one measurement left must not be paid by the next.
TIMERS_LEFT_SECONDS = 6.0


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    """A client for the block. Afterwards it is dropped, with time for its threads: else the interpreter's exit may crash."""
    clients = [await Client.connect(address)]
    try:
        yield clients[0]
    finally:
        clients.clear()
        await asyncio.sleep(0.3)


async def until(condition: Callable[[], Awaitable[bool]], *, what: str, seconds: float = GIVE_UP_SECONDS) -> None:
    """Ask until it is so."""
    give_up_at = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(POLL_SECONDS)


async def completed(client: Client, workflow_type: str) -> int:
    """How many workflows of the type have completed."""
    counted = await client.count_workflows(f"WorkflowType = '{workflow_type}' AND ExecutionStatus = 'Completed'")
    return counted.count


async def until_first_tasks_done(client: Client, workflow_ids: list[str]) -> None:
    """Return once the workflows have set their timers: no task of theirs is pending. Looks at one in ten, the last among them."""
    for workflow_id in reversed(workflow_ids[-1::-10]):
        handle = client.get_workflow_handle(workflow_id)

        async def has_no_task(handle: WorkflowHandle[Any, Any] = handle) -> bool:
            described = await handle.describe()
            return not described.raw_description.HasField("pending_workflow_task")

        await until(has_no_task, what=f"the first task of {workflow_id}")
