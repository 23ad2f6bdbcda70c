"""The watchdog: a blocked loop ends its process; a busy or stopped one does not."""

import asyncio
import json
import threading

from cli.up.watchdog import watched_loop
from tests.support.processes import python, running
from tests.support.waiting import wait_until

STANDS = (
    "import asyncio, threading\nfrom config import fields, logging\n"
    "from cli.up.watchdog import watched_loop\n"
    "async def main():\n"
    "    with watched_loop(check_seconds=0.05, max_missed=3):\n"
    "        threading.Event().wait()\n"
    "logging.configure_logging(fields.LogLevel.INFO, fields.LogFormat.JSON, role='test')\n"
    "asyncio.run(main())\n"
)


def test_blocked_loop_ends_the_process_with_1_and_logs_its_stack() -> None:
    with running(*python("-c", STANDS)) as program:
        assert program.ended() == 1

    logged = json.loads(program.output)
    assert (logged["event"], logged["checks"]) == ("event_loop_blocked", 3)
    assert logged["stack"][-1].endswith(" wait")


async def test_running_loop_is_left_alone() -> None:
    ended: list[int] = []

    with watched_loop(check_seconds=0.01, max_missed=3, end=ended.append):
        for _ in range(20):
            await asyncio.sleep(0.01)

    assert ended == []


async def test_watching_ends_with_the_block() -> None:
    with watched_loop(check_seconds=0.01):
        assert "watchdog" in _threads()

    wait_until(lambda: "watchdog" not in _threads(), what="the thread has ended")


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]
