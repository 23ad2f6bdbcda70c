"""The worker process waits for Temporal, reports its health, and ends on a signal or dead polls."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path

import pytest

from tests.conftest import SECRET_KEY
from tests.support.processes import Program, free_ports, python, running
from tests.support.waiting import wait_until_async
from tests.worker.poll_dropping_proxy import PollDroppingProxy
from tests.worker.worker_setup import HEALTHY, IMPATIENT_WORKER, WorkerSetup

TUNED = (
    "import gc\n"
    "from worker.connection_loop import tune_garbage_collection\n"
    "tune_garbage_collection()\n"
    "print(*gc.get_threshold())\n"
)

# Ends with exit code 3 by `os._exit`, and prints after how long.
HARD_END = (
    "import os, sys, time\n"
    "import worker.connection_loop as loop\n"
    "loop.LAST_ATTEMPTS_SECONDS = float(sys.argv[2])\n"
    "began, leave = time.monotonic(), os._exit\n"
    "def end(code):\n"
    "    print(time.monotonic() - began, flush=True)\n"
    "    leave(code)\n"
    "os._exit = end\n"
    "loop.end_soon(3, lambda: time.monotonic() < began + float(sys.argv[1]), seconds=0.2)\n"
    "time.sleep(30)\n"
)


@pytest.fixture
async def setup(sqlite_url: str, tmp_path: Path) -> AsyncIterator[WorkerSetup]:
    made = WorkerSetup(sqlite_url, tmp_path)
    yield made
    await made.database.close()


@pytest.fixture
def worker(setup: WorkerSetup) -> Iterator[Program]:
    with running(*python("-m", "cli.main", "worker"), environment=setup.environment) as program:
        yield program


@pytest.fixture
def impatient_worker(setup: WorkerSetup) -> Iterator[Program]:
    with running(*python("-c", IMPATIENT_WORKER), environment=setup.environment) as program:
        yield program


async def test_worker_waits_for_temporal_and_survives_its_outage(
    setup: WorkerSetup, impatient_worker: Program
) -> None:
    await setup.wait_for_report(engine_reachable=False, canary_fresh=False)

    with running(*setup.temporal_command()):
        alive = await setup.wait_for_report(**HEALTHY)
    gone = await setup.wait_for_report(
        engine_reachable=False, pollers_alive=False, canary_fresh=False
    )
    with running(*setup.temporal_command()):
        await setup.wait_for_report(**HEALTHY)

    assert gone.process == alive.process
    assert impatient_worker.process.poll() is None


async def test_worker_that_no_longer_polls_becomes_unhealthy_and_ends_with_1(
    setup: WorkerSetup,
) -> None:
    proxy_port, setup.port = setup.port, free_ports(1)[0]
    with running(*setup.temporal_command()):
        async with PollDroppingProxy(from_port=proxy_port, to_port=setup.port) as proxy:
            with running(*python("-c", IMPATIENT_WORKER), environment=setup.environment) as worker:
                await setup.wait_for_report(**HEALTHY)

                await proxy.drop_polls()

                await setup.wait_for_report(engine_reachable=True, canary_fresh=False)
                assert await asyncio.to_thread(worker.ended, seconds=25) == 1
                assert proxy.dropped > 0
                assert "PollingDied" in worker.output
                assert "temporal_unreachable" not in worker.output


async def test_worker_continues_after_a_long_suspension(
    setup: WorkerSetup, impatient_worker: Program
) -> None:
    with running(*setup.temporal_command()):
        before = await setup.wait_for_report(**HEALTHY)

        impatient_worker.process.send_signal(signal.SIGSTOP)
        await wait_until_async(
            lambda: setup.is_heartbeat_older_than(4), what="no heartbeat for 4 s"
        )
        impatient_worker.process.send_signal(signal.SIGCONT)
        await wait_until_async(
            lambda: _is_not(setup.is_heartbeat_older_than(1)), what="a new heartbeat"
        )

        after = await setup.wait_for_report(**HEALTHY)
        assert after.process == before.process
        assert impatient_worker.process.poll() is None


async def test_worker_ends_in_order_and_logs_json(setup: WorkerSetup, worker: Program) -> None:
    with running(*setup.temporal_command()):
        await asyncio.to_thread(worker.wait_for, "worker_ready")

        # As `timeout` and process managers send it: to the process, and to its group.
        for _ in range(2):
            worker.process.send_signal(signal.SIGTERM)

        assert await asyncio.to_thread(worker.ended, seconds=8) == 0
    lines = [json.loads(line) for line in worker.output.splitlines()]
    assert lines[-1]["event"] == "worker_stopped"
    assert all(line["role"] == "worker" for line in lines)
    assert SECRET_KEY not in worker.output


async def test_worker_that_waits_for_temporal_ends_at_once(
    setup: WorkerSetup, worker: Program
) -> None:
    await setup.wait_for_report(engine_reachable=False)

    worker.process.send_signal(signal.SIGINT)

    assert await asyncio.to_thread(worker.ended, seconds=8) == 0


@pytest.mark.parametrize(
    ("attempt_seconds", "last_seconds", "ends_after"),
    [(0, 60, 0.2), (1.5, 60, 1.5), (60, 1.0, 1.2)],
    ids=["without an attempt at once", "with one after it", "with an endless one after the bound"],
)
def test_hard_end_waits_for_an_attempt_within_a_bound(
    attempt_seconds: float, last_seconds: float, ends_after: float
) -> None:
    with running(*python("-c", HARD_END, str(attempt_seconds), str(last_seconds))) as program:
        assert program.ended() == 3
    (waited,) = [float(line) for line in program.output.splitlines()]
    assert ends_after <= waited < ends_after + 1


async def _is_not(value: Awaitable[bool]) -> bool:
    return not await value


def test_full_collections_are_rare_once_the_worker_is_ready() -> None:
    with running(*python("-c", TUNED)) as program:
        assert program.ended() == 0

    assert program.output.split() == ["50000", "20", "100"]
