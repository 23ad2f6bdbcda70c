"""The minimal workflows that the engine is measured against, driven by their own worker process, the least work that is possible.

    python -m bench.driven signals|deadlines --temporal HOST:PORT --count 300

`signals`: so many workflows of one timer and one signal: all are started, then all are signalled, until all have completed.
`deadlines`: so many workflows of one timer, due for all at the same instant, and two empty activities, until all have completed.
Prints one JSON line: `rate` per second, and for deadlines whether all had been started in time (`late`, 0 or 1).
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
from bench.minimal import MinimalDeadline, nothing
from bench.watch import TIMERS_LEFT_SECONDS, completed, connected, until, until_first_tasks_done
from worker.build import MAX_CACHED_WORKFLOWS, STICKY_SECONDS
from worker.temporal.workflow_client import TASK_SECONDS

CALLS_AT_ONCE = 24  # the dispatcher's
WARM_UP = 20

Argument = TypeVar("Argument")


async def drive(count: int, call: Callable[[int], Awaitable[object]]) -> None:
    """Call for each number, so many at once."""
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(caller() for _ in range(CALLS_AT_ONCE)))


async def start(client: Client, run: Callable[[Any, Argument], Awaitable[None]], argument: Argument, workflow_id: str) -> None:
    """With the task timeout that ours have: a timer of the engine's for each task, which fires soon after."""
    await client.start_workflow(run, argument, id=workflow_id, task_queue=TASK_QUEUE, task_timeout=TASK_SECONDS)


async def signals(client: Client, count: int) -> float:
    """Lives per second."""
    run, before = uuid.uuid4().hex, await completed(client, "minimal")

    async def all_have_completed() -> bool:
        return await completed(client, "minimal") >= before + count

    started = time.perf_counter()
    await drive(count, lambda n: start(client, Minimal.run, 1800, f"{run}-{n}"))
    await until_first_tasks_done(client, [f"{run}-{n}" for n in range(count)])
    await drive(count, lambda n: client.get_workflow_handle(f"{run}-{n}").signal(Minimal.done))
    await until(all_have_completed, what="every workflow completed")
    return count / (time.perf_counter() - started)


async def deadlines(client: Client, count: int, seconds: float) -> tuple[float, bool]:
    """Timers per second from the instant at which all are due; whether some had not been started by then."""
    run, before = uuid.uuid4().hex, await completed(client, "minimal_deadline")
    due_at = datetime.now(UTC) + timedelta(seconds=seconds)

    async def all_have_completed() -> bool:
        return await completed(client, "minimal_deadline") >= before + count

    await drive(count, lambda n: start(client, MinimalDeadline.run, due_at, f"{run}-{n}"))
    await until_first_tasks_done(client, [f"{run}-{n}" for n in range(count)])
    is_late = datetime.now(UTC) > due_at
    await until(all_have_completed, what="every workflow completed")
    return count / (datetime.now(UTC) - due_at).total_seconds(), is_late


async def measure(kind: str, address: str, count: int, seconds: float) -> dict[str, float]:
    async with connected(address) as client:
        worker = Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[Minimal, MinimalDeadline],
            activities=[nothing],
            # As ours; how many polls is the library's own choice, where ours has more.
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["signals", "deadlines"])
    parser.add_argument("--temporal", required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=20.0, help="until the deadline that all have")
    chosen = parser.parse_args()
    print(json.dumps(asyncio.run(measure(chosen.kind, chosen.temporal, chosen.count, chosen.seconds))), flush=True)


if __name__ == "__main__":
    main()
