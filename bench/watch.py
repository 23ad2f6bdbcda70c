"""Looks at Temporal and at the store from outside while the programs of this folder measure; the same way for ours and baselines."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

POLL_SECONDS = 0.1
GIVE_UP_SECONDS = 240


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


async def has_no_backlog(client: Client, task_queue: str) -> bool:
    """Whether no first workflow task waits for a worker."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        report_stats=True,
    )
    described = await client.workflow_service.describe_task_queue(request)
    return described.stats.approximate_backlog_count == 0
