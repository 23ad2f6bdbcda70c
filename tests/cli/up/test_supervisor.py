"""The supervisor with small real programs: restarts, giving up, stopping in order, and death by
SIGKILL.
"""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest

from cli.up.child import KILLED, LivenessCheck, Restarts, wait_for_lasting_problem
from tests.support.processes import Program, all_gone, python, running
from tests.support.waiting import wait_until

WAITS = "import signal; print('ready'); signal.pause()"
STUBBORN = (
    "import signal, subprocess, sys\nfor number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):"
    " signal.signal(number, signal.SIG_IGN)\nsubprocess.Popen([sys.executable, '-c', 'import"
    " signal; signal.pause()'])\nprint('ready', flush=True)\nwhile True: signal.pause()\n"
)
SAYS_GOODBYE = (
    "import signal, sys\n"
    "def goodbye(number, frame): print('goodbye'); sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, goodbye)\n"
    "print('ready')\n"
    "while True: signal.pause()\n"
)
# Its polls are so rare that a supervisor that kills at the second signal is earlier.
SAYS_GOODBYE_LATER = (
    "import pathlib, signal, sys, time\n"
    "def stop(number, frame):\n"
    "    print('stopping')\n"
    "    while not pathlib.Path({may_end!r}).exists(): time.sleep(0.5)\n"
    "    print('goodbye')\n"
    "    sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, stop)\n"
    "print('ready')\n"
    "while True: signal.pause()\n"
)
Supervise = Callable[..., AbstractContextManager[Program]]


@pytest.fixture
def supervise(tmp_path: Path) -> Supervise:
    @contextmanager
    def _supervise(**programs: str | dict[str, object]) -> Iterator[Program]:
        described = [
            {
                "name": name,
                "ready_line": "ready",
                **({"program": child} if isinstance(child, str) else child),
            }
            for name, child in programs.items()
        ]
        path = tmp_path / "children.json"
        path.write_text(json.dumps(described))
        with running(*python("-m", "tests.cli.supervise", str(path))) as program:
            yield program

    return _supervise


def test_delay_doubles_to_three_seconds() -> None:
    restarts = Restarts()

    delays = [restarts.delay_after_death(was_ready=False, ended_with=KILLED[0]) for _ in range(6)]

    assert delays == [0.2, 0.4, 0.8, 1.6, 3.0, 3.0]


def test_fifth_death_before_ready_gives_up() -> None:
    restarts = Restarts()

    delays = [restarts.delay_after_death(was_ready=False, ended_with=1) for _ in range(5)]

    assert delays == [0.2, 0.4, 0.8, 1.6, None]


def test_ready_child_resets_the_death_count() -> None:
    restarts = Restarts()
    for _ in range(4):
        restarts.delay_after_death(was_ready=False, ended_with=1)

    after_ready = restarts.delay_after_death(was_ready=True, ended_with=1)
    after_that = restarts.delay_after_death(was_ready=False, ended_with=1)

    assert (after_ready, after_that) == (0.2, 0.4)


@pytest.mark.parametrize("ended_with", KILLED, ids=["launcher", "program"])
def test_sigkill_is_never_counted(ended_with: int) -> None:
    restarts = Restarts()

    delays = [restarts.delay_after_death(was_ready=False, ended_with=ended_with) for _ in range(50)]

    assert None not in delays


def test_child_that_waits_for_another_starts_after_it_is_ready(supervise: Supervise) -> None:
    with supervise(
        second={"program": WAITS, "after": ["first", "preparation"]}, first=WAITS
    ) as program:
        program.wait_for("ALL READY")

        lines = [line.strip() for line in program.output.splitlines()]

        assert lines == ["PREPARED", "first  | ready", "second | ready", "ALL READY"]


def test_child_that_never_gets_ready_stops_everything_with_its_last_lines(
    supervise: Supervise,
) -> None:
    with supervise(
        fine=SAYS_GOODBYE, broken="import sys; print('no disk'); sys.exit(3)"
    ) as program:
        code = program.ended()

        assert code == 1
        assert re.findall(r"restarting it in (.*) s", program.output) == [
            "0.2",
            "0.4",
            "0.8",
            "1.6",
        ]
        assert (
            "broken ended with exit code 3, 5 times in a row before it was ready" in program.output
        )
        assert "The last lines of broken:\n    no disk\n" in program.output
        assert "fine   | goodbye" in program.output


def test_child_that_was_ready_is_always_restarted(supervise: Supervise) -> None:
    with supervise(short="print('ready')") as program:
        program.wait_for("short ended with exit code 0; restarting it in 0.2 s", count=7)


def test_missing_program_is_reported(supervise: Supervise) -> None:
    with supervise(absent="import os; os.execv('/nonexistent', ['x'])") as program:
        assert program.ended() == 1
        assert "FileNotFoundError" in program.output


def test_sigterm_ends_all_in_reverse_order_with_exit_code_0(supervise: Supervise) -> None:
    with supervise(first=SAYS_GOODBYE, second=SAYS_GOODBYE, third=SAYS_GOODBYE) as program:
        program.wait_for("ALL READY")
        below = program.descendants()

        program.process.send_signal(signal.SIGTERM)

        assert program.ended(seconds=10) == 0
        assert re.findall(r"(\w+) +\| goodbye", program.output) == ["third", "second", "first"]
        assert all_gone(below)


def test_children_that_ignore_sigterm_are_killed_within_ten_seconds(supervise: Supervise) -> None:
    stubborn = {"program": STUBBORN, "stop_seconds": 4.0}
    with supervise(one=stubborn, two=stubborn, three=stubborn) as program:
        program.wait_for("ALL READY")
        below = program.descendants()
        asked_at = time.monotonic()

        program.process.send_signal(signal.SIGINT)

        assert program.ended(seconds=12) == 0
        assert time.monotonic() - asked_at < 10
        assert len(below) == 9
        assert all_gone(below)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda one: str(one.name))
def test_second_signal_leaves_the_children_their_time_to_stop(
    supervise: Supervise, tmp_path: Path, second: signal.Signals
) -> None:
    may_end = tmp_path / "may end"
    with supervise(
        slow={"program": SAYS_GOODBYE_LATER.format(may_end=str(may_end)), "stop_seconds": 8.0}
    ) as program:
        program.wait_for("ALL READY")
        program.process.send_signal(signal.SIGTERM)
        program.wait_for("slow | stopping")

        program.process.send_signal(second)
        may_end.touch()

        assert program.ended(seconds=12) == 0
        assert "slow | goodbye" in program.output
        assert "was killed" not in program.output


def test_sigterm_during_a_restart_delay_ends_with_exit_code_0(supervise: Supervise) -> None:
    with supervise(broken="raise SystemExit(3)") as program:
        program.wait_for("restarting it in 0.8 s")

        program.process.send_signal(signal.SIGTERM)

        assert program.ended(seconds=10) == 0


def test_sighup_stops_everything(supervise: Supervise) -> None:
    with supervise(one=SAYS_GOODBYE) as program:
        program.wait_for("ALL READY")

        program.process.send_signal(signal.SIGHUP)

        assert program.ended(seconds=10) == 0
        assert "one | goodbye" in program.output


def test_sigkill_of_the_supervisor_leaves_no_orphan(supervise: Supervise) -> None:
    with supervise(one=STUBBORN, two=STUBBORN) as program:
        program.wait_for("ALL READY")
        below = program.descendants()

        program.process.kill()

        assert len(below) == 6
        wait_until(
            lambda: all_gone(below), seconds=5, what="every process below the supervisor is gone"
        )


@pytest.mark.parametrize("killed", ["launcher", "program"])
def test_killed_child_leaves_no_process_and_is_restarted(supervise: Supervise, killed: str) -> None:
    with supervise(one=STUBBORN) as program:
        program.wait_for("ALL READY")
        below = program.descendants()
        launcher = next(process for process in below if process.ppid() == program.process.pid)
        victim = launcher if killed == "launcher" else launcher.children()[0]

        victim.kill()

        program.wait_for("one was ended by SIGKILL; restarting it in 0.2 s")
        program.wait_for("one | ready", count=2)
        wait_until(
            lambda: all_gone(below), seconds=5, what="what the first life left behind is gone"
        )


def test_child_that_fails_its_liveness_check_is_killed_and_restarted(
    supervise: Supervise, tmp_path: Path
) -> None:
    red = tmp_path / "red"
    with supervise(one={"program": STUBBORN, "failing_while": str(red)}) as program:
        program.wait_for("ALL READY")
        below = program.descendants()

        red.touch()

        program.wait_for("one is alive but fails its check: it is failing for 0.3 s; killing it")
        red.unlink()
        program.wait_for("one was ended by SIGKILL; restarting it in 0.2 s")
        program.wait_for("one | ready", count=2)
        wait_until(
            lambda: all_gone(below), seconds=5, what="what the first life left behind is gone"
        )


async def test_only_a_problem_at_every_check_is_lasting() -> None:
    problems = iter(["late", "late", None, *["gone"] * 10])
    looks = 0

    async def problem(_: int) -> str | None:
        nonlocal looks
        looks += 1
        return next(problems)

    found = await wait_for_lasting_problem(
        LivenessCheck(problem=problem, interval_seconds=0.01, failing_seconds=0.03), 1
    )

    assert (found, looks) == ("gone", 3 + 4)


def test_children_are_not_in_the_group_of_the_supervisor(supervise: Supervise) -> None:
    with supervise(one=WAITS, two=WAITS) as program:
        program.wait_for("ALL READY")

        groups = {_group(process) for process in program.descendants()}

        assert len(groups) == 2
        assert _group(psutil.Process(program.process.pid)) not in groups


def _group(process: psutil.Process) -> int:
    return os.getpgid(process.pid)
