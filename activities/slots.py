"""How much of one kind a worker process has under way: so much of a project, so much to a host, and never the last free place.

A project may begin another only while it has fewer under way than places are free, in all and at that host.
So those that hang take, together, less than all, and a project that has none under way finds a place. What
finds none learns when to come back, so that it holds no slot of the worker meanwhile. A project's come back
about as fast as its places become free. What holds a slot anyway may wait for a place instead. Time is the
caller's monotonic clock, in seconds. Used by `activities.callback.send` for callbacks, whose numbers go to
`/metrics` through the worker's heartbeat, and by `worker.temporal.activity_slots` for the rest.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from domain.ids import ProjectId

COME_BACK_SECONDS = 1.0
# Between two of a project that come back, each a task of Temporal's: the least, the usual while nothing is known, and the most,
# which is what places that hang for 30 s are worth.
BETWEEN_SECONDS = (0.1, 1.0, 3.0)
REMEMBERED_AT_MOST = 10_000


Name = TypeVar("Name")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker process has under way at most: of all projects, of one project, to one host.

    What finds no place comes back after `come_back_seconds` at the soonest; see `BETWEEN_SECONDS` for the other.
    """

    total: int
    per_project: int
    per_host: int
    come_back_seconds: float = COME_BACK_SECONDS
    between_seconds: tuple[float, float, float] = BETWEEN_SECONDS


@dataclass(frozen=True, slots=True)
class CallbackLimits(Limits):
    """The limits of callbacks."""

    total: int = 80
    per_project: int = 10
    per_host: int = 20


class SlotsExhausted(Exception):
    """There is no place; come back after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"come back in {seconds:.1f} s")
        self.seconds = seconds


class CallbackSlots:
    """The places of one kind in one worker process."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._projects: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._pairs: Counter[tuple[str, str]] = Counter()  # of a project to a host
        self._last_turns: dict[ProjectId, float] = {}
        self._come_back_at: dict[str, float] = {}
        self._held_seconds: dict[ProjectId, float] = {}  # by the last that ended
        self._moved_at: dict[ProjectId, float] = {}  # when the project last took or left a place, while it has one
        self._waiting: dict[ProjectId, deque[asyncio.Future[None]]] = {}

    @contextmanager
    def taken(self, name: str, project_id: ProjectId, host: str = "") -> Iterator[None]:
        """A place for the block. `name` is what comes back when there is none; without a `host`, the kind has none.

        Raises:
            SlotsExhausted: before the block, when there is none.
        """
        if not self._has_place(project_id, host):
            raise SlotsExhausted(self._next_turn(name, project_id))
        self._come_back_at.pop(name, None)
        with self._held(project_id, host):
            yield

    @asynccontextmanager
    async def waited_for(self, project_id: ProjectId, *, seconds: float, stuck_seconds: float) -> AsyncIterator[None]:
        """A place for the block, after a wait in turn.

        Raises:
            SlotsExhausted: none became free within `seconds`, or none of the project's for `stuck_seconds`; before the block.
        """
        until = self._clock() + seconds
        while not self._has_place(project_id, ""):
            patience = until - self._clock()
            if self._projects[project_id]:
                patience = min(patience, self._moved_at[project_id] + stuck_seconds - self._clock())
            if patience <= 0:
                raise SlotsExhausted(self._limits.come_back_seconds)
            await self._change(project_id, patience)
        with self._held(project_id, ""):
            yield

    def counted(self) -> dict[str, object]:
        """How many callbacks are under way, and how many were told to come back and are not there yet."""
        self._forget_past(self._clock())
        return {"callbacks_running": self._projects.total(), "callbacks_waiting": len(self._come_back_at)}

    def _forget_past(self, now: float) -> None:
        self._come_back_at = {name: at for name, at in self._come_back_at.items() if at > now}
        self._last_turns = {name: at for name, at in self._last_turns.items() if at > now}
        busy = self._projects.keys() | self._last_turns.keys()
        self._held_seconds = {name: seconds for name, seconds in self._held_seconds.items() if name in busy}

    @contextmanager
    def _held(self, project_id: ProjectId, host: str) -> Iterator[None]:
        self._projects[project_id] += 1
        self._hosts[host] += 1
        self._pairs[project_id, host] += 1
        began = self._moved_at[project_id] = self._clock()
        try:
            yield
        finally:
            self._moved_at[project_id] = self._clock()
            self._held_seconds[project_id] = self._clock() - began
            _leave(self._projects, project_id)
            _leave(self._hosts, host)
            _leave(self._pairs, (project_id, host))
            if not self._projects[project_id]:
                del self._moved_at[project_id]
            self._call_in_turn()

    async def _change(self, project_id: ProjectId, seconds: float) -> None:
        """Return when one of the project's may have a place, or after so long."""
        called = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(project_id, deque()).append(called)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(called, seconds)
        finally:
            line = self._waiting.get(project_id, deque())
            with suppress(ValueError):  # called, and so no longer in line
                line.remove(called)
            if not line:
                self._waiting.pop(project_id, None)

    def _call_in_turn(self) -> None:
        """Call the first in line of each project that has a place now; it looks again, and waits on if another was faster."""
        for project_id in list(self._waiting):
            line = self._waiting[project_id]
            while line and self._has_place(project_id, ""):
                called = line.popleft()
                if not called.done():
                    called.set_result(None)
                    break

    def _has_place(self, project_id: ProjectId, host: str) -> bool:
        free = self._limits.total - self._projects.total()
        free_at_host = self._limits.per_host - self._hosts[host]
        return self._projects[project_id] < min(self._limits.per_project, free) and self._pairs[project_id, host] < free_at_host

    def _next_turn(self, name: str, project_id: ProjectId) -> float:
        now = self._clock()
        if len(self._come_back_at) >= REMEMBERED_AT_MOST:
            self._forget_past(now)
        least, usual, most = self._limits.between_seconds
        held_seconds = self._held_seconds.get(project_id, usual * self._limits.per_project)
        between = min(max(held_seconds / self._limits.per_project, least), most)
        turn = max(now + self._limits.come_back_seconds, self._last_turns.get(project_id, 0.0) + between)
        self._last_turns[project_id] = self._come_back_at[name] = turn
        return turn - now


def _leave(counts: Counter[Name], name: Name) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
