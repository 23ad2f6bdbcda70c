"""Seals the payload of a receipt for its row, with the data key of its project. Keeps the sealed data keys, never opened ones.

Asked by `api.ingest.endpoint` for the few receipts that carry a payload in a project that wants snapshots.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from domain.ids import EventId, ProjectId
from store.crypto.encryption import Sealer

# The project's data key, still sealed by the master key.
ReadDataKey = Callable[[ProjectId], Awaitable[bytes]]
Seal = Callable[[EventId, str], bytes]


class Snapshots:
    """The data keys that this process has needed so far; a project's never changes."""

    def __init__(self, *, sealer: Sealer, read_data_key: ReadDataKey) -> None:
        self._sealer, self._read_data_key = sealer, read_data_key
        self._data_keys: dict[ProjectId, bytes] = {}

    async def seal_of(self, project_id: ProjectId) -> Seal:
        """What seals a payload of this project for the row of its event."""
        if project_id not in self._data_keys:
            self._data_keys[project_id] = await self._read_data_key(project_id)
        return partial(self._seal, project_id, self._data_keys[project_id])

    def _seal(self, project_id: ProjectId, data_key: bytes, event_id: EventId, payload: str) -> bytes:
        return self._sealer.seal(
            data_key, project_id=project_id, table="receipts", column="payload", row=event_id, plaintext=payload.encode()
        )
