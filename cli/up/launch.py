"""Runs one program so that it cannot outlive the supervisor: `python launch.py LIFELINE PROGRAM [ARGUMENT]…`.

LIFELINE is the read end of a pipe whose only write end the supervisor holds. However the supervisor dies, SIGKILL
included, the pipe then ends, and this process kills its whole process group, itself among it. That works for programs
that are not ours, on Linux and macOS alike. `cli.up.supervisor` starts it as the leader of a group of its own; it imports
nothing of the project, so that it starts in milliseconds. It ends with the program's exit code, or 128 + the signal
that ended the program.
"""

import os
import signal
import subprocess
import sys
import threading
from types import FrameType

CANNOT_START = 127


def main(arguments: list[str]) -> int:
    """Run the program until it ends; its exit code."""
    lifeline, command = int(arguments[0]), arguments[1:]
    # Signals go to the whole group: the program acts on them, and this process waits for it. A handler, not SIG_IGN,
    # since an ignored signal would stay ignored in the program.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave_it_to_the_program)
    threading.Thread(target=_die_with_supervisor, args=(lifeline,), daemon=True).start()
    try:
        ended_with = subprocess.Popen(command).wait()
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return CANNOT_START
    return ended_with if ended_with >= 0 else 128 - ended_with


def _leave_it_to_the_program(number: int, frame: FrameType | None) -> None:
    del number, frame


def _die_with_supervisor(lifeline: int) -> None:
    os.read(lifeline, 1)  # Nobody ever writes: this returns when the last write end is closed.
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
