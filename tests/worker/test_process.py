"""The worker as a process of its own: it waits for its engine, says what it knows, ends when it is told to or does no work."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path

import pytest

from tests.conftest import SECRET_KEY
from tests.support.processes import Program, free_ports, python, running
from tests.support.waiting import wait_until_async
from tests.worker.setting import IMPATIENT, WELL, Setting
from tests.worker.swallowing import SwallowingProxy

TUNED = "import gc, worker.connection_loop as m; m.tune_garbage_collection(); print(*gc.get_threshold())"

# Ends hard with 3, and says after how long.
HARD_END = (
    "import os, sys, time\n"
    "import worker.connection_loop as part\n"
    "part.LAST_ATTEMPTS_SECONDS = float(sys.argv[2])\n"
    "began, leave = time.monotonic(), os._exit\n"
    "def end(code):\n"
    "    print(time.monotonic() - began, flush=True)\n"
    "    leave(code)\n"
    "os._exit = end\n"
    "part.end_soon(3, lambda: time.monotonic() < began + float(sys.argv[1]), seconds=0.2)\n"
    "time.sleep(30)\n"
)


@pytest.fixture
async def setting(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Setting]:
    made = Setting(sqlite_url, tmp_path)
    yield made
    await made.database.close()


@pytest.fixture
def worker(setting: Setting) -> Iterator[Program]:
    with running(*python("-m", "cli.main", "worker"), environment=setting.environment) as program:
        yield program


@pytest.fixture
def impatient_worker(setting: Setting) -> Iterator[Program]:
    with running(*python("-c", IMPATIENT), environment=setting.environment) as program:
        yield program


async def test_worker_waits_for_its_engine_and_outlives_it(setting: Setting, impatient_worker: Program) -> None:
    await setting.says(engine_reachable=False, canary_fresh=False)

    with running(*setting.engine()):
        alive = await setting.says(**WELL)
    gone = await setting.says(engine_reachable=False, pollers_alive=False, canary_fresh=False)
    with running(*setting.engine()):
        await setting.says(**WELL)

    assert gone.process == alive.process
    assert impatient_worker.process.poll() is None


async def test_worker_that_no_longer_polls_goes_red_and_ends_with_1(setting: Setting) -> None:
    proxy_port, setting.port = setting.port, free_ports(1)[0]
    with running(*setting.engine()):
        async with SwallowingProxy(listens_on=proxy_port, leads_to=setting.port) as proxy:
            with running(*python("-c", IMPATIENT), environment=setting.environment) as worker:
                await setting.says(**WELL)

                await proxy.swallow_polls()

                await setting.says(engine_reachable=True, canary_fresh=False)
                assert await asyncio.to_thread(worker.ended, seconds=25) == 1
                assert proxy.swallowed > 0
                assert "PollingDied" in worker.output
                assert "engine_unreachable" not in worker.output


async def test_worker_that_was_stopped_for_long_goes_on(setting: Setting, impatient_worker: Program) -> None:
    with running(*setting.engine()):
        before = await setting.says(**WELL)

        impatient_worker.process.send_signal(signal.SIGSTOP)
        await wait_until_async(lambda: setting.is_silent(4), what="nothing was heard of it for longer than its bound")
        impatient_worker.process.send_signal(signal.SIGCONT)
        await wait_until_async(lambda: _is_not(setting.is_silent(1)), what="it beats again")

        after = await setting.says(**WELL)
        assert after.process == before.process
        assert impatient_worker.process.poll() is None


async def test_worker_ends_in_order_and_logs_json(setting: Setting, worker: Program) -> None:
    with running(*setting.engine()):
        await asyncio.to_thread(worker.wait_for, "worker_ready")

        worker.process.send_signal(signal.SIGTERM)

        assert await asyncio.to_thread(worker.ended, seconds=8) == 0
    lines = [json.loads(line) for line in worker.output.splitlines()]
    assert lines[-1]["event"] == "worker_stopped"
    assert all(line["role"] == "worker" for line in lines)
    assert SECRET_KEY not in worker.output


async def test_worker_that_waits_for_its_engine_ends_at_once(setting: Setting, worker: Program) -> None:
    await setting.says(engine_reachable=False)

    worker.process.send_signal(signal.SIGINT)

    assert await asyncio.to_thread(worker.ended, seconds=8) == 0


@pytest.mark.parametrize(
    ("attempt_seconds", "last_seconds", "ends_after"),
    [(0, 60, 0.2), (1.5, 60, 1.5), (60, 1.0, 1.2)],
    ids=["without an attempt at once", "with one after it", "with an endless one after the bound"],
)
def test_hard_end_waits_for_an_attempt_within_a_bound(attempt_seconds: float, last_seconds: float, ends_after: float) -> None:
    with running(*python("-c", HARD_END, str(attempt_seconds), str(last_seconds))) as program:
        assert program.ended() == 3
    (waited,) = [float(line) for line in program.output.splitlines()]
    assert ends_after <= waited < ends_after + 1


async def _is_not(said: Awaitable[bool]) -> bool:
    return not await said


def test_full_collections_are_rare_once_the_worker_is_ready() -> None:
    with running(*python("-c", TUNED)) as program:
        assert program.ended() == 0

    assert program.output.split() == ["50000", "20", "100"]
