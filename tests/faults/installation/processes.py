"""The processes of an installation under faults: each has a log file, and is restarted if it dies.

They are two API and two worker processes, Temporal, and PostgreSQL if that is the store. No code of
the product runs in the harness's own process. The harness observes the processes as an operator
does: by a port that answers, or a line in a log.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.processes import ROOT

START_SECONDS = 120
AGAIN_SECONDS = 0.3
LOOK_SECONDS = 0.05
END_SECONDS = 12


@dataclass(frozen=True, slots=True)
class Service:
    """How a process is started. `is_ready` gets its log so far, and returns whether it is ready."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    is_ready: Callable[[str], Awaitable[bool]]
    user: str | None = None


@dataclass(slots=True)
class SupervisedProcess:
    """A service whose process is restarted whenever it ends.

    `ready` is set while the current process is ready. `starts` counts the processes so far.
    """

    service: Service
    directory: Path
    starts: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None
    restarts: bool = True
    pause_seconds: float = AGAIN_SECONDS
    exits: list[int] = field(default_factory=list)
    _supervision: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process and its supervision; return once the process is ready."""
        self._supervision = asyncio.create_task(
            self._supervise(), name=f"supervision of {self.service.name}"
        )
        await self.wait_until_ready()

    async def wait_until_ready(self) -> None:
        """Return once it is ready; fail with the end of its log if that takes too long."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self.ready.wait()
        except TimeoutError:
            raise AssertionError(
                f"{self.service.name} was not ready within {START_SECONDS} s:\n{self.log[-3000:]}"
            ) from None

    def kill(self) -> None:
        """SIGKILL; the process is restarted."""
        self.ready.clear()
        if self.process is not None and self.process.returncode is None:
            self.process.kill()

    async def end(self) -> None:
        """SIGTERM, then SIGKILL; the process is not restarted."""
        self.restarts = False
        self.resume()
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(
                    signal.SIGINT if self.service.name == "postgres" else signal.SIGTERM
                )
            try:
                async with asyncio.timeout(END_SECONDS):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.gather(self._supervision, return_exceptions=True)

    def freeze(self) -> None:
        """SIGSTOP, to its child processes as well."""
        for process in self._tree():
            # ended since it was listed, such as the process of a connection
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """SIGCONT."""
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    @property
    def log(self) -> str:
        """The output of the current process."""
        path = self._log_path
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def _log_path(self) -> Path:
        return self.directory / f"{self.service.name}.{self.starts}.log"

    def _tree(self) -> Iterator[psutil.Process]:
        if self.process is None or self.process.returncode is not None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            yield root
            yield from root.children(recursive=True)

    async def _supervise(self) -> None:
        while self.restarts:
            self.starts += 1
            with self._log_path.open("wb") as log:
                self.process = await asyncio.create_subprocess_exec(
                    *self.service.command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                    env={**os.environ, **self.service.environment},
                    start_new_session=True,
                    preexec_fn=_die_with_harness,
                    user=self.service.user,
                )
            watching = asyncio.create_task(self._watch())
            self.exits.append(await self.process.wait())
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            self.ready.clear()
            await asyncio.sleep(self.pause_seconds)

    async def _watch(self) -> None:
        while not await self.service.is_ready(self.log):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(LOOK_SECONDS)
        self.ready.set()


def _die_with_harness() -> None:
    """On Linux, the kernel kills a child when the harness dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
