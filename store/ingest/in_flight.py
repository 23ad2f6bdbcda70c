"""The requests of one committer that have no response yet, and the responses that they get."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from domain.errors import IdempotencyConflict, IdempotencyInProgress, Unavailable
from store.ingest.locked_names import key_of
from store.ingest.outcomes import IngestOutcomes
from store.ingest.requests import IngestRequest, StoredResponse

EQUAL_REQUEST_WAIT_SECONDS = 5.0
RETRY_AFTER_SECONDS = 1

_Key: TypeAlias = tuple[str, str, str]


@dataclass(slots=True)
class Pending:
    """A request and the future of its response."""

    request: IngestRequest
    response: asyncio.Future[StoredResponse]

    @property
    def key(self) -> _Key:
        return key_of(self.request)


class InFlight:
    """The pending requests by key. Each response is also counted in `outcomes`."""

    def __init__(self, outcomes: IngestOutcomes) -> None:
        self._outcomes = outcomes
        self._pending: dict[_Key, Pending] = {}

    def add(self, pending: Pending) -> None:
        self._pending[pending.key] = pending

    async def wait_for_equal(self, request: IngestRequest) -> None:
        """Wait while a request with the same key is in flight. Its response is then in the store.

        Raises: IdempotencyConflict for another body; IdempotencyInProgress when it takes long.
        """
        while (first := self._pending.get(key_of(request))) is not None:
            if first.request.fingerprint != request.fingerprint:
                raise IdempotencyConflict
            await asyncio.wait((first.response,), timeout=EQUAL_REQUEST_WAIT_SECONDS)
            if not first.response.done():
                raise IdempotencyInProgress(retry_after_seconds=RETRY_AFTER_SECONDS)

    def respond(self, pending: Pending, verdict: StoredResponse | Exception) -> None:
        """Respond with a verdict. The request counts as served, because the store was available."""
        self._outcomes.count_served(pending.request)
        self._respond(pending, verdict)

    def refuse_unavailable(self, batch: Iterable[Pending], refusal: Unavailable) -> None:
        """Refuse requests because the store is at fault."""
        for pending in batch:
            self._outcomes.count_unserved(pending.request.endpoint)
            self._respond(pending, refusal)

    def refuse_locked(self, pending: Pending) -> None:
        """Refuse a request because another process has locked its receipt."""
        self._outcomes.count_locked(pending.request)
        self._respond(pending, Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS))

    def _respond(self, pending: Pending, verdict: StoredResponse | Exception) -> None:
        del self._pending[pending.key]
        if isinstance(verdict, Exception):
            pending.response.set_exception(verdict)
        else:
            pending.response.set_result(verdict)
