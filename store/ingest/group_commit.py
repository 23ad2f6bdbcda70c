"""Group commit: writes many receipts and results in one transaction, and responds after the commit.

There is one committer in each API process. Requests that arrive while a transaction runs go into
the next one, so many requests share one sync to disk.

1. Nothing is acknowledged before its commit. Each request has its own verdict.
2. If a transaction fails as a whole, its requests are retried one by one. So a bad request never
   fails its neighbours.
3. A batch waits once for a key or receipt that another process has locked. Later requests for it
   are handled apart, with a short lock timeout. So a lock delays its neighbours only once. All
   waits for locks in a batch share one time limit (`LOCKS_SECONDS`).
4. The queue is bounded. If it is full, or the store cannot commit, a request gets `unavailable`.

`store.ingest.batch` writes the rows, and `store.ingest.connection` opens the transactions. Between
batches the committer writes the ingest heartbeat, which the outage credit depends on, and what
providers delivered (`store.ingest.hooks`).
"""

import asyncio
from collections import deque
from enum import Enum, auto

import structlog

from domain.errors import IdempotencyInProgress, Refusal, Unavailable
from store.db.database import Clock
from store.ingest.batch import process_batch, try_fast_insert
from store.ingest.connection import IngestConnection, LockTimeout, is_store_failure, is_transient
from store.ingest.heartbeat import IngestHeartbeat
from store.ingest.hooks import HookQueue
from store.ingest.in_flight import RETRY_AFTER_SECONDS, InFlight, Pending
from store.ingest.locked_names import LockedNames, names_of
from store.ingest.outcomes import IngestOutcomes
from store.ingest.requests import Endpoint, IngestRequest, StoredResponse

QUEUE_LIMIT = 10_000
BATCH_LIMIT = 256
# After a batch has waited for a lock in vain, locked receipts are skipped for this long: more may
# come.
SKIP_SECONDS = 60.0
# The total wait for locks of requests that are retried one by one. The rest is refused.
LOCKS_SECONDS = 1.0

log = structlog.get_logger(__name__)


class _Outcome(Enum):
    """The outcome of a batch: either each request has its verdict, or all must be retried one by
    one.
    """

    DONE = auto()
    DONE_LOCKED = auto()
    """A single request hit a lock timeout, and has its verdict."""
    LOCKED = auto()
    """The batch hit a lock timeout: retry one by one."""
    FAILED = auto()
    """The batch failed: retry one by one."""


class Committer:
    """The one writer of an API process for receipts and results; `hooks` for deliveries."""

    def __init__(self, connection: IngestConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._queue: deque[Pending] = deque()
        self._has_work = asyncio.Event()
        self._locked_names = LockedNames()
        self._skips_until = 0.0
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._outcomes = IngestOutcomes()
        self._in_flight = InFlight(self._outcomes)
        self._heartbeat = IngestHeartbeat(
            connection, clock, self._outcomes, on_due=self._has_work.set
        )
        self.hooks = HookQueue(connection, clock, on_work=self._has_work.set)

    async def start(self, *, outage_seconds: int | None = None) -> None:
        """Begin to commit.

        `outage_seconds`: write ingest heartbeats, and record each outage that was longer. None: do
        neither.
        """
        await self._heartbeat.start(outage_seconds=outage_seconds)
        self._task = asyncio.create_task(self._run(), name="committer")

    async def stop(self) -> None:
        """Commit the pending requests, then close the connection."""
        self._is_stopping = True
        self.hooks.stop()
        self._has_work.set()
        if self._task is not None:
            await self._task
            await self._heartbeat.end()
        await self._connection.close()

    async def accept(self, request: IngestRequest) -> StoredResponse:
        """Store a receipt or a result. Return its response once it is on disk.

        Raises:
            Refusal: it was not stored, for a reason of the contract; `Unavailable` when the store
                cannot commit.
        """
        await self._in_flight.wait_for_equal(request)
        is_full = len(self._queue) >= QUEUE_LIMIT
        if self._is_stopping or is_full:
            if is_full:
                self._outcomes.count_unserved(request.endpoint)
            raise Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
        pending = Pending(request, asyncio.get_running_loop().create_future())
        self._in_flight.add(pending)
        self._queue.append(pending)
        self._has_work.set()
        # Shielded: if the caller disconnects, the request is still stored. Its key is in flight
        # until then.
        return await asyncio.shield(pending.response)

    def count_unserved(self, endpoint: Endpoint) -> None:
        """Count a request that was refused before it came here: the store could not look up its
        key.
        """
        self._outcomes.count_unserved(endpoint)

    async def _run(self) -> None:
        while not (self._is_stopping and not self._queue and not self.hooks):
            await self._has_work.wait()
            self._has_work.clear()
            await self._heartbeat.write_if_due()
            while self._queue or self.hooks:
                await self._heartbeat.write_if_due()
                await self._collect()
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_LIMIT))]
                await self._commit(batch)
                await self.hooks.write_some()

    async def _collect(self) -> None:
        """Let requests that are ready join the batch, without waiting for others."""
        size = 0
        while size < len(self._queue) < BATCH_LIMIT:
            size = len(self._queue)
            await asyncio.sleep(0)

    async def _commit(self, batch: list[Pending]) -> None:
        """Write a batch, in three steps.

        1. Set the requests apart whose locks timed out recently.
        2. Try the fast insert for the others, then one transaction for what is left. If it fails as
           a whole, retry one by one.
        3. Write the requests that were set apart.
        """
        apart = self._recently_locked(batch)
        keys_apart = {pending.key for pending in apart}
        together = (
            [pending for pending in batch if pending.key not in keys_apart] if apart else batch
        )
        left, outcome = await self._try_fast_insert(together) if together else ([], _Outcome.DONE)
        if left and outcome is _Outcome.DONE:
            skips_locked = asyncio.get_running_loop().time() < self._skips_until
            outcome = await self._write(left, skips_locked=skips_locked)
        if outcome is _Outcome.FAILED:
            await self._write_one_by_one(left)
        elif outcome is _Outcome.LOCKED:
            await self._write_around_locks(left)
        if apart:
            await self._write_around_locks(apart)

    async def _write_one_by_one(self, batch: list[Pending]) -> None:
        """Write each request on its own, after the batch failed. The first lock timeout is the
        last.
        """
        for number, pending in enumerate(batch):
            await self._heartbeat.write_if_due()
            if await self._write([pending]) is _Outcome.DONE_LOCKED:
                await self._write_around_locks(batch[number + 1 :])
                return

    async def _write_around_locks(self, batch: list[Pending]) -> None:
        """Write the requests that no lock blocks, and refuse the others, whose lock timed out
        before.
        """
        loop, waited_seconds = asyncio.get_running_loop(), 0.0
        # First together: locked receipts are skipped, and only a locked key or table fails the
        # batch.
        if len(batch) > 1 and await self._write_without_waiting(batch) is _Outcome.DONE:
            return
        left = deque(batch)
        while left and waited_seconds < LOCKS_SECONDS:
            await self._heartbeat.write_if_due()
            began = loop.time()
            if await self._write_without_waiting([left.popleft()]) is _Outcome.DONE_LOCKED:
                waited_seconds += loop.time() - began
        for pending in left:
            self._in_flight.refuse_locked(pending)

    def _recently_locked(self, batch: list[Pending]) -> list[Pending]:
        """The requests with a name whose lock timed out recently; the oldest timeout first."""
        names = self._locked_names
        if not names:
            return []
        names.expire_old()
        found = [
            (at, pending)
            for pending in batch
            if (at := names.timed_out_at(pending.request)) is not None
        ]
        return [pending for _, pending in sorted(found, key=lambda each: each[0])]

    async def _try_fast_insert(self, batch: list[Pending]) -> tuple[list[Pending], _Outcome]:
        """Insert new receipts in one autocommitted statement. Return what needs a transaction."""
        requests = [pending.request for pending in batch]
        try:
            async with self._connection.autocommit() as statements:
                inserted = (
                    {}
                    if statements is None
                    else await try_fast_insert(statements, self._clock, requests)
                )
        except LockTimeout:
            return batch, _Outcome.LOCKED
        except Exception as error:  # a process edge: an error fails a request, never the loop
            if not is_store_failure(error):
                error_class = type(error).__name__
                log.info("fast_insert_failed", error=error_class, requests=len(batch))
                return batch, _Outcome.DONE
            self._in_flight.refuse_unavailable(batch, _unavailable(error, len(batch)))
            return [], _Outcome.DONE
        for i, verdict in inserted.items():
            self._in_flight.respond(batch[i], verdict)
        return [pending for i, pending in enumerate(batch) if i not in inserted], _Outcome.DONE

    async def _write_without_waiting(self, batch: list[Pending]) -> _Outcome:
        return await self._write(batch, short_lock_timeout=True, skips_locked=True)

    async def _write(
        self, batch: list[Pending], *, short_lock_timeout: bool = False, skips_locked: bool = False
    ) -> _Outcome:
        """Write the requests in one transaction and respond to each.

        If the transaction fails as a whole, respond to none, except when the batch is a single
        request.
        """
        try:
            async with self._connection.transaction(
                short_lock_timeout=short_lock_timeout
            ) as statements:
                requests = [pending.request for pending in batch]
                verdicts = await process_batch(
                    statements, self._clock, requests, skips_locked=skips_locked
                )
        except Exception as error:  # a process edge, as above
            if is_store_failure(error):
                self._in_flight.refuse_unavailable(batch, _unavailable(error, len(batch)))
                return _Outcome.DONE
            is_full_wait = not (short_lock_timeout or skips_locked)
            if isinstance(error, LockTimeout) and is_full_wait and not error.is_of_key:
                self._skips_until = asyncio.get_running_loop().time() + SKIP_SECONDS
            if len(batch) > 1:
                return _Outcome.LOCKED if isinstance(error, LockTimeout) else _Outcome.FAILED
            return self._respond_to_failed(batch[0], error)
        for pending, verdict in zip(batch, verdicts, strict=True):
            if isinstance(verdict, LockTimeout):
                self._refuse_lock_timeout(pending, verdict)
                continue
            if (
                self._locked_names
                and isinstance(verdict, StoredResponse)
                and not verdict.is_replayed
            ):
                self._locked_names.remove(names_of(pending.request))
            self._in_flight.respond(pending, verdict)
        return _Outcome.DONE

    def _respond_to_failed(self, pending: Pending, error: Exception) -> _Outcome:
        """Respond to a single request whose transaction failed."""
        if isinstance(error, LockTimeout):
            self._refuse_lock_timeout(pending, error)
            return _Outcome.DONE_LOCKED
        if is_transient(error):
            error = _unavailable(error, 1)
        elif not isinstance(error, Refusal):
            log.error("request_not_stored", error=type(error).__name__, exc_info=error)
        self._in_flight.respond(pending, error)
        return _Outcome.DONE

    def _refuse_lock_timeout(self, pending: Pending, error: LockTimeout) -> None:
        """Refuse a request whose key or receipt another process has locked. Remember its names."""
        names = (pending.key,) if error.is_of_key else names_of(pending.request)
        self._locked_names.add(names)
        if error.is_of_key:
            refusal = IdempotencyInProgress(retry_after_seconds=RETRY_AFTER_SECONDS)
            self._in_flight.respond(pending, refusal)
        else:
            self._in_flight.refuse_locked(pending)


def _unavailable(error: Exception, requests: int) -> Unavailable:
    log.warning("commit_failed", error=type(error).__name__, requests=requests)
    return Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
