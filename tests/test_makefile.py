"""`make install` and `make install-test` repair what an interrupted installation left."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support.processes import ROOT
from tests.support.waiting import wait_until

# Python and pip, as far as the Makefile calls them: pip marks the packages that it leaves behind,
# fails where it finds a half-installed one, and hangs on a requirement file that `hang` names.
PYTHON = """#!/bin/bash
case "$*" in
  *"-m venv "*)
    mkdir -p .venv/bin && cp "$0" .venv/bin/python
    if [ "$(cat hang 2>/dev/null)" = venv ]; then touch .venv/half; exec tail -f hang; fi;;
  *"-m pip "*)
    if [ -e .venv/half ]; then echo "no RECORD file was found" >&2; exit 1; fi
    touch .venv/half
    case "$*" in *"$(cat hang 2>/dev/null || echo nothing)"*) exec tail -f hang;; esac
    rm .venv/half;;
esac
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements").mkdir()
    for name in ("requirements/run.txt", "requirements/test.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def make(directory: Path, target: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["make", target, f"PYTHON={directory / 'python'}"],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def is_hanging(installation: int) -> bool:
    """Whether `tail` runs below `make`. A shell that waits for a program ignores Ctrl-C."""
    with contextlib.suppress(psutil.NoSuchProcess):  # one ended meanwhile
        below = psutil.Process(installation).children(recursive=True)
        return any(process.name() == "tail" for process in below)
    return False


@pytest.mark.parametrize("interrupting", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill"])
@pytest.mark.parametrize(
    ("target", "hangs_at"),
    [
        ("install", "venv"),
        ("install", "requirements/run.txt"),
        ("install-test", "requirements/run.txt"),
        ("install-test", "requirements/test.txt"),
    ],
)
def test_interrupted_installation_is_repaired_by_the_next_one(
    directory: Path, target: str, hangs_at: str, interrupting: signal.Signals
) -> None:
    (directory / "hang").write_text(hangs_at)
    first = make(directory, target)
    wait_until(lambda: is_hanging(first.pid), what="the installation hangs")
    os.killpg(first.pid, interrupting)
    first.communicate(timeout=20)
    (directory / "hang").unlink()

    again = make(directory, target)
    printed, _ = again.communicate(timeout=60)
    third = make(directory, target)
    repeated, _ = third.communicate(timeout=60)

    assert again.returncode == 0, printed
    assert not (directory / ".venv" / "half").exists()
    assert (third.returncode, "Installing" in repeated) == (0, False), repeated
