"""Observes Temporal during a measurement, in the same way for ours and for the baselines."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from temporalio.client import Client, WorkflowHandle

POLL_SECONDS = 0.25
GIVE_UP_SECONDS = 240
# Temporal sets a timer for each workflow task and handles it when it fires, long after the task.
# Measurements are this far apart, so that the timers of one do not slow the next: the longest task
# timeout, and a second.
TIMERS_LEFT_SECONDS = 6.0


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    """Yield a client for the block, then drop it and wait for its threads.

    Otherwise the interpreter may crash at exit.
    """
    clients = [await Client.connect(address)]
    try:
        yield clients[0]
    finally:
        clients.clear()
        await asyncio.sleep(0.3)


async def wait_until(
    condition: Callable[[], Awaitable[bool]], *, what: str, seconds: float = GIVE_UP_SECONDS
) -> None:
    """Check the condition until it is true.

    Raises:
        AssertionError: it was not true in time.
    """
    give_up_at = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(POLL_SECONDS)


async def count_completed(client: Client, workflow_type: str) -> int:
    """How many workflows of the type have completed."""
    counted = await client.count_workflows(
        f"WorkflowType = '{workflow_type}' AND ExecutionStatus = 'Completed'"
    )
    return counted.count


async def wait_for_first_tasks(client: Client, workflow_ids: list[str]) -> None:
    """Wait until the workflows have set their timers, so that no task is pending.

    Only one in ten is checked, and the last one.
    """
    for workflow_id in reversed(workflow_ids[-1::-10]):
        handle = client.get_workflow_handle(workflow_id)

        async def has_no_task(handle: WorkflowHandle[Any, Any] = handle) -> bool:
            described = await handle.describe()
            return not described.raw_description.HasField("pending_workflow_task")

        await wait_until(has_no_task, what=f"the first task of {workflow_id}")
