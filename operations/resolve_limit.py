"""How many names of repair URLs a project may have looked up at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import RateLimited
from domain.ids import ProjectId

LOOK_UPS_AT_ONCE = 4


class LookUps:
    """The names that each project has had looked up and not answered yet: a silent name server holds a thread of this process."""

    def __init__(self) -> None:
        self._running: Counter[ProjectId] = Counter()

    @contextmanager
    def one_of(self, project_id: ProjectId) -> Iterator[None]:
        """One look-up for the block. Raises: RateLimited, when so many run."""
        if self._running[project_id] >= LOOK_UPS_AT_ONCE:
            raise RateLimited(retry_after_seconds=1)
        self._running[project_id] += 1
        try:
            yield
        finally:
            self._running -= Counter({project_id: 1})
