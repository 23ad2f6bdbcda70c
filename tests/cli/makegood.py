"""Runs the command line as a process, with a given environment, and returns its output.

Imports are most of the cost of a short command. So a prepared process with everything imported
forks for each command. `Makegood(settings, is_forked=False)` starts a new Python instead, for tests
of the start itself.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT

COMMAND_SECONDS = 60
_FORK_SERVER = multiprocessing.get_context("forkserver")
_FORK_SERVER.set_forkserver_preload(
    [
        "cli.main",
        "cli.local_operations",
        "cli.doctor.store",
        "egress.transport",
        "operations.composition",
        "store.maintenance.backup",
        "store.migrate",
        "sqlalchemy.dialects.postgresql.asyncpg",
        "sqlalchemy.dialects.sqlite.aiosqlite",
    ]
)


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The output of the command, read as JSON."""
        assert self.code == 0, self.err
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Makegood:
    """The command line in one environment, from which nothing of this one's MAKEGOOD_* and
    TEMPORAL_* is taken over.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    is_forked: bool = True

    def __call__(self, *arguments: str, stdin: bytes = b"", **settings: str) -> Done:
        """Run one command; keywords are further variables."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MAKEGOOD_", "TEMPORAL_"))
        }
        environment = {**kept, "COLUMNS": "200", "TERM": "dumb", **self.settings, **settings}
        return (_forked if self.is_forked else _started)(arguments, environment, stdin)


def _started(arguments: tuple[str, ...], environment: Mapping[str, str], stdin: bytes) -> Done:
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=ROOT,
        env=environment,
        input=stdin,
        capture_output=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    return Done(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def _forked(arguments: tuple[str, ...], environment: Mapping[str, str], stdin: bytes) -> Done:
    with tempfile.TemporaryDirectory() as name:
        streams = [Path(name) / stream for stream in ("in", "out", "err")]
        streams[0].write_bytes(stdin)
        process = _FORK_SERVER.Process(
            target=_become, args=(arguments, dict(environment), [str(path) for path in streams])
        )
        process.start()
        process.join(COMMAND_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            raise TimeoutError(
                f"makegood {' '.join(arguments)} did not end; its stderr: {streams[2].read_text()}"
            )
        return Done(process.exitcode or 0, streams[1].read_text(), streams[2].read_text())


def _become(arguments: tuple[str, ...], environment: dict[str, str], streams: list[str]) -> None:
    """Run the command in this process, whose streams become the three files."""
    for number, (path, flags) in enumerate(
        zip(streams, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)
    ):
        os.dup2(os.open(path, flags | (os.O_CREAT if number else 0), 0o600), number)
    # As at the start of an interpreter: what is kept of the environment and the terminal is read
    # again.
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.argv = ["makegood", *arguments]
    from cli.main import main

    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
