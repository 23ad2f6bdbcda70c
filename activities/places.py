"""How many callbacks one worker process has under way: so many of a project, so many to a host, and never the last free place.

A project may begin another callback only while it has fewer under way than places are free, in all and at that host: those whose
endpoints hang take, together, less than all, and whoever has none under way finds a place. What finds none is told when to come
back, so that it holds no slot of the worker meanwhile; however many of a project wait, they come back about as fast as its places
become free. Time is the caller's monotonic clock, in seconds. Called by `activities.callback`; counted for `/metrics` through the
worker's heartbeat.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from domain.ids import ProjectId, ReplayId

COME_BACK_SECONDS = 1.0
# Between two of a project that come back, each a task of the engine's: the least, the usual while nothing is known, and the most,
# which is what places that hang for 30 s are worth.
BETWEEN_SECONDS = (0.1, 1.0, 3.0)


Name = TypeVar("Name")


@dataclass(frozen=True, slots=True)
class CallbackLimits:
    """Callbacks at once in one worker process: of all projects, of one project, to one host."""

    total: int = 80
    per_project: int = 10
    per_host: int = 20


class NoPlace(Exception):
    """This callback is to come back after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"come back in {seconds:.1f} s")
        self.seconds = seconds


class CallbackPlaces:
    """The places of one worker process."""

    def __init__(self, limits: CallbackLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._projects: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._pairs: Counter[tuple[str, str]] = Counter()  # of a project to a host
        self._last_turns: dict[ProjectId, float] = {}
        self._come_back_at: dict[ReplayId, float] = {}
        self._held_seconds: dict[ProjectId, float] = {}  # by the last callback that ended

    @contextmanager
    def taken(self, replay_id: ReplayId, project_id: ProjectId, host: str) -> Iterator[None]:
        """A place for the block.

        Raises:
            NoPlace: before the block, when there is none.
        """
        if not self._has_place(project_id, host):
            raise NoPlace(self._next_turn(replay_id, project_id))
        self._come_back_at.pop(replay_id, None)
        self._projects[project_id] += 1
        self._hosts[host] += 1
        self._pairs[project_id, host] += 1
        began = self._clock()
        try:
            yield
        finally:
            self._held_seconds[project_id] = self._clock() - began
            _leave(self._projects, project_id)
            _leave(self._hosts, host)
            _leave(self._pairs, (project_id, host))

    def counted(self) -> dict[str, object]:
        """How many callbacks are under way, and how many were told to come back and are not there yet."""
        now = self._clock()
        self._come_back_at = {name: at for name, at in self._come_back_at.items() if at > now}
        self._last_turns = {name: at for name, at in self._last_turns.items() if at > now}
        busy = self._projects.keys() | self._last_turns.keys()
        self._held_seconds = {name: seconds for name, seconds in self._held_seconds.items() if name in busy}
        return {"callbacks_running": self._projects.total(), "callbacks_waiting": len(self._come_back_at)}

    def _has_place(self, project_id: ProjectId, host: str) -> bool:
        free = self._limits.total - self._projects.total()
        free_at_host = self._limits.per_host - self._hosts[host]
        return self._projects[project_id] < min(self._limits.per_project, free) and self._pairs[project_id, host] < free_at_host

    def _next_turn(self, replay_id: ReplayId, project_id: ProjectId) -> float:
        now = self._clock()
        least, usual, most = BETWEEN_SECONDS
        held_seconds = self._held_seconds.get(project_id, usual * self._limits.per_project)
        between = min(max(held_seconds / self._limits.per_project, least), most)
        turn = max(now + COME_BACK_SECONDS, self._last_turns.get(project_id, 0.0) + between)
        self._last_turns[project_id] = self._come_back_at[replay_id] = turn
        return turn - now


def _leave(counts: Counter[Name], name: Name) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
