"""Real processes for tests:

a program with its output collected as it comes, free ports, who is still alive.
"""

import contextlib
import os
import pty
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]


class Program:
    """A started program; its output, both streams together, grows while it runs."""

    def __init__(
        self,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        *,
        on_terminal: bool = False,
    ) -> None:
        """Start it in the repository's directory, in a process group of its own.

        `on_terminal` makes its three streams a terminal instead of pipes.
        """
        read_end, given = pty.openpty() if on_terminal else os.pipe()
        self._output_end = os.fdopen(read_end, "rb", buffering=0)
        try:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=given if on_terminal else subprocess.DEVNULL,
                stdout=given,
                stderr=given,
                start_new_session=True,
            )
        finally:
            os.close(given)
        self._output = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """The text that the program has printed so far."""
        return bytes(self._output).decode(errors="replace")

    def wait_for(self, text: str, *, seconds: float = 20.0, count: int = 1) -> None:
        """Return once it has printed the text `count` times; fail if it ends before, or too much
        time passes.
        """

        def printed_or_ended() -> bool:
            return self.output.count(text) >= count or self.process.poll() is not None

        wait_until(printed_or_ended, seconds=seconds, what=f"{text!r} in:\n{self.output}")
        if self.process.poll() is not None:
            self._reader.join(timeout=5)
        assert self.output.count(text) >= count, self.output

    def ended(self, *, seconds: float = 20.0) -> int:
        """The exit code of the program, once it has ended and all its output was read."""
        code = self.process.wait(timeout=seconds)
        self._reader.join(timeout=5)
        return code

    def descendants(self) -> list[psutil.Process]:
        """Every process below it, now."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> None:
        """SIGTERM, then SIGKILL; its descendants too, if it left any."""
        left = self.descendants() if self.process.poll() is None else []
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=12)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for process in left:
            if process.is_running():
                process.kill()
        self._reader.join(timeout=5)
        self._output_end.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # raised by a terminal whose other end is closed
            while chunk := os.read(self._output_end.fileno(), 65_536):
                self._output += chunk


@contextmanager
def running(
    *command: str, environment: Mapping[str, str] | None = None, on_terminal: bool = False
) -> Iterator[Program]:
    """The program while the block runs; ended with all below it afterwards."""
    program = Program(command, environment or {}, on_terminal=on_terminal)
    try:
        yield program
    finally:
        program.end()


def python(*arguments: str) -> tuple[str, ...]:
    """A command that runs this Python."""
    return (sys.executable, *arguments)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, all different.

    Below those that the system gives to outgoing connections: one of these may be taken before a
    server has started.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            found += [port] if port not in found else []
    return found


def all_gone(processes: list[psutil.Process]) -> bool:
    """True when each has ended; one that only waits to be collected by its parent has."""
    return not any(_lives(process) for process in processes)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
