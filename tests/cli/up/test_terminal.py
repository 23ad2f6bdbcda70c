"""`makegood up` on a terminal: children log to files, the banner stays last, the browser opens.

One instance runs for all tests of this file, and a second one in its directory.
"""

import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.cli.makegood import Makegood
from tests.cli.up.instance import Instance
from tests.support.processes import Program, python, running
from tests.support.waiting import wait_until

UP = python("-m", "cli.main", "up")
LAST_LINE = "Ctrl-C stops everything; stored data stays."
CHILDREN = ("api", "mailbox", "temporal", "worker")


@dataclass(frozen=True)
class OnTerminal:
    """A running instance, and the file into which its browser writes the address."""

    instance: Instance
    program: Program
    opened: Path

    @property
    def makegood(self) -> Makegood:
        """The commands beside it."""
        return Makegood({"MAKEGOOD_DATA_DIR": str(self.instance.data_dir)})


def shown(program: Program) -> str:
    """What the terminal shows; it ends lines with a carriage return too."""
    return program.output.replace("\r\n", "\n")


def browser_environment(directory: Path) -> dict[str, str]:
    """A display, and a browser that writes its address to the file `opened`."""
    browser = directory / "browser"
    browser.write_text(f'#!/bin/sh\necho chatter\necho "$1" >> {directory / "opened"}\n')
    browser.chmod(0o755)
    return {"DISPLAY": ":99", "BROWSER": f"{browser} %s"}


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnTerminal]:
    directory = tmp_path_factory.mktemp("terminal")
    instance = Instance(directory / "data")
    environment = {**instance.environment, **browser_environment(directory)}
    with running(*UP, environment=environment, on_terminal=True) as program:
        program.wait_for(LAST_LINE, seconds=60)
        yield OnTerminal(instance, program, directory / "opened")


@pytest.fixture(scope="module")
def first_event(terminal: OnTerminal) -> str:
    """The event of the banner's line, pasted into a shell as it is."""
    (line,) = re.findall(r"^  (curl .*)$", shown(terminal.program), re.MULTILINE)
    answer = subprocess.run(["sh", "-c", line], capture_output=True, check=True, timeout=20)
    return str(json.loads(answer.stdout)["event_id"])


def test_banner_is_last_and_no_line_of_a_child_is_shown(terminal: OnTerminal) -> None:
    text = shown(terminal.program)

    assert text.rstrip().endswith(LAST_LINE)
    assert re.findall(rf"^(?:{'|'.join(CHILDREN)}) +\|", text, re.MULTILINE) == []
    assert "worker_ready" not in text
    assert "chatter" not in text


def test_browser_opens_the_link_that_is_shown(terminal: OnTerminal) -> None:
    wait_until(terminal.opened.exists, what="the browser was started")

    assert terminal.opened.read_text().split() == re.findall(
        r"^  (http\S+/login/link\?token=\S+)$", shown(terminal.program), re.MULTILINE
    )


def test_each_child_has_its_log_for_the_owner_alone(terminal: OnTerminal) -> None:
    directory = terminal.instance.data_dir / "logs"

    assert sorted(path.name for path in directory.iterdir()) == [f"{one}.log" for one in CHILDREN]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert " Temporal CLI " in (directory / "temporal.log").read_text().replace("\n", " ")
    assert "worker_ready" in (directory / "worker.log").read_text()
    assert "Uvicorn running" in (directory / "api.log").read_text()


def test_secrets_of_the_banner_are_in_no_log(terminal: OnTerminal) -> None:
    text = shown(terminal.program)
    secrets = re.findall(r"(?:token=|MAKEGOOD_API_KEY=|MAKEGOOD_SIGNING_SECRET=)(\S+)", text)

    logs = "".join(path.read_text() for path in (terminal.instance.data_dir / "logs").iterdir())

    assert len(secrets) == 3
    assert [secret for secret in secrets if secret in logs] == []


@pytest.mark.usefixtures("first_event")
def test_logs_command_reads_the_running_instance(terminal: OnTerminal) -> None:
    everything = terminal.makegood("logs", "--lines", "1000", "--json")
    worker = terminal.makegood("logs", "worker")

    lines = [json.loads(line) for line in everything.out.splitlines()]
    assert {line["name"] for line in lines} >= {"api", "temporal", "worker"}
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert "worker_ready" in worker.out


def test_child_that_dies_shows_its_last_lines_and_its_log(terminal: OnTerminal) -> None:
    program, log = terminal.program, terminal.instance.data_dir / "logs" / "worker.log"
    worker = _worker_of(program)

    worker.kill()

    program.wait_for("worker is ready again", seconds=60)
    _, _, after = shown(program).rpartition(LAST_LINE)
    died, *last, where = after.partition("worker is ready again")[0].strip().splitlines()
    assert died == "worker was ended by SIGKILL; restarting it in 0.2 s"
    assert where == f"  its log: {log}"
    assert 1 <= len(last) <= 5
    written = [line.partition(" ")[2] for line in log.read_text().splitlines()]
    assert {line.removeprefix("    ") for line in last} <= set(written)
    assert "makegood up: worker was ended by SIGKILL; restarting it in 0.2 s" in written


def test_line_of_the_banner_makes_an_incident(terminal: OnTerminal, first_event: str) -> None:
    def state() -> str:
        return str(terminal.makegood("receipt", "show", first_event, "--json").json["state"])

    wait_until(lambda: state() == "incident", seconds=60, what="the incident has opened")

    incidents = terminal.makegood("incident", "list", "--json").json["data"]
    assert [incident["event_id"] for incident in incidents] == [first_event]
    assert incidents[0]["reason"] == "missing_result"


def test_later_start_opens_no_browser_when_told_so(tmp_path: Path, terminal: OnTerminal) -> None:
    # The last test of the file: it stops the instance.
    terminal.program.process.send_signal(signal.SIGINT)
    assert terminal.program.ended(seconds=20) == 0
    assert shown(terminal.program).endswith("Stopping everything\nMakegood has stopped\n")
    environment = {**terminal.instance.environment, **browser_environment(tmp_path)}

    with running(*UP, "--no-browser", environment=environment, on_terminal=True) as program:
        program.wait_for(LAST_LINE, seconds=60)
        text = shown(program)

    assert "opens in your browser" not in text
    assert not (tmp_path / "opened").exists()
    assert "MAKEGOOD_SIGNING_SECRET" not in text
    assert '"Authorization: Bearer $MAKEGOOD_API_KEY"' in text
    assert (terminal.instance.data_dir / "logs" / "worker.log").read_text().count(
        "worker_stopped"
    ) == 2


def _worker_of(program: Program) -> psutil.Process:
    """The worker itself, not its launcher."""
    return next(
        process
        for process in program.descendants()
        if process.cmdline()[-3:] == ["-m", "cli.main", "worker"]
        and process.pid != os.getpgid(process.pid)
    )
