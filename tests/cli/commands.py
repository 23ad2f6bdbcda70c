"""Runs the command line as people do: a process of its own, its environment given, its answer read.

`MakegoodHere` runs it in this process, some ten times as fast, for tests of many commands that need no process of their own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from typer.testing import CliRunner

from cli.main import app
from cli.output import CommandFailed
from tests.processes import ROOT

COMMAND_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, read as JSON."""
        assert self.code == 0, self.err
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Makegood:
    """The command line in one environment, from which nothing of this one's MAKEGOOD_* and TEMPORAL_* is taken over."""

    settings: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: bytes = b"", **settings: str) -> Done:
        """Run one command; keywords are further variables."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKEGOOD_", "TEMPORAL_"))}
        ended = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=ROOT,
            env={**kept, "COLUMNS": "200", "TERM": "dumb", **self.settings, **settings},
            input=stdin,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        return Done(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


class MakegoodHere(Makegood):
    """The same command line, run in this process."""

    def __call__(self, *arguments: str, stdin: bytes = b"", **settings: str) -> Done:
        """Run one command; keywords are further variables."""
        others = {name: None for name in os.environ if name.startswith(("MAKEGOOD_", "TEMPORAL_"))}
        given = {**others, "COLUMNS": "200", "TERM": "dumb", **self.settings, **settings}
        ended = CliRunner().invoke(app, arguments, input=stdin, env=given, prog_name="makegood")
        if isinstance(ended.exception, CommandFailed):
            return Done(int(ended.exception.code), ended.stdout, f"{ended.stderr}makegood: {ended.exception}\n")
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        return Done(ended.exit_code, ended.stdout, ended.stderr)
