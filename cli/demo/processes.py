"""Runs the processes of `makegood demo`, with their output in files.

They run through `cli/up/launch.py`, as the children of `makegood up` do: a killed demo leaves no
process behind.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from cli.output import CommandFailed
from cli.up.supervisor import LAUNCHER

STOP_SECONDS = 12
LAST_LINES = 15


class DemoProcess:
    """A running program."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name, self.log = name, log
        self._process = process

    def check_alive(self) -> None:
        """Raises: CommandFailed with its last output lines, if it has ended."""
        if self._process.returncode is not None:
            lines = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
            output = "\n".join(f"  {self.name} | {line}" for line in lines)
            raise CommandFailed(
                f"{self.name} ended with code {self._process.returncode}; its last lines:\n{output}"
            )

    async def stop(self) -> None:
        """Terminate the process, and kill it if it still runs after `STOP_SECONDS`."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


@asynccontextmanager
async def run_process(
    name: str, *command: str, environment: Mapping[str, str], directory: Path, log: Path
) -> AsyncIterator[DemoProcess]:
    """Run the program in `directory` during the block."""
    lifeline, write_end = os.pipe()
    try:
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(*LAUNCHER, str(lifeline), *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=directory,
                pass_fds=(lifeline,),
                start_new_session=True,
            )
        running = DemoProcess(name, process, log)
        try:
            yield running
        finally:
            # Shielded: the process must also end when the demo is cancelled.
            await asyncio.shield(running.stop())
    finally:
        os.close(lifeline)
        os.close(write_end)


def free_ports(count: int) -> tuple[int, ...]:
    """Different loopback ports that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return tuple(int(one.getsockname()[1]) for one in sockets)
