"""The processes of an installation under attack: each with its log in a file, and started again
when it dies.

Two API and two worker processes, Temporal, and a PostgreSQL of the run's own where that is the
store. Nothing of the product runs in the harness's process; what it knows of them it knows as an
operator would: a port that answers,
a line in a log.
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
    """How a process is started, and what shows that it is at work:

    given its log so far, true or false.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    is_ready: Callable[[str], Awaitable[bool]]
    user: str | None = None


@dataclass(slots=True)
class Kept:
    """A service that is kept running.

    `ready` is set while its present life has been seen at work.
    """

    service: Service
    directory: Path
    lives: int = 0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None
    is_wanted: bool = True
    pause_seconds: float = AGAIN_SECONDS
    exits: list[int] = field(default_factory=list)
    _keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process and return once it is ready. It is started again whenever it ends."""
        self._keeping = asyncio.create_task(self._keep(), name=f"keeping {self.service.name}")
        await self.is_at_work()

    async def is_at_work(self) -> None:
        """Return once it is; fail with the last lines of its log when that takes too long."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self.ready.wait()
        except TimeoutError:
            raise AssertionError(
                f"{self.service.name} was not ready within {START_SECONDS} s:\n{self.log[-3000:]}"
            ) from None

    def kill(self) -> None:
        """SIGKILL; it is started again."""
        self.ready.clear()
        if self.process is not None and self.process.returncode is None:
            self.process.kill()

    async def end(self) -> None:
        """SIGTERM, then SIGKILL; it is not started again."""
        self.is_wanted = False
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
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    def freeze(self) -> None:
        """SIGSTOP, to all below it as well."""
        for process in self._tree():
            # ended since it was listed, as a connection's does
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """SIGCONT."""
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    @property
    def log(self) -> str:
        """The output of the process since it was last started."""
        path = self._log_path
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def _log_path(self) -> Path:
        return self.directory / f"{self.service.name}.{self.lives}.log"

    def _tree(self) -> Iterator[psutil.Process]:
        if self.process is None or self.process.returncode is not None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            yield root
            yield from root.children(recursive=True)

    async def _keep(self) -> None:
        while self.is_wanted:
            self.lives += 1
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
        while not await self.service.is_ready(self.log):  # noqa: ASYNC110 - it is another process that says so
            await asyncio.sleep(LOOK_SECONDS)
        self.ready.set()


def _die_with_harness() -> None:
    """On Linux the kernel ends a child whose harness died, however it died."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
