"""Encrypts a receipt's payload for its row, with its project's data key.

Only receipts with a payload, in a project with snapshots, need it. Data keys are cached in their
sealed form only.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from domain.ids import EventId, ProjectId
from store.crypto.encryption import Sealer

# Loads the project's data key, sealed by the master key.
ReadDataKey = Callable[[ProjectId], Awaitable[bytes]]
Seal = Callable[[EventId, str], bytes]


class PayloadEncryption:
    """Caches the sealed data key of each project, which never changes."""

    def __init__(self, *, sealer: Sealer, read_data_key: ReadDataKey) -> None:
        self._sealer, self._read_data_key = sealer, read_data_key
        self._data_keys: dict[ProjectId, bytes] = {}

    async def sealer_for(self, project_id: ProjectId) -> Seal:
        """A function that seals a payload of this project for an event's row."""
        if project_id not in self._data_keys:
            self._data_keys[project_id] = await self._read_data_key(project_id)
        return partial(self._seal, project_id, self._data_keys[project_id])

    def _seal(
        self, project_id: ProjectId, data_key: bytes, event_id: EventId, payload: str
    ) -> bytes:
        return self._sealer.seal(
            data_key,
            project_id=project_id,
            table="receipts",
            column="payload",
            row=event_id,
            plaintext=payload.encode(),
        )
