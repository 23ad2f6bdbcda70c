"""How fast a project may send: one token bucket per project, in this process alone.

A bucket holds at most `burst` tokens and gains `rate` of them a second; a request takes one. Time is the caller's monotonic
clock, in seconds.
"""

import math
from collections.abc import Callable

from domain.errors import RateLimited
from domain.ids import ProjectId

FORGET_ABOVE = 10_000


class RateLimit:
    """The buckets of all projects; full ones are forgotten when there are many."""

    def __init__(self, *, rate: int, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: dict[ProjectId, tuple[float, float]] = {}  # tokens left, and when

    def take(self, project_id: ProjectId) -> None:
        """One request of this project.

        Raises: RateLimited, with the whole seconds after which a token is there.
        """
        now = self._clock()
        tokens, at = self._buckets.get(project_id, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - at) * self._rate)
        if tokens < 1:
            self._buckets[project_id] = (tokens, now)
            raise RateLimited(retry_after_seconds=math.ceil((1 - tokens) / self._rate))
        self._buckets[project_id] = (tokens - 1, now)
        if len(self._buckets) > FORGET_ABOVE:
            self._forget_full(now)

    def _forget_full(self, now: float) -> None:
        refill_seconds = self._burst / self._rate
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if now - bucket[1] < refill_seconds}
