"""Runs the minimal workflows that the worker is compared with, in a worker process of their own.

    python -m bench.minimal_driver signals|deadlines --temporal HOST:PORT --count 300

1. `signals`: workflows of one timer and one signal. All are started, then all are signalled.
2. `deadlines`: workflows of one timer, due at the same instant, and two empty activities.

Each measurement ends when all have completed. Prints one JSON line: `rate` per second, and for
deadlines whether some had not been started in time (`late`, 0 or 1).
"""

import argparse
import asyncio
import gc
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bench.baselines import TASK_QUEUE, Minimal
from bench.minimal_workflows import MinimalDeadline, nothing
from bench.watch import (
    TIMERS_LEFT_SECONDS,
    connected,
    count_completed,
    wait_for_first_tasks,
    wait_until,
)
from worker.temporal.receipt_worker import MAX_CACHED_WORKFLOWS, STICKY_SECONDS
from worker.temporal.workflow_client import TASK_SECONDS

CALLS_AT_ONCE = 24  # all slots of the dispatcher
WARM_UP = 20

Argument = TypeVar("Argument")


async def drive(count: int, call: Callable[[int], Awaitable[object]]) -> None:
    """Call with each number, `CALLS_AT_ONCE` at a time."""
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(caller() for _ in range(CALLS_AT_ONCE)))


async def start(
    client: Client,
    run: Callable[[Any, Argument], Awaitable[None]],
    argument: Argument,
    workflow_id: str,
) -> None:
    """Start a workflow with the task timeout of ours, for which Temporal sets a timer per task."""
    await client.start_workflow(
        run, argument, id=workflow_id, task_queue=TASK_QUEUE, task_timeout=TASK_SECONDS
    )


async def signals(client: Client, count: int) -> float:
    """Completed workflows per second."""
    run, before = uuid.uuid4().hex, await count_completed(client, "minimal")

    async def all_have_completed() -> bool:
        return await count_completed(client, "minimal") >= before + count

    started = time.perf_counter()
    await drive(count, lambda n: start(client, Minimal.run, 1800, f"{run}-{n}"))
    await wait_for_first_tasks(client, [f"{run}-{n}" for n in range(count)])
    await drive(count, lambda n: client.get_workflow_handle(f"{run}-{n}").signal(Minimal.done))
    await wait_until(all_have_completed, what="every workflow completed")
    return count / (time.perf_counter() - started)


async def deadlines(client: Client, count: int, seconds: float) -> tuple[float, bool]:
    """Workflows per second from the common deadline on, and whether some were started too late."""
    run, before = uuid.uuid4().hex, await count_completed(client, "minimal_deadline")
    due_at = datetime.now(UTC) + timedelta(seconds=seconds)

    async def all_have_completed() -> bool:
        return await count_completed(client, "minimal_deadline") >= before + count

    await drive(count, lambda n: start(client, MinimalDeadline.run, due_at, f"{run}-{n}"))
    await wait_for_first_tasks(client, [f"{run}-{n}" for n in range(count)])
    is_late = datetime.now(UTC) > due_at
    await wait_until(all_have_completed, what="every workflow completed")
    return count / (datetime.now(UTC) - due_at).total_seconds(), is_late


async def measure(kind: str, address: str, count: int, seconds: float) -> dict[str, float]:
    async with connected(address) as client:
        worker = Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[Minimal, MinimalDeadline],
            activities=[nothing],
            # The settings of our worker, except the number of polls, which is the library's
            # default.
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_cached_workflows=MAX_CACHED_WORKFLOWS,
            sticky_queue_schedule_to_start_timeout=STICKY_SECONDS,
        )
        async with worker:
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 100)
            await signals(client, WARM_UP)
            await asyncio.sleep(TIMERS_LEFT_SECONDS)
            if kind == "signals":
                rate = await signals(client, count)
                await asyncio.sleep(TIMERS_LEFT_SECONDS)
                return {"rate": rate}
            rate, is_late = await deadlines(client, count, seconds)
            return {"rate": rate, "late": float(is_late)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=["signals", "deadlines"])
    parser.add_argument("--temporal", required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=20.0, help="until the common deadline")
    chosen = parser.parse_args()
    print(
        json.dumps(
            asyncio.run(measure(chosen.kind, chosen.temporal, chosen.count, chosen.seconds))
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
