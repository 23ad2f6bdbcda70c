"""Limits how often a project sends test alerts, or calls its repair URL for a test, in each
process: they may go to anybody.
"""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from domain.errors import RateLimited
from domain.ids import ProjectId

MAXIMUM_IN_WINDOW, WINDOW_SECONDS = 6, 60.0
MAXIMUM_CONCURRENT = 2
MAXIMUM_PROJECTS = 10_000


class TrialLimit:
    """Counts the tests of one kind of each project. `clock` is in seconds."""

    def __init__(
        self, what: str = "test alerts", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`what` names the tests in the refusal."""
        self._clock = clock
        self._too_many = f"A project sends at most {MAXIMUM_IN_WINDOW} {what} a minute."
        self._sent_at: defaultdict[ProjectId, deque[float]] = defaultdict(deque)
        self._running: Counter[ProjectId] = Counter()

    @contextmanager
    def trial(self, project_id: ProjectId) -> Iterator[None]:
        """One test, for the duration of the block. Raises: RateLimited at a limit."""
        self._admit(project_id, self._clock())
        self._running[project_id] += 1
        try:
            yield
        finally:
            self._running -= Counter({project_id: 1})

    def _admit(self, project_id: ProjectId, now: float) -> None:
        if len(self._sent_at) >= MAXIMUM_PROJECTS and project_id not in self._sent_at:
            self._forget(now)
        sent_at = self._sent_at[project_id]
        while sent_at and sent_at[0] <= now - WINDOW_SECONDS:
            sent_at.popleft()
        if len(sent_at) >= MAXIMUM_IN_WINDOW:
            wait = max(1, round(sent_at[0] + WINDOW_SECONDS - now))
            raise RateLimited(self._too_many, retry_after_seconds=wait)
        if self._running[project_id] >= MAXIMUM_CONCURRENT:
            raise RateLimited(self._too_many, retry_after_seconds=1)
        sent_at.append(now)

    def _forget(self, now: float) -> None:
        """Forget the projects without a recent test."""
        old = [one for one, at in self._sent_at.items() if not at or at[-1] <= now - WINDOW_SECONDS]
        for project_id in old:
            del self._sent_at[project_id]
