"""Remembers keys and receipts whose lock timed out, under each name that a request may use for
them.

For a while the committer handles requests with these names apart from the others. So a lock delays
its neighbours only once.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from domain.receipts import NewReceipt
from domain.results import NewResult
from store.ingest.requests import IngestRequest

REMEMBERED_SECONDS = 600.0  # after the last lock timeout
REMEMBERED_AT_MOST = 10_000

Name: TypeAlias = tuple[str, ...]


def key_of(request: IngestRequest) -> tuple[str, str, str]:
    return (request.project_id, request.endpoint, request.key)


def names_of(request: IngestRequest) -> Iterator[Name]:
    """The names of what a request may have to lock: its key, and each id of its receipt."""
    yield key_of(request)
    value = request.value
    match value:
        case NewResult():
            identifiers = {value.event_id, value.provider_event_id, value.stripe_event_id}
        case NewReceipt():
            identifiers = {value.provider_event_id, value.stripe_event_id}
        case _:
            identifiers = set()
    for identifier in identifiers:
        if identifier is not None:
            yield (request.project_id, identifier)


class LockedNames:
    """The names, each with the time of its last lock timeout."""

    def __init__(self) -> None:
        self._timed_out_at: dict[Name, float] = {}  # the oldest first

    def __bool__(self) -> bool:
        return bool(self._timed_out_at)

    def add(self, names: Iterable[Name]) -> None:
        now = asyncio.get_running_loop().time()
        for name in names:
            self._timed_out_at.pop(name, None)
            self._timed_out_at[name] = now

    def remove(self, names: Iterable[Name]) -> None:
        for name in names:
            self._timed_out_at.pop(name, None)

    def expire_old(self) -> None:
        oldest = asyncio.get_running_loop().time() - REMEMBERED_SECONDS
        while self._timed_out_at:
            name, at = next(iter(self._timed_out_at.items()))
            if at > oldest and len(self._timed_out_at) <= REMEMBERED_AT_MOST:
                return
            del self._timed_out_at[name]

    def timed_out_at(self, request: IngestRequest) -> float | None:
        """The last lock timeout of any name of the request, in loop time. None if none."""
        names = (name for name in names_of(request) if name in self._timed_out_at)
        return max((self._timed_out_at[name] for name in names), default=None)
