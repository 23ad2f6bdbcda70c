"""Limits how many repair URL names a project may have resolved at the same time."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import RateLimited
from domain.ids import ProjectId

MAXIMUM_CONCURRENT_LOOKUPS = 4


class ResolveLimit:
    """Counts the running DNS lookups of each project.

    A name server that does not answer blocks a thread of this process for each lookup.
    """

    def __init__(self) -> None:
        self._running: Counter[ProjectId] = Counter()

    @contextmanager
    def lookup(self, project_id: ProjectId) -> Iterator[None]:
        """One lookup, for the duration of the block. Raises: RateLimited at the limit."""
        if self._running[project_id] >= MAXIMUM_CONCURRENT_LOOKUPS:
            raise RateLimited(retry_after_seconds=1)
        self._running[project_id] += 1
        try:
            yield
        finally:
            self._running -= Counter({project_id: 1})
