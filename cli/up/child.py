"""Describes a child process of the supervisor, and decides when to kill it and when to restart it.

`cli.up.run` describes the children; `cli.up.supervisor` starts and kills them.
"""

import asyncio
import math
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 3.0
DEATHS_BEFORE_GIVING_UP = 5
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessCheck:
    """A repeated check that a ready child still works.

    `problem` gets the child's process group id. It returns a problem that a restart would fix, or
    None; it never raises.
    """

    problem: Callable[[int], Awaitable[str | None]]
    interval_seconds: float
    failing_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One program: its command, readiness, liveness and stop time.

    It is ready when it has printed a line that contains `ready_line` and `probe` returns True; each
    is optional. `after` names children, or the supervisor's `PREPARED`, that must be ready before
    it is started.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready_line: str | None = None
    probe: Callable[[], Awaitable[bool]] | None = None
    after: tuple[str, ...] = ()
    liveness: LivenessCheck | None = None
    stop_seconds: float = 2.0


@dataclass(slots=True)
class Restarts:
    """Counts deaths of one child in a row before it was ready, and computes the restart delay."""

    deaths: int = 0
    delay_seconds: float = FIRST_DELAY_SECONDS

    def delay_after_death(self, *, was_ready: bool, ended_with: int) -> float | None:
        """Seconds until the restart; None after too many deaths. A SIGKILL comes from outside and
        is not counted.
        """
        if was_ready:
            self.deaths, self.delay_seconds = 0, FIRST_DELAY_SECONDS
        elif ended_with not in KILLED:
            self.deaths += 1
        if self.deaths >= DEATHS_BEFORE_GIVING_UP:
            return None
        delay, self.delay_seconds = (
            self.delay_seconds,
            min(2 * self.delay_seconds, LONGEST_DELAY_SECONDS),
        )
        return delay


async def wait_for_lasting_problem(check: LivenessCheck, group: int) -> str:
    """Wait until every check has failed for `failing_seconds`; returns the last problem.

    It counts checks, not time: this process may itself have been stopped for a while (SIGSTOP).
    """
    # `failing_seconds` pass between the first and the last failing check.
    max_failures, failures = math.ceil(check.failing_seconds / check.interval_seconds) + 1, 0
    while True:
        checked_at = asyncio.get_running_loop().time()
        problem = await check.problem(group)
        failures = 0 if problem is None else failures + 1
        if problem is not None and failures >= max_failures:
            return problem
        took_seconds = asyncio.get_running_loop().time() - checked_at
        await asyncio.sleep(max(0.0, check.interval_seconds - took_seconds))
