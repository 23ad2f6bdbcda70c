"""Keeps a few programs alive together: starts them, restarts the ones that die or no longer work, ends them in order.

It decides when a child is ready, when it must be killed, when it deserves another start and when everything must stop.
It knows nothing of what the children are: `cli.up.run` describes them. Each runs through `cli/up/launch.py`, in a process
group of its own, and dies with this process however that dies.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from cli.up.child import DEATHS_BEFORE_GIVING_UP, ChildSpec, Restarts, lasting_problem

PROBE_INTERVAL_SECONDS = 0.05
PATIENCE_SECONDS = 10.0
# A budget for ending everything, under the 10 s that are promised.
STOP_SECONDS = 9.0
LAST_LINES = 20
LINE_BYTES = 65_536
LAUNCHER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")))

Say = Callable[[str], None]


PREPARED = "preparation"


class ChildGaveUp(Exception):
    """A child died too often before it was ready; the message holds its last lines."""


class _Child:
    """The state of one child across its lives."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.ready = asyncio.Event()
        self.said_ready = asyncio.Event()
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.process: asyncio.subprocess.Process | None = None

    def signal(self, number: signal.Signals) -> None:
        """Send to the child's whole group, if it still lives."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)


class Supervisor:
    """Runs the children until it is told to stop, or until one of them cannot be kept alive."""

    def __init__(self, specs: tuple[ChildSpec, ...], *, say: Say) -> None:
        """`say` takes each line for the operator: the children's own, prefixed, and the supervisor's."""
        self._say = say
        self._width = max(len(spec.name) for spec in specs)
        self._children = tuple(_Child(spec) for spec in specs)
        self._prepared = asyncio.Event()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._lifeline, self._held_end = os.pipe()

    async def run(self, *, prepare: Callable[[], Awaitable[None]], announce: Callable[[], Awaitable[None]]) -> int:
        """Keep everything alive until SIGINT, SIGTERM or SIGHUP; the exit code. Children are ended in reverse order.

        `prepare` runs beside the first children, before those that wait for `PREPARED`; `announce` once all are ready.
        Raises: whatever `prepare` and `announce` raise, after the children were ended.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # `nohup` means what it says; a script that started us in the background ignores SIGINT without meaning it.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.stop)
        keepers = [self._watched(self._keep(child)) for child in self._children]
        story = self._watched(self._tell(prepare, announce))
        await self._stop.wait()
        story.cancel()
        await self._end_children(keepers)
        outcomes = await asyncio.gather(*keepers, story, return_exceptions=True)
        os.close(self._held_end)
        os.close(self._lifeline)
        return self._exit_code([outcome for outcome in outcomes if isinstance(outcome, Exception)])

    def stop(self) -> None:
        """End everything in order; asked a second time, at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()
        for child in self._children:  # Wakes those that wait for another: they look at `_stop` next.
            child.ready.set()
        self._prepared.set()

    def _watched(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Any: what a coroutine is sent and yields is asyncio's own affair.
        task = asyncio.create_task(work)
        task.add_done_callback(self._stop_if_failed)
        return task

    def _stop_if_failed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not self._stop.is_set():
            self.stop()

    def _exit_code(self, failures: list[Exception]) -> int:
        for failure in failures:
            if not isinstance(failure, ChildGaveUp):
                raise failure
            self._say(str(failure))
        return 1 if failures else 0

    async def _tell(self, prepare: Callable[[], Awaitable[None]], announce: Callable[[], Awaitable[None]]) -> None:
        await prepare()
        self._prepared.set()
        while missing := [child for child in self._children if not child.ready.is_set()]:
            waits = asyncio.gather(*(child.ready.wait() for child in missing))
            try:
                await asyncio.wait_for(waits, PATIENCE_SECONDS)
            except TimeoutError:
                late = ", ".join(child.spec.name for child in missing if not child.ready.is_set())
                self._say(f"Still waiting for: {late}")
        if not self._stop.is_set():
            await announce()

    async def _keep(self, child: _Child) -> None:
        restarts = Restarts()
        while True:
            for name in child.spec.after:
                await self._event(name).wait()
            if self._stop.is_set():
                return
            was_ready, ended_with = await self._live(child)
            if self._stop.is_set():
                return
            delay = restarts.delay_after_death(was_ready=was_ready, ended_with=ended_with)
            if delay is None:
                raise ChildGaveUp(self._farewell(child, _ending(ended_with)))
            self._say(f"{child.spec.name} {_ending(ended_with)}; starting it again in {delay:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)

    def _event(self, name: str) -> asyncio.Event:
        events = {child.spec.name: child.ready for child in self._children}
        return {**events, PREPARED: self._prepared}[name]

    async def _live(self, child: _Child) -> tuple[bool, int]:
        """One life of a child: whether it was ready, and what it ended with."""
        child.ready.clear()
        child.said_ready.clear()
        process, output, pipe = await self._spawned(child.spec)
        child.process = process
        if self._stop.is_set():  # Told to stop while it was being started.
            child.signal(signal.SIGKILL)
        pump = asyncio.create_task(self._pump(child, output))
        prober = self._watched(_become_ready(child))
        minder = self._watched(self._mind(child, process.pid))
        ended_with = await process.wait()
        minder.cancel()
        child.signal(signal.SIGKILL)  # What it left behind in its group, when its launcher was the one to die.
        await asyncio.wait({pump}, timeout=1.0)
        pump.cancel()
        pipe.close()
        was_ready = await _settled(prober, child)
        child.process = None
        child.ready.clear()
        return was_ready, ended_with

    async def _mind(self, child: _Child, group: int) -> None:
        """Kill a child that was ready and has not worked for long: frozen, or doing nothing, it may not end by itself."""
        await child.ready.wait()
        if child.spec.watch is None or self._stop.is_set():
            return
        problem = await lasting_problem(child.spec.watch, group)
        self._say(f"{child.spec.name} lives and does not work: {problem}, for {child.spec.watch.red_seconds:g} s; killing it")
        child.signal(signal.SIGKILL)

    async def _spawned(self, spec: ChildSpec) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader, asyncio.ReadTransport]:
        # A pipe of ours, not asyncio's: some versions of `Process.wait` also wait for the pipe's end, which a
        # program that outlived its launcher would delay for ever.
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(*LAUNCHER, str(self._lifeline), *spec.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                env=spec.environment,
                pass_fds=(self._lifeline,),
                start_new_session=True,
            )
        finally:
            os.close(write_end)
        output = asyncio.StreamReader()
        source = os.fdopen(read_end, "rb", buffering=0)
        loop = asyncio.get_running_loop()
        pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(output), source)
        return process, output, pipe

    async def _pump(self, child: _Child, output: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await output.read(LINE_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._hear(child, line)
        if rest:
            self._hear(child, rest)

    def _hear(self, child: _Child, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        child.last_lines.append(text)
        if child.spec.ready_line is not None and child.spec.ready_line in text:
            child.said_ready.set()
        self._say(f"{child.spec.name:<{self._width}} | {text}")

    def _farewell(self, child: _Child, how: str) -> str:
        name, lines = child.spec.name, "\n".join(f"    {line}" for line in child.last_lines)
        return (
            f"{name} {how}, {DEATHS_BEFORE_GIVING_UP} times in a row before it was ready: everything was stopped.\n"
            f"The last lines of {name}:\n{lines or '    (it said nothing)'}"
        )

    async def _end_children(self, keepers: list[asyncio.Task[None]]) -> None:
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS
        hurry = asyncio.create_task(self._hurry.wait())
        for child, keeper in reversed(list(zip(self._children, keepers, strict=True))):
            child.signal(signal.SIGTERM)
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            await asyncio.wait({keeper, hurry}, timeout=min(child.spec.stop_seconds, left), return_when=asyncio.FIRST_COMPLETED)
            if not keeper.done():
                self._say(f"{child.spec.name} did not end in time and was killed")
                child.signal(signal.SIGKILL)
                await asyncio.wait({keeper})
        hurry.cancel()


async def _become_ready(child: _Child) -> None:
    if child.spec.ready_line is not None:
        await child.said_ready.wait()
    while child.spec.probe is not None and not await child.spec.probe():  # noqa: ASYNC110 - another process tells
        await asyncio.sleep(PROBE_INTERVAL_SECONDS)
    child.ready.set()


async def _settled(prober: asyncio.Task[None], child: _Child) -> bool:
    """Whether the child was ready in the life that has ended, were it for a moment.

    Raises: what the probe raised, which is a bug of ours.
    """
    prober.cancel()
    await asyncio.wait({prober})
    if not prober.cancelled():
        prober.result()
        return True
    return child.spec.probe is None and child.said_ready.is_set()


def _ending(ended_with: int) -> str:
    number = -ended_with if ended_with < 0 else ended_with - 128
    names = {int(one): one.name for one in signal.Signals}
    return f"was ended by {names[number]}" if number in names else f"ended with exit code {ended_with}"
