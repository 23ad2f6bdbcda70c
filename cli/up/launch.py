"""Runs one program so that it cannot outlive the supervisor: `python launch.py LIFELINE PROGRAM
[ARGUMENT]…`.

LIFELINE is the read end of a pipe. Only the supervisor has its write end. When the supervisor dies,
even by SIGKILL, the pipe closes, and this process kills its whole process group, including itself.
This works for any program, on Linux and macOS. `cli.up.supervisor` starts it as the leader of a
process group. It imports nothing of the project, so that it starts in milliseconds. It exits with
the program's exit code, or 128 + the signal that ended the program.
"""

import os
import signal
import subprocess
import sys
import threading
from types import FrameType

CANNOT_START = 127


def main(arguments: list[str]) -> int:
    """Run the program until it ends; returns its exit code."""
    lifeline, command = int(arguments[0]), arguments[1:]
    # Signals go to the whole group: the program handles them, and this process waits for it. A
    # handler, not SIG_IGN: the program would inherit an ignored signal.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _ignore_signal)
    threading.Thread(target=_die_with_supervisor, args=(lifeline,), daemon=True).start()
    try:
        ended_with = subprocess.Popen(command).wait()
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return CANNOT_START
    return ended_with if ended_with >= 0 else 128 - ended_with


def _ignore_signal(number: int, frame: FrameType | None) -> None:
    del number, frame


def _die_with_supervisor(lifeline: int) -> None:
    os.read(lifeline, 1)  # Nothing is ever written: this returns when the write end is closed.
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
