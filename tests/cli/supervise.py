"""Runs the supervisor with the children of a JSON file, as a process that tests can signal and
kill.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from cli.logs.writing import ChildLogs
from cli.up.child import ChildSpec, LivenessCheck
from cli.up.reports import Reports
from cli.up.supervisor import Supervisor


async def main(path: str) -> int:
    """The supervisor's exit code; it prints PREPARED and ALL READY when they happen."""
    described = json.loads(Path(path).read_text(encoding="utf-8"))
    specs = tuple(
        ChildSpec(
            name=child["name"],
            command=(sys.executable, "-u", "-c", child["program"]),
            environment=os.environ,
            ready_line=child.get("ready_line"),
            after=tuple(child.get("after", ())),
            liveness=_fails_while_exists(child["failing_while"])
            if "failing_while" in child
            else None,
            stop_seconds=child.get("stop_seconds", 2.0),
        )
        for child in described
    )
    names = [spec.name for spec in specs]
    logs = ChildLogs(Path(path).with_name("logs"), names, on_problem=_print)
    reports = Reports(
        print_line=_print,
        logs=logs,
        is_terminal=sys.stdout.isatty(),
        width=max(map(len, names)),
    )
    return await Supervisor(specs, reports).run(prepare=_prepare, announce=_announce)


def _print(line: str) -> None:
    print(line, flush=True)


def _fails_while_exists(path: str) -> LivenessCheck:
    """Fails while the file exists."""

    async def problem(_: int) -> str | None:
        return "it is failing" if Path(path).exists() else None

    return LivenessCheck(problem=problem, interval_seconds=0.1, failing_seconds=0.3)


async def _prepare() -> None:
    print("PREPARED", flush=True)


async def _announce() -> None:
    print("ALL READY", flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
