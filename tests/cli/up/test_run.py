"""`makegood up` as an operator runs it:

the real command and a real Temporal server, on free ports.
"""

import json
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.cli.up.instance import Instance, status
from tests.support.processes import ROOT, Program, all_gone, python, running
from tests.support.waiting import wait_until

READY_SECONDS = 10.0
STOP_SECONDS = 10.0
UP = python("-m", "cli.main", "up")


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return Instance(tmp_path / "data")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Instance, Program]]:
    """The first run of one instance, which several tests read and none ends."""
    instance = Instance(tmp_path_factory.mktemp("up") / "data")
    with running(*UP, environment=instance.environment) as program:
        program.wait_for("Ctrl-C stops everything", seconds=30)
        yield instance, program


@dataclass(frozen=True)
class TwoRuns:
    """A first run that was killed by SIGKILL, and a second one in its directory that was ended by
    SIGTERM.
    """

    first: Program
    below_first: list[psutil.Process]
    second: Program
    below_second: list[psutil.Process]
    exit_code: int
    stop_seconds: float


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> TwoRuns:
    instance = Instance(tmp_path_factory.mktemp("runs") / "data")
    with running(*UP, environment=instance.environment) as first:
        first.wait_for("Ctrl-C stops everything", seconds=30)
        below_first = first.descendants()
        first.process.kill()
        first.process.wait()
        wait_until(lambda: all_gone(below_first), seconds=5, what=f"gone: {below_first}")
    with running(*UP, environment=instance.environment) as second:
        second.wait_for("Ctrl-C stops everything", seconds=30)
        below_second = second.descendants()
        asked_at = time.monotonic()
        second.process.send_signal(signal.SIGTERM)
        code = second.ended(seconds=12)
        return TwoRuns(first, below_first, second, below_second, code, time.monotonic() - asked_at)


def test_it_is_ready_within_ten_seconds_and_says_how_long_it_took(
    shared: tuple[Instance, Program],
) -> None:
    _, program = shared

    ready = re.search(r"Makegood is ready in ([\d.]+) s", program.output)

    assert ready is not None, program.output
    assert float(ready[1]) < READY_SECONDS


def test_every_printed_address_answers(shared: tuple[Instance, Program]) -> None:
    instance, program = shared
    addresses = dict(re.findall(r"^  (API docs|Temporal UI) +(\S+)$", program.output, re.MULTILINE))

    assert status(f"http://127.0.0.1:{instance.api}/livez") == 200
    assert status(addresses["API docs"]) == 200
    assert status(addresses["Temporal UI"]) == 200


def test_sign_in_link_is_printed(shared: tuple[Instance, Program]) -> None:
    instance, program = shared

    links = re.findall(
        rf"http://127\.0\.0\.1:{instance.api}/login/link\?token=(\S+)", program.output
    )

    assert len(links) == 1
    assert status(f"http://127.0.0.1:{instance.api}/login/link?token={links[0]}") == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
def test_printed_curl_command_is_accepted(shared: tuple[Instance, Program]) -> None:
    _, program = shared
    call = program.output[program.output.index("  curl -sS") :].partition("\n\n")[0]

    answer = json.loads(
        subprocess.run(["sh", "-c", call], capture_output=True, check=True, timeout=20).stdout
    )

    assert answer["accepted"] is True
    assert answer["event_id"].startswith("evt_")


def test_data_directory_and_all_in_it_are_for_the_owner_alone(
    shared: tuple[Instance, Program],
) -> None:
    instance, _ = shared

    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) & 0o077
        for path in instance.data_dir.rglob("*")
    }

    assert stat.S_IMODE(instance.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((instance.data_dir / "secret_key").stat().st_mode) == 0o600
    assert {name for name, others in modes.items() if others} == set()


def test_secret_key_is_never_printed(shared: tuple[Instance, Program]) -> None:
    instance, program = shared

    assert (instance.data_dir / "secret_key").read_text() not in program.output


@pytest.mark.parametrize("part", ["api", "worker"])
def test_health_check_of_the_image_passes_for_both(
    shared: tuple[Instance, Program], part: str
) -> None:
    instance, _ = shared

    def is_well() -> bool:
        with running(
            *python("-m", "cli.healthcheck", part), environment=instance.environment
        ) as check:
            return check.ended() == 0

    wait_until(is_well, seconds=20, what=f"{part} is well")


def test_second_up_in_the_same_directory_is_refused(shared: tuple[Instance, Program]) -> None:
    instance, program = shared

    with running(*UP, environment=instance.environment) as second:
        assert second.ended() == 1
        assert (
            f"already running in {instance.data_dir} (process {program.process.pid})"
            in second.output
        )


def test_line_of_a_child_is_printed_with_its_name_and_is_in_its_log(
    shared: tuple[Instance, Program],
) -> None:
    instance, program = shared

    printed = re.findall(r"^(\w+) +\| (.*)$", program.output, re.MULTILINE)

    logs = instance.data_dir / "logs"
    written = [
        (name, line.partition(" ")[2])
        for name in ("temporal", "mailbox", "worker", "api")
        for line in (logs / f"{name}.log").read_text().splitlines()
    ]
    assert {name for name, _ in printed} >= {"temporal", "worker", "api"}
    assert [one for one in printed if one not in written] == []


def test_killed_worker_is_reported_and_restarted(shared: tuple[Instance, Program]) -> None:
    instance, program = shared
    worker = next(
        process
        for process in program.descendants()
        if process.cmdline()[-3:] == ["-m", "cli.main", "worker"]
    )

    worker.kill()

    program.wait_for("worker was ended by SIGKILL; restarting it in 0.2 s")
    program.wait_for(f"  its log: {instance.data_dir / 'logs' / 'worker.log'}\n")
    program.wait_for("worker_ready", count=2)
    program.wait_for("worker is ready again")


def test_taken_port_is_named_with_its_setting_and_nothing_starts(instance: Instance) -> None:
    with (
        socket.create_server(("127.0.0.1", instance.temporal_ui)),
        running(*UP, environment=instance.environment) as program,
    ):
        assert program.ended() == 1

    assert program.output.startswith(
        f"makegood up: port {instance.temporal_ui} (MAKEGOOD_TEMPORAL_UI_PORT) is in use"
    )
    assert not (instance.data_dir / "temporal.db").exists()


def test_sigkill_of_the_supervisor_leaves_no_orphan(two_runs: TwoRuns) -> None:
    assert len(two_runs.below_first) == 8  # a launcher and a program for each of the four
    assert all_gone(two_runs.below_first)


def test_sigterm_ends_all_within_ten_seconds_with_exit_code_0(two_runs: TwoRuns) -> None:
    assert two_runs.exit_code == 0
    assert two_runs.stop_seconds < STOP_SECONDS
    assert all_gone(two_runs.below_second)
    assert "did not stop in time" not in two_runs.second.output


def test_second_run_finds_what_the_first_stored_and_shows_no_secret_again(
    two_runs: TwoRuns,
) -> None:
    keys = (
        re.findall(r"Bearer (\S+)\"", two_runs.first.output),
        re.findall(r"Bearer (\S+)\"", two_runs.second.output),
    )

    assert keys[0][0].startswith("sk_test_")
    assert keys[1] == ["$MAKEGOOD_API_KEY"]
    assert keys[0][0] not in two_runs.second.output
    assert "wrote a new secret key" not in two_runs.second.output


def test_make_up_runs_this_command() -> None:
    assert "exec $(BIN)/makegood up" in (ROOT / "Makefile").read_text(encoding="utf-8")
