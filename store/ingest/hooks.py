"""Gathers what providers deliver to hooks into transactions between the batches of the committer.

1. A delivery is acknowledged after its commit.
2. One transaction takes at most `HOOK_BATCH_LIMIT` deliveries, and one runs between two batches. So
   a receipt waits for a bounded number of deliveries, however many there are.
3. If the store fails, all deliveries of the transaction are answered 503: the provider repeats
   them. After any other error they are retried one by one, one between two batches. So a bad
   delivery fails neither its neighbours nor a receipt.
4. The queue is bounded, apart from that of receipts and results.

Deliveries never share a transaction with receipts and results. Both insert identities and then
lock receipts: a transaction that did so twice could deadlock with another process.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from domain.errors import Unavailable
from domain.ids import SourceId
from domain.sources.events import Sighting
from store.db.database import Clock
from store.ingest.connection import IngestConnection, LockTimeout, is_store_failure, is_transient
from store.ingest.in_flight import RETRY_AFTER_SECONDS
from store.sources.sightings import record_received, record_sightings_of

HOOK_QUEUE_LIMIT = 1_000
# Each new event costs a few statements: about 10 ms of PostgreSQL for a whole batch.
HOOK_BATCH_LIMIT = 32
LOOP_TURNS = 3
# A source that receives what it does not expect is written at most so often.
IGNORED_EVERY = timedelta(seconds=10)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HookDelivery:
    """What one delivery makes known: one sighting for each effect that its event needs."""

    source_id: SourceId
    sightings: tuple[Sighting, ...]


@dataclass(slots=True)
class _Pending:
    delivery: HookDelivery
    stored: asyncio.Future[None]


class HookQueue:
    """The deliveries that are not committed yet, of all sources of this process."""

    def __init__(
        self, connection: IngestConnection, clock: Clock, *, on_work: Callable[[], None]
    ) -> None:
        """`on_work` is called when there is something to write."""
        self._connection, self._clock, self._on_work = connection, clock, on_work
        self._queue: deque[_Pending] = deque()
        self._failed: deque[_Pending] = deque()  # each is retried on its own
        self._received: set[SourceId] = set()
        self._is_stopping = False

    def __bool__(self) -> bool:
        """Whether there is something to write."""
        return bool(self._queue or self._failed or self._received)

    async def accept(self, delivery: HookDelivery) -> None:
        """Return once the delivery is on disk.

        Raises: Unavailable when it was not stored.
        """
        if self._is_stopping or len(self._queue) + len(self._failed) >= HOOK_QUEUE_LIMIT:
            raise Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
        pending = _Pending(delivery, asyncio.get_running_loop().create_future())
        self._queue.append(pending)
        self._on_work()
        # Shielded: if the provider disconnects, the delivery is still stored.
        await asyncio.shield(pending.stored)

    def note_received(self, source_id: SourceId) -> None:
        """Record soon that the source received an event that it does not expect.

        Nobody waits for it: if it is lost, the next such event is recorded.
        """
        if not self._is_stopping and len(self._received) < HOOK_QUEUE_LIMIT:
            self._received.add(source_id)
            self._on_work()

    def stop(self) -> None:
        """Accept nothing more. What was accepted is still written."""
        self._is_stopping = True

    async def write_some(self) -> None:
        """Write one bounded transaction of deliveries, and one of what was received."""
        if batch := self._next_batch():
            await self._write(batch)
        if self._received:
            await self._write_received()
        # On SQLite nothing above lets the event loop run. A request needs some turns to come here.
        for _ in range(LOOP_TURNS if batch else 0):
            await asyncio.sleep(0)

    def _next_batch(self) -> list[_Pending]:
        if self._failed:
            return [self._failed.popleft()]
        return [self._queue.popleft() for _ in range(min(len(self._queue), HOOK_BATCH_LIMIT))]

    async def _write(self, batch: list[_Pending]) -> None:
        seen: dict[SourceId, list[Sighting]] = {}
        for pending in batch:
            seen.setdefault(pending.delivery.source_id, []).extend(pending.delivery.sightings)
        try:
            async with self._connection.transaction(short_lock_timeout=True) as st:
                await record_sightings_of(st, dict(seen), await self._clock.now(st))
        except Exception as error:  # a process edge: an error fails a delivery, never the committer
            self._fail(batch, error)
            return
        for pending in batch:
            pending.stored.set_result(None)

    def _fail(self, batch: list[_Pending], error: Exception) -> None:
        is_of_store = is_store_failure(error)
        if not is_of_store and len(batch) > 1:
            self._failed.extend(batch)
            return
        failed = {"error": type(error).__name__, "deliveries": len(batch)}
        if is_of_store or isinstance(error, LockTimeout) or is_transient(error):
            log.warning("hook_commit_failed", **failed)
            error = Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
        else:
            log.error("delivery_not_stored", **failed, exc_info=error)
        for pending in batch:
            pending.stored.set_exception(error)

    async def _write_received(self) -> None:
        received, self._received = self._received, set()
        try:
            async with self._connection.transaction(short_lock_timeout=True) as st:
                await record_received(st, received, await self._clock.now(st), every=IGNORED_EVERY)
        except Exception as error:  # a process edge, as above
            log.info("received_not_recorded", error=type(error).__name__, sources=len(received))
