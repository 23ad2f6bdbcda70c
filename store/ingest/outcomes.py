"""Counts what the front door served and what it refused, and judges whether it serves: the beat of ingest goes by that.

Unserved is what was refused for want of the store or of a place in the queue, for no other reason. Used by
`store.ingest.group_commit`.
"""

import asyncio
from collections import Counter

from domain.ids import ProjectId
from store.ingest.batch import Endpoint, IngestRequest

# For so long after most were refused a pause says nothing: who was refused may come again that late.
REFUSED_SECONDS = 10.0


class Served:
    """The requests since the last beat, receipts and results apart: either alone is an outage."""

    def __init__(self) -> None:
        self._served: Counter[Endpoint] = Counter()
        self._unserved: Counter[Endpoint] = Counter()
        self._locked: Counter[tuple[Endpoint, ProjectId]] = Counter()  # refused for a lock
        self._refused_at: dict[Endpoint, float] = {}  # when most were refused, unless some were served since
        self._projects: set[ProjectId] = set()  # all that have asked

    def count_served(self, request: IngestRequest) -> None:
        self._projects.add(request.project_id)
        self._served[request.endpoint] += 1

    def count_unserved(self, endpoint: Endpoint) -> None:
        self._unserved[endpoint] += 1

    def count_locked(self, request: IngestRequest) -> None:
        self._projects.add(request.project_id)
        self._locked[request.endpoint, request.project_id] += 1

    def take_is_refusing(self, *, outage_seconds: int) -> bool:
        """Whether most receipts, or most results, were refused since this was last asked.

        Locks count when they refuse several projects, or the only one that there is: those of one say nothing of the others.
        """
        now = asyncio.get_running_loop().time()
        unserved = self._unserved.copy()
        locked = {project_id for _, project_id in self._locked}
        if len(locked) > 1 or locked == self._projects:
            for (endpoint, _), requests in self._locked.items():
                unserved[endpoint] += requests
        for endpoint in unserved | self._served:
            if unserved[endpoint] > self._served[endpoint]:
                self._refused_at[endpoint] = now
            else:
                self._refused_at.pop(endpoint, None)
        for counter in (self._served, self._unserved, self._locked):
            counter.clear()
        # Less than an outage, so that what was refused once is none.
        lasts_seconds = min(REFUSED_SECONDS, outage_seconds / 2)
        return any(now - at <= lasts_seconds for at in self._refused_at.values())
