"""Limits how many activities of one kind a worker process runs at once: per project, per host, in
all.

1. A project may start another activity only while it has fewer running than slots are free, both in
   all and at that host. Activities that hang can therefore never take the last slot, and a project
   with none running always gets one.
2. If no slot is free, the caller gets a delay after which to retry, and frees its Temporal slot
   meanwhile. The retries of a project are spaced about as fast as its slots become free.
3. A caller that keeps its Temporal slot anyway may wait for a slot instead.

Times are seconds of the caller's monotonic clock. Used by `activities.callback.send` for callbacks,
whose counts reach `/metrics` in the worker's heartbeat, and by `worker.temporal.activity_slots`.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from domain.ids import ProjectId

RETRY_AFTER_SECONDS = 1.0
# Spacing between two retries of a project: the least, the default and the most. Each retry is a
# task of Temporal. The most suits slots that hang for 30 s.
RETRY_SPACING_SECONDS = (0.1, 1.0, 3.0)
MAX_REMEMBERED = 10_000


Name = TypeVar("Name")


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """The most that one worker process runs at once: of all projects, of one project, to one host.

    A caller without a slot retries after `retry_after_seconds` at the earliest. For
    `retry_spacing_seconds` see `RETRY_SPACING_SECONDS`.
    """

    total: int
    per_project: int
    per_host: int
    retry_after_seconds: float = RETRY_AFTER_SECONDS
    retry_spacing_seconds: tuple[float, float, float] = RETRY_SPACING_SECONDS


@dataclass(frozen=True, slots=True)
class CallbackLimits(SlotLimits):
    """The limits of callbacks."""

    total: int = 80
    per_project: int = 10
    per_host: int = 20


class SlotsExhausted(Exception):
    """No slot is free. Retry after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"retry in {seconds:.1f} s")
        self.seconds = seconds


class CallbackSlots:
    """The slots of one kind of activity in one worker process."""

    def __init__(self, limits: SlotLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._projects: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._pairs: Counter[tuple[str, str]] = Counter()  # by project and host
        self._last_retry_at: dict[ProjectId, float] = {}
        self._retry_at: dict[str, float] = {}  # by the name of a waiting caller
        # by the project's last slot that was released
        self._held_seconds: dict[ProjectId, float] = {}
        # When a project with slots last acquired or released one.
        self._changed_at: dict[ProjectId, float] = {}
        self._waiting: dict[ProjectId, deque[asyncio.Future[None]]] = {}

    @contextmanager
    def acquire(self, name: str, project_id: ProjectId, host: str = "") -> Iterator[None]:
        """Hold a slot during the block. `name` identifies the caller when it retries.

        Kinds of activity that call no host leave `host` empty.

        Raises:
            SlotsExhausted: before the block, when no slot is free.
        """
        if not self._has_slot(project_id, host):
            raise SlotsExhausted(self._schedule_retry(name, project_id))
        self._retry_at.pop(name, None)
        with self._held(project_id, host):
            yield

    @asynccontextmanager
    async def wait_for_slot(
        self, project_id: ProjectId, *, seconds: float, stuck_seconds: float
    ) -> AsyncIterator[None]:
        """Wait in turn for a slot, and hold it during the block.

        Raises:
            SlotsExhausted: before the block: no slot became free within `seconds`, or none of the
                project's for `stuck_seconds`.
        """
        until = self._clock() + seconds
        while not self._has_slot(project_id, ""):
            patience = until - self._clock()
            if self._projects[project_id]:
                stuck_at = self._changed_at[project_id] + stuck_seconds
                patience = min(patience, stuck_at - self._clock())
            if patience <= 0:
                raise SlotsExhausted(self._limits.retry_after_seconds)
            await self._wait_for_turn(project_id, patience)
        with self._held(project_id, ""):
            yield

    def counts(self) -> dict[str, object]:
        """How many callbacks are running, and how many have a retry scheduled."""
        self._forget_past(self._clock())
        return {
            "callbacks_running": self._projects.total(),
            "callbacks_waiting": len(self._retry_at),
        }

    def _forget_past(self, now: float) -> None:
        self._retry_at = {name: at for name, at in self._retry_at.items() if at > now}
        self._last_retry_at = {name: at for name, at in self._last_retry_at.items() if at > now}
        busy = self._projects.keys() | self._last_retry_at.keys()
        self._held_seconds = {
            name: seconds for name, seconds in self._held_seconds.items() if name in busy
        }

    @contextmanager
    def _held(self, project_id: ProjectId, host: str) -> Iterator[None]:
        self._projects[project_id] += 1
        self._hosts[host] += 1
        self._pairs[project_id, host] += 1
        acquired_at = self._changed_at[project_id] = self._clock()
        try:
            yield
        finally:
            self._changed_at[project_id] = self._clock()
            self._held_seconds[project_id] = self._clock() - acquired_at
            _decrement(self._projects, project_id)
            _decrement(self._hosts, host)
            _decrement(self._pairs, (project_id, host))
            if not self._projects[project_id]:
                del self._changed_at[project_id]
            self._resume_waiting()

    async def _wait_for_turn(self, project_id: ProjectId, seconds: float) -> None:
        """Return when the project may have a slot, or after `seconds`."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(project_id, deque()).append(turn)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(turn, seconds)
        finally:
            queue = self._waiting.get(project_id, deque())
            with suppress(ValueError):  # its turn came, so it is no longer queued
                queue.remove(turn)
            if not queue:
                self._waiting.pop(project_id, None)

    def _resume_waiting(self) -> None:
        """Resume the first waiter of each project that may have a slot.

        The waiter checks again, and waits on if another caller was faster.
        """
        for project_id in list(self._waiting):
            queue = self._waiting[project_id]
            while queue and self._has_slot(project_id, ""):
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
                    break

    def _has_slot(self, project_id: ProjectId, host: str) -> bool:
        free = self._limits.total - self._projects.total()
        free_at_host = self._limits.per_host - self._hosts[host]
        is_in_project_limit = self._projects[project_id] < min(self._limits.per_project, free)
        return is_in_project_limit and self._pairs[project_id, host] < free_at_host

    def _schedule_retry(self, name: str, project_id: ProjectId) -> float:
        """The seconds after which the caller retries."""
        now = self._clock()
        if len(self._retry_at) >= MAX_REMEMBERED:
            self._forget_past(now)
        least, default, most = self._limits.retry_spacing_seconds
        held_seconds = self._held_seconds.get(project_id, default * self._limits.per_project)
        spacing = min(max(held_seconds / self._limits.per_project, least), most)
        soonest_at = now + self._limits.retry_after_seconds
        retry_at = max(soonest_at, self._last_retry_at.get(project_id, 0.0) + spacing)
        self._last_retry_at[project_id] = self._retry_at[name] = retry_at
        return retry_at - now


def _decrement(counts: Counter[Name], name: Name) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
