"""Enqueues the starts of receipts again, each no more often than Temporal can follow. Used by `worker.loops.reconcile`."""

import time
from collections.abc import Collection, Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId
from store.db.database import Database
from store.receipts.outbox import enqueue_start_again

# The same receipt is not enqueued again sooner than this, so that a slow Temporal is not made slower.
AGAIN_AFTER_SECONDS = 60.0
# Sooner, when Temporal itself says that its run is gone once more; not at every pass, since it may end at once each time.
GONE_AGAIN_AFTER_SECONDS = 10.0

log = structlog.get_logger(__name__)


class Restarts:
    """What one process enqueued lately, by receipt."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._enqueued_at: dict[EventId, float] = {}

    async def enqueue(self, event_ids: Collection[EventId], *, why: str) -> None:
        """Enqueue the start of each receipt whose start does not wait in the outbox already."""
        if not event_ids:
            return
        async with self._database.transaction() as session:
            enqueued = await self.enqueue_in(session, event_ids)
        self.note(enqueued, why=why)

    async def enqueue_in(self, session: AsyncSession, event_ids: Collection[EventId]) -> list[EventId]:
        """The same within the caller's transaction, who calls `note` with the answer once it is committed."""
        now = await self._database.now(session)
        return [event_id for event_id in event_ids if await enqueue_start_again(session, event_id, now)]

    def note(self, event_ids: Sequence[EventId], *, why: str) -> None:
        """These were enqueued now. Not those whose start waits still: what becomes of it is not known yet."""
        for event_id in event_ids:
            self.leave_alone(event_id)
        if event_ids:
            log.info("told_again", why=why, receipts=len(event_ids), first_event_id=event_ids[0])

    def leave_alone(self, event_id: EventId) -> None:
        """For a while from now this receipt is not `ready`."""
        self._enqueued_at[event_id] = time.monotonic()

    def ready(self, event_ids: Collection[EventId], *, for_seconds: float = AGAIN_AFTER_SECONDS) -> list[EventId]:
        """Those that were left alone for so long."""
        since = time.monotonic() - for_seconds
        return [event_id for event_id in event_ids if self._enqueued_at.get(event_id, since) <= since]

    def forget_old(self) -> None:
        """Forget those that are ready anyway."""
        oldest = time.monotonic() - AGAIN_AFTER_SECONDS
        self._enqueued_at = {event_id: at for event_id, at in self._enqueued_at.items() if at > oldest}
