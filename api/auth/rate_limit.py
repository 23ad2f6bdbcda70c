"""Limits each project's request rate with a token bucket, per process.

A bucket has at most `burst` tokens and gains `rate` tokens per second. A request takes one. The
clock is monotonic, in seconds.
"""

import math
from collections.abc import Callable

from domain.errors import RateLimited
from domain.ids import ProjectId

DROP_FULL_ABOVE = 10_000


class RateLimit:
    """The token buckets of all projects. Above 10,000 buckets, full ones are dropped."""

    def __init__(self, *, rate: int, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: dict[ProjectId, tuple[float, float]] = {}  # tokens, and when

    def take(self, project_id: ProjectId) -> None:
        """Take one token for a request of this project.

        Raises: RateLimited, with the whole seconds until a token is available.
        """
        now = self._clock()
        tokens, at = self._buckets.get(project_id, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - at) * self._rate)
        if tokens < 1:
            self._buckets[project_id] = (tokens, now)
            raise RateLimited(retry_after_seconds=math.ceil((1 - tokens) / self._rate))
        self._buckets[project_id] = (tokens - 1, now)
        if len(self._buckets) > DROP_FULL_ABOVE:
            self._drop_full(now)

    def _drop_full(self, now: float) -> None:
        refill_seconds = self._burst / self._rate
        self._buckets = {
            project_id: bucket
            for project_id, bucket in self._buckets.items()
            if now - bucket[1] < refill_seconds
        }
