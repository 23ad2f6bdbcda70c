"""Counts served and unserved requests of ingest, and decides whether ingest is refusing most of
them.

A request is unserved if the store was unavailable or the queue was full. Other refusals count as
served. The ingest heartbeat depends on this. Used by `store.ingest.group_commit`.
"""

import asyncio
from collections import Counter

from domain.ids import ProjectId
from store.ingest.requests import Endpoint, IngestRequest

# Ingest counts as refusing for this long after most requests were refused, even without new
# requests: a refused caller may retry that late.
REFUSED_SECONDS = 10.0


class IngestOutcomes:
    """The requests since the last heartbeat, by endpoint.

    Receipts and results are separate, because refusing either is an outage.
    """

    def __init__(self) -> None:
        self._served: Counter[Endpoint] = Counter()
        self._unserved: Counter[Endpoint] = Counter()
        self._locked: Counter[tuple[Endpoint, ProjectId]] = Counter()  # refused because of a lock
        # When most requests were last refused. Removed when most are served again.
        self._refused_at: dict[Endpoint, float] = {}
        self._projects: set[ProjectId] = set()  # all projects that have sent a request

    def count_served(self, request: IngestRequest) -> None:
        self._projects.add(request.project_id)
        self._served[request.endpoint] += 1

    def count_unserved(self, endpoint: Endpoint) -> None:
        self._unserved[endpoint] += 1

    def count_locked(self, request: IngestRequest) -> None:
        self._projects.add(request.project_id)
        self._locked[request.endpoint, request.project_id] += 1

    def reset_and_check_refusing(self, *, outage_seconds: int) -> bool:
        """Whether most receipts or most results were refused since the last call. Resets the
        counts.

        Requests refused because of a lock count only if they are of several projects, or of the
        only project. Locks of one project do not mean that others are refused.
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
        # Shorter than an outage, so that one refused batch does not count as one.
        lasts_seconds = min(REFUSED_SECONDS, outage_seconds / 2)
        return any(now - at <= lasts_seconds for at in self._refused_at.values())
