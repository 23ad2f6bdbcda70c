"""Bounds the memory of the bodies of hooks, which are read before anybody has proved who they are.

A source may use a part of it, so that who knows one address cannot stop the hooks of others.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import Unavailable
from domain.ids import SourceId

MAXIMUM_BYTES = 64 * 1024 * 1024
MAXIMUM_BYTES_OF_SOURCE = 16 * 1024 * 1024
# A body that is announced as small still costs a request.
LEAST_BYTES = 16 * 1024


class BodyBudget:
    """The bytes of bodies that are being read or checked."""

    def __init__(self) -> None:
        self._of_source: Counter[SourceId] = Counter()
        self._total = 0

    @contextmanager
    def reserved(self, source_id: SourceId, body_bytes: int) -> Iterator[None]:
        """Reserve the bytes during the block. Raises: Unavailable when they are not free."""
        share = max(body_bytes, LEAST_BYTES)
        is_over = self._of_source[source_id] + share > MAXIMUM_BYTES_OF_SOURCE
        if is_over or self._total + share > MAXIMUM_BYTES:
            raise Unavailable(retry_after_seconds=1)
        self._of_source[source_id] += share
        self._total += share
        try:
            yield
        finally:
            self._total -= share
            self._of_source[source_id] -= share
            if not self._of_source[source_id]:
                del self._of_source[source_id]
