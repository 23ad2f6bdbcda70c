"""The process supervisor of `makegood up`: starts programs, restarts those that die or hang, stops
them in order.

`cli.up.run` describes the children; the supervisor does not know what they are. Each runs through
`cli/up/launch.py` in its own process group and dies with this process, even after a SIGKILL.
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

from cli.up.child import DEATHS_BEFORE_GIVING_UP, ChildSpec, Restarts, wait_for_lasting_problem
from cli.up.reports import Reports, indented

PROBE_INTERVAL_SECONDS = 0.05
STILL_WAITING_SECONDS = 10.0
# The time to stop everything; orchestrators usually allow 10 s. `timeout` and process managers send
# SIGTERM twice in a row: until then, a further signal changes nothing.
STOP_SECONDS = 9.0
LAST_LINES = 20
MAX_LINE_BYTES = 65_536
LAUNCHER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")))

PREPARED = "preparation"


class ChildGaveUp(Exception):
    """A child died too often before it was ready; the message has its last lines."""


class _Child:
    """The state of one child across its restarts."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.ready = asyncio.Event()
        self.printed_ready_line = asyncio.Event()
        self.was_restarted = False
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.process: asyncio.subprocess.Process | None = None

    def signal(self, number: signal.Signals) -> None:
        """Send the signal to the child's process group, if it is still alive."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)


class Supervisor:
    """Runs the children until it is stopped, or until one of them dies too often."""

    def __init__(self, specs: tuple[ChildSpec, ...], reports: Reports) -> None:
        """`reports` gets each line: the children's, and the supervisor's own."""
        self._reports = reports
        self._children = tuple(_Child(spec) for spec in specs)
        self._prepared = asyncio.Event()
        self._stop = asyncio.Event()
        self._lifeline, self._lifeline_write_end = os.pipe()

    async def run(
        self, *, prepare: Callable[[], Awaitable[None]], announce: Callable[[], Awaitable[None]]
    ) -> int:
        """Run the children until SIGINT, SIGTERM or SIGHUP; returns the exit code. Stops them in
        reverse order.

        `prepare` runs while the first children start, before those that wait for `PREPARED`.
        `announce` runs when all are ready. Raises: what `prepare` or `announce` raise, after the
        children were stopped.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # An ignored SIGHUP means `nohup` and stays ignored. An ignored SIGINT is only a shell's
            # default for background jobs.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.stop)
        child_tasks = [self._create_task(self._keep_running(child)) for child in self._children]
        announcer = self._create_task(self._prepare_and_announce(prepare, announce))
        await self._stop.wait()
        self._reports.report("Stopping everything")
        announcer.cancel()
        await self._end_children(child_tasks)
        outcomes = await asyncio.gather(*child_tasks, announcer, return_exceptions=True)
        os.close(self._lifeline_write_end)
        os.close(self._lifeline)
        return self._exit_code([outcome for outcome in outcomes if isinstance(outcome, Exception)])

    def stop(self) -> None:
        """Stop the children in order, within `STOP_SECONDS`; a further call changes nothing."""
        self._stop.set()
        # Releases tasks that wait for a child; they check `_stop` next.
        for child in self._children:
            child.ready.set()
        self._prepared.set()

    def _create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Any: the send and yield types of a coroutine belong to asyncio.
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
            self._reports.report(str(failure))
        return 1 if failures else 0

    async def _prepare_and_announce(
        self, prepare: Callable[[], Awaitable[None]], announce: Callable[[], Awaitable[None]]
    ) -> None:
        await prepare()
        self._prepared.set()
        while missing := [child for child in self._children if not child.ready.is_set()]:
            waits = asyncio.gather(*(child.ready.wait() for child in missing))
            try:
                await asyncio.wait_for(waits, STILL_WAITING_SECONDS)
            except TimeoutError:
                late = ", ".join(child.spec.name for child in missing if not child.ready.is_set())
                self._reports.report(f"Still waiting for: {late}")
        if not self._stop.is_set():
            await announce()

    async def _keep_running(self, child: _Child) -> None:
        restarts = Restarts()
        while True:
            for name in child.spec.after:
                await self._event(name).wait()
            if self._stop.is_set():
                return
            was_ready, ended_with = await self._run_once(child)
            if self._stop.is_set():
                return
            delay = restarts.delay_after_death(was_ready=was_ready, ended_with=ended_with)
            if delay is None:
                raise ChildGaveUp(self._failure_message(child, _ending(ended_with)))
            died = f"{child.spec.name} {_ending(ended_with)}; restarting it in {delay:g} s"
            self._reports.child_died(child.spec.name, died, tuple(child.last_lines))
            child.was_restarted = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)

    def _event(self, name: str) -> asyncio.Event:
        events = {child.spec.name: child.ready for child in self._children}
        return {**events, PREPARED: self._prepared}[name]

    async def _run_once(self, child: _Child) -> tuple[bool, int]:
        """Run the child once; returns whether it was ready, and its exit code."""
        child.ready.clear()
        child.printed_ready_line.clear()
        process, output, pipe = await self._spawn(child.spec)
        child.process = process
        if self._stop.is_set():  # Stopped while the child was starting.
            child.signal(signal.SIGKILL)
        reader = asyncio.create_task(self._read_output(child, output))
        readiness = self._create_task(self._become_ready(child))
        liveness_task = self._create_task(self._kill_when_failing(child, process.pid))
        ended_with = await process.wait()
        liveness_task.cancel()
        # If the launcher died, its program can still run in the group.
        child.signal(signal.SIGKILL)
        await asyncio.wait({reader}, timeout=1.0)
        reader.cancel()
        pipe.close()
        was_ready = await _was_ready(readiness, child)
        child.process = None
        child.ready.clear()
        return was_ready, ended_with

    async def _become_ready(self, child: _Child) -> None:
        if child.spec.ready_line is not None:
            await child.printed_ready_line.wait()
        while child.spec.probe is not None and not await child.spec.probe():  # noqa: ASYNC110 - another process
            await asyncio.sleep(PROBE_INTERVAL_SECONDS)
        child.ready.set()
        if child.was_restarted:
            self._reports.child_event(child.spec.name, f"{child.spec.name} is ready again")

    async def _kill_when_failing(self, child: _Child, group: int) -> None:
        """Kill a ready child whose liveness check keeps failing: a frozen process does not exit by
        itself.
        """
        await child.ready.wait()
        if child.spec.liveness is None or self._stop.is_set():
            return
        problem = await wait_for_lasting_problem(child.spec.liveness, group)
        seconds = child.spec.liveness.failing_seconds
        self._reports.child_event(
            child.spec.name,
            f"{child.spec.name} is alive but fails its check: {problem} for {seconds:g} s;"
            " killing it",
        )
        child.signal(signal.SIGKILL)

    async def _spawn(
        self, spec: ChildSpec
    ) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader, asyncio.ReadTransport]:
        # Our own pipe, not asyncio's: in some versions `Process.wait` also waits for the pipe to
        # close, which never happens while a program outlives its launcher.
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

    async def _read_output(self, child: _Child, output: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await output.read(MAX_LINE_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._handle_line(child, line)
        if rest:
            self._handle_line(child, rest)

    def _handle_line(self, child: _Child, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        child.last_lines.append(text)
        if child.spec.ready_line is not None and child.spec.ready_line in text:
            child.printed_ready_line.set()
        self._reports.child_line(child.spec.name, text)

    def _failure_message(self, child: _Child, how: str) -> str:
        name, lines = child.spec.name, "\n".join(map(indented, child.last_lines))
        return (
            f"{name} {how}, {DEATHS_BEFORE_GIVING_UP} times in a row before it was ready;"
            f" everything was stopped.\nThe last lines of {name}:\n{lines or '    (no output)'}\n"
            f"  its log: {self._reports.logs.path(name)}"
        )

    async def _end_children(self, child_tasks: list[asyncio.Task[None]]) -> None:
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS
        for child, child_task in reversed(list(zip(self._children, child_tasks, strict=True))):
            child.signal(signal.SIGTERM)
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            await asyncio.wait({child_task}, timeout=min(child.spec.stop_seconds, left))
            if not child_task.done():
                self._reports.child_event(
                    child.spec.name, f"{child.spec.name} did not stop in time and was killed"
                )
                child.signal(signal.SIGKILL)
                await asyncio.wait({child_task})


async def _was_ready(readiness: asyncio.Task[None], child: _Child) -> bool:
    """Whether the child that has ended was ever ready.

    Raises: what the probe raised, which is a bug.
    """
    readiness.cancel()
    await asyncio.wait({readiness})
    if not readiness.cancelled():
        readiness.result()
        return True
    return child.spec.probe is None and child.printed_ready_line.is_set()


def _ending(ended_with: int) -> str:
    number = -ended_with if ended_with < 0 else ended_with - 128
    names = {int(one): one.name for one in signal.Signals}
    return (
        f"was ended by {names[number]}" if number in names else f"ended with exit code {ended_with}"
    )
