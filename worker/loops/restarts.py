"""Enqueues the starts of receipts again, each no more often than Temporal can follow.

Used by `worker.loops.reconcile`.
"""

import time
from collections.abc import Collection, Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId
from store.db.database import Database
from store.receipts.outbox import enqueue_start_again

# The same receipt is not enqueued again within this time, so that a slow Temporal is not slowed
# further.
AGAIN_AFTER_SECONDS = 60.0
# Shorter, when Temporal itself reports that the run is gone once more. A run may end at once each
# time, so there is a limit too.
GONE_AGAIN_AFTER_SECONDS = 10.0

log = structlog.get_logger(__name__)


class Restarts:
    """The receipts that one process enqueued lately."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._enqueued_at: dict[EventId, float] = {}

    async def enqueue(self, event_ids: Collection[EventId], *, why: str) -> None:
        """Enqueue the start of each receipt whose start is not in the outbox."""
        if not event_ids:
            return
        async with self._database.transaction() as session:
            enqueued = await self.enqueue_in(session, event_ids)
        self.note(enqueued, why=why)

    async def enqueue_in(
        self, session: AsyncSession, event_ids: Collection[EventId]
    ) -> list[EventId]:
        """Enqueue within the caller's transaction.

        The caller passes the result to `note` after the commit.
        """
        now = await self._database.now(session)
        return [
            event_id for event_id in event_ids if await enqueue_start_again(session, event_id, now)
        ]

    def note(self, event_ids: Sequence[EventId], *, why: str) -> None:
        """Record that the starts of these receipts were enqueued now.

        Receipts whose start was already in the outbox are not among them.
        """
        for event_id in event_ids:
            self.back_off(event_id)
        if event_ids:
            log.info(
                "outbox_requeued", why=why, receipts=len(event_ids), first_event_id=event_ids[0]
            )

    def back_off(self, event_id: EventId) -> None:
        """Exclude this receipt from `ready` for a while."""
        self._enqueued_at[event_id] = time.monotonic()

    def ready(
        self, event_ids: Collection[EventId], *, for_seconds: float = AGAIN_AFTER_SECONDS
    ) -> list[EventId]:
        """The receipts among these whose start was not enqueued in the last `for_seconds`."""
        since = time.monotonic() - for_seconds
        return [
            event_id for event_id in event_ids if self._enqueued_at.get(event_id, since) <= since
        ]

    def forget_old(self) -> None:
        """Forget the receipts that are ready anyway."""
        oldest = time.monotonic() - AGAIN_AFTER_SECONDS
        self._enqueued_at = {
            event_id: at for event_id, at in self._enqueued_at.items() if at > oldest
        }
