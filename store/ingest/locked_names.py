"""What the front door waited for in vain: keys and receipts that another process held, by each name that a request may give them.

What names one of them is tried apart from the others for a while, so that it stalls no neighbour twice. Used by the committer.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from domain.results import NewResult
from store.ingest.batch import IngestRequest

REMEMBERED_SECONDS = 600.0  # after the last try
REMEMBERED_AT_MOST = 10_000

Name: TypeAlias = tuple[str, ...]


def key_of(request: IngestRequest) -> tuple[str, str, str]:
    return (request.project_id, request.endpoint, request.key)


def names_of(request: IngestRequest) -> Iterator[Name]:
    """What a request may have to wait for: its key, and the receipt that it speaks of, by each of its ids."""
    yield key_of(request)
    value = request.value
    if isinstance(value, NewResult):
        for identifier in (value.event_id, value.provider_event_id, value.stripe_event_id):
            if identifier is not None:
                yield (request.project_id, identifier)


class LockedNames:
    """The names, and when each was last tried in vain."""

    def __init__(self) -> None:
        self._tried_at: dict[Name, float] = {}  # the oldest first

    def __bool__(self) -> bool:
        return bool(self._tried_at)

    def add(self, names: Iterable[Name]) -> None:
        now = asyncio.get_running_loop().time()
        for name in names:
            self._tried_at.pop(name, None)
            self._tried_at[name] = now

    def release(self, names: Iterable[Name]) -> None:
        for name in names:
            self._tried_at.pop(name, None)

    def forget_old(self) -> None:
        oldest = asyncio.get_running_loop().time() - REMEMBERED_SECONDS
        while self._tried_at:
            name, at = next(iter(self._tried_at.items()))
            if at > oldest and len(self._tried_at) <= REMEMBERED_AT_MOST:
                return
            del self._tried_at[name]

    def tried_at(self, request: IngestRequest) -> float | None:
        """When what it names was last tried in vain; None when it was not."""
        return max((self._tried_at[name] for name in names_of(request) if name in self._tried_at), default=None)
