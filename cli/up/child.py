"""What the supervisor is told of a child, and the two judgements on one: must it be killed, and is it started again.

Used by `cli.up.supervisor`; `cli.up.run` describes its children with it. It starts and kills nothing.
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
class Watch:
    """How one knows that a child which was ready still works.

    `problem` is given the child's process group, and says what is wrong that a new start would mend, or None; it raises nothing.
    """

    problem: Callable[[int], Awaitable[str | None]]
    look_seconds: float
    red_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One program: how it starts, how one knows that it is ready and that it works, how long it may take to end.

    It is ready when it printed a line that contains `ready_line`, and `probe` answers True; each may be absent. `after`
    names children, or the supervisor's `PREPARED`, that must be ready before it is started.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready_line: str | None = None
    probe: Callable[[], Awaitable[bool]] | None = None
    after: tuple[str, ...] = ()
    watch: Watch | None = None
    stop_seconds: float = 2.0


@dataclass(slots=True)
class Restarts:
    """How often one child died in a row before it was ready, and what that means for its next start."""

    deaths: int = 0
    delay_seconds: float = FIRST_DELAY_SECONDS

    def delay_after_death(self, *, was_ready: bool, ended_with: int) -> float | None:
        """Seconds until the next start; None when it died too often. A SIGKILL comes from outside and is not counted."""
        if was_ready:
            self.deaths, self.delay_seconds = 0, FIRST_DELAY_SECONDS
        elif ended_with not in KILLED:
            self.deaths += 1
        if self.deaths >= DEATHS_BEFORE_GIVING_UP:
            return None
        delay, self.delay_seconds = self.delay_seconds, min(2 * self.delay_seconds, LONGEST_DELAY_SECONDS)
        return delay


async def lasting_problem(watch: Watch, group: int) -> str:
    """What is wrong with the child, once it has been wrong at every look for `red_seconds`.

    Looks are counted, not time: whoever looks may have been stopped himself, and finds everything late when he goes on.
    """
    # From the first to the last of them `red_seconds` pass.
    most_looks, red_looks = math.ceil(watch.red_seconds / watch.look_seconds) + 1, 0
    while True:
        looked_at = asyncio.get_running_loop().time()
        problem = await watch.problem(group)
        red_looks = 0 if problem is None else red_looks + 1
        if problem is not None and red_looks >= most_looks:
            return problem
        took_seconds = asyncio.get_running_loop().time() - looked_at
        await asyncio.sleep(max(0.0, watch.look_seconds - took_seconds))
