"""Gathers what the two POSTs say into shared transactions and answers each request after the commit that holds it.

One per API process. Whatever waits while a transaction runs goes into the next one, so that a sync is paid once for many. Nothing
is acknowledged before its commit; each item has its own verdict; when a transaction fails as a whole, its items are tried again
singly, so that one bad item never fails its neighbours. A key or a receipt that another process holds is waited for once. From
then on what names it is tried apart from the others, without waiting, so that it stalls no neighbour twice; and all that waits
for locks has one bound for a batch. The queue is bounded: beyond it, and while the store cannot commit, a request is refused as
unavailable. What is written is `store.ingest.batch`'s; how a transaction begins and ends `store.ingest.connection`'s.

Between batches it also says, every 2 s or oftener, that it could commit (`store.ingest.heartbeat`): the outage credit goes by
that.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from domain.errors import IdempotencyConflict, IdempotencyInProgress, Refusal, Unavailable
from store.db.database import Clock
from store.ingest.batch import Endpoint, IngestRequest, StoredResponse, process_batch, try_fast_insert
from store.ingest.connection import IngestConnection, LockTimeout, is_passing, is_store_failure
from store.ingest.heartbeat import IngestHeartbeat
from store.ingest.locked_names import LockedNames, key_of, names_of
from store.ingest.outcomes import Served

QUEUE_LIMIT = 10_000
BATCH_LIMIT = 256
EQUAL_REQUEST_WAIT_SECONDS = 5.0
RETRY_AFTER_SECONDS = 1
# A batch waits for a lock in vain once. Then receipts that others hold are skipped for so long, since more of them may come.
SKIP_SECONDS = 60.0
# What is tried singly because of locks may wait so long for them together; what is left then is refused.
LOCKS_SECONDS = 1.0

_Key: TypeAlias = tuple[str, str, str]
_Verdict: TypeAlias = StoredResponse | Exception

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    request: IngestRequest
    answer: asyncio.Future[StoredResponse]

    @property
    def key(self) -> _Key:
        return key_of(self.request)


class _Ending(Enum):
    """What became of a batch: each has its verdict, or all must be tried singly.

    `LOCKED`: a lock was not given in time. `HELD`: neither to one that was alone, which has its verdict.
    """

    ANSWERED = auto()
    HELD = auto()
    LOCKED = auto()
    FAILED = auto()


class Committer:
    """The one writer of an API process for receipts and results."""

    def __init__(self, front_door: IngestConnection, clock: Clock) -> None:
        self._front_door = front_door
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._in_flight: dict[_Key, _Waiting] = {}
        self._held = LockedNames()
        self._skips_until = 0.0
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._served = Served()
        self._pulse = IngestHeartbeat(front_door, clock, self._served, wake=self._wake.set)

    async def start(self, *, outage_seconds: int | None = None) -> None:
        """Begin to commit. `outage_seconds`: say when it could, and record an outage that was longer; None: say nothing."""
        await self._pulse.start(outage_seconds=outage_seconds)
        self._task = asyncio.create_task(self._run(), name="committer")

    async def stop(self) -> None:
        """Commit what is waiting, then close the front door."""
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
            await self._pulse.end()
        await self._front_door.close()

    async def accept(self, request: IngestRequest) -> StoredResponse:
        """The answer to a receipt or a result, once what it says is on disk.

        Raises:
            Refusal: as the contract has it, for what is not stored; `Unavailable` when the store cannot commit.
        """
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        await self._wait_for_equal(waiting)
        is_full = len(self._queue) >= QUEUE_LIMIT
        if self._is_stopping or is_full:
            if is_full:
                self._served.count_unserved(request.endpoint)
            raise Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
        self._in_flight[waiting.key] = waiting
        self._queue.append(waiting)
        self._wake.set()
        # Shielded: when a caller hangs up, what it said is stored all the same, and its key is in flight until then.
        return await asyncio.shield(waiting.answer)

    def count_unserved(self, endpoint: Endpoint) -> None:
        """A request was refused for want of the store before it came here: by then its key could not be looked up."""
        self._served.count_unserved(endpoint)

    async def _wait_for_equal(self, waiting: _Waiting) -> None:
        """Wait while an equal request is in flight here; its stored answer is then found in the store.

        Raises: IdempotencyConflict for another body; IdempotencyInProgress when it takes long.
        """
        while (first := self._in_flight.get(waiting.key)) is not None:
            if first.request.fingerprint != waiting.request.fingerprint:
                raise IdempotencyConflict
            await asyncio.wait((first.answer,), timeout=EQUAL_REQUEST_WAIT_SECONDS)
            if not first.answer.done():
                raise IdempotencyInProgress(retry_after_seconds=RETRY_AFTER_SECONDS)

    async def _run(self) -> None:
        while not (self._is_stopping and not self._queue):
            await self._wake.wait()
            self._wake.clear()
            await self._pulse.beat_if_due()
            while self._queue:
                await self._pulse.beat_if_due()
                await self._gather()
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_LIMIT))]
                await self._commit(batch)

    async def _gather(self) -> None:
        """Let requests that are ready to be read join; none is waited for."""
        size = 0
        while size < len(self._queue) < BATCH_LIMIT:
            size = len(self._queue)
            await asyncio.sleep(0)

    async def _commit(self, batch: list[_Waiting]) -> None:
        apart = self._apart(batch)
        keys_apart = {waiting.key for waiting in apart}
        together = [waiting for waiting in batch if waiting.key not in keys_apart] if apart else batch
        left, ending = await self._place(together) if together else ([], _Ending.ANSWERED)
        if left and ending is _Ending.ANSWERED:
            ending = await self._take(left, skips_locked=asyncio.get_running_loop().time() < self._skips_until)
        if ending is _Ending.FAILED:
            await self._take_singly(left)
        elif ending is _Ending.LOCKED:
            await self._take_past_locks(left)
        if apart:
            await self._take_past_locks(apart)

    async def _take_singly(self, batch: list[_Waiting]) -> None:
        """Each by itself, since they failed together. They wait for a lock once, as a batch does."""
        for number, waiting in enumerate(batch):
            await self._pulse.beat_if_due()
            if await self._take([waiting]) is _Ending.HELD:
                await self._take_past_locks(batch[number + 1 :])
                return

    async def _take_past_locks(self, batch: list[_Waiting]) -> None:
        """Answer those that no lock holds up, and refuse the others, which were waited for before."""
        loop, waited = asyncio.get_running_loop(), 0.0
        # Together first: receipts that are held are skipped, and only a key or a table that is held fails it.
        if len(batch) > 1 and await self._take(batch, short_lock_timeout=True, skips_locked=True) is _Ending.ANSWERED:
            return
        left = deque(batch)
        while left and waited < LOCKS_SECONDS:
            await self._pulse.beat_if_due()
            began = loop.time()
            if await self._take([left.popleft()], short_lock_timeout=True, skips_locked=True) is _Ending.HELD:
                waited += loop.time() - began
        for waiting in left:
            self._refuse_locked(waiting)

    def _apart(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Those that name what was waited for in vain a short while ago; what was tried longest ago comes first."""
        if not self._held:
            return []
        self._held.forget_old()
        tried = [(at, waiting) for waiting in batch if (at := self._held.tried_at(waiting.request)) is not None]
        return [waiting for _, waiting in sorted(tried, key=lambda each: each[0])]

    async def _place(self, batch: list[_Waiting]) -> tuple[list[_Waiting], _Ending]:
        """Answer the receipts that one statement could store, committed by itself; the others, which need a transaction."""
        requests = [waiting.request for waiting in batch]
        try:
            async with self._front_door.outside_transaction() as statements:
                placed = {} if statements is None else await try_fast_insert(statements, self._clock, requests)
        except LockTimeout:
            return batch, _Ending.LOCKED
        except Exception as error:  # a process edge: what fails here fails a request, never the loop
            if not is_store_failure(error):
                log.info("receipts go through a transaction", extra={"error": type(error).__name__, "requests": len(batch)})
                return batch, _Ending.ANSWERED
            self._refuse(batch, error)
            return [], _Ending.ANSWERED
        for i, verdict in placed.items():
            self._serve(batch[i], verdict)
        return [waiting for i, waiting in enumerate(batch) if i not in placed], _Ending.ANSWERED

    async def _take(self, batch: list[_Waiting], *, short_lock_timeout: bool = False, skips_locked: bool = False) -> _Ending:
        """Answer them from one transaction, unless it failed as a whole and its members are to be tried singly.

        One that is alone is answered in any case.
        """
        try:
            async with self._front_door.transaction(short_lock_timeout=short_lock_timeout) as statements:
                requests = [waiting.request for waiting in batch]
                verdicts = await process_batch(statements, self._clock, requests, skips_locked=skips_locked)
        except Exception as error:  # a process edge, as above
            if is_store_failure(error):
                self._refuse(batch, error)
                return _Ending.ANSWERED
            if isinstance(error, LockTimeout) and not (error.is_of_key or short_lock_timeout or skips_locked):
                self._skips_until = asyncio.get_running_loop().time() + SKIP_SECONDS
            if len(batch) > 1:
                return _Ending.LOCKED if isinstance(error, LockTimeout) else _Ending.FAILED
            if isinstance(error, LockTimeout):
                self._refuse_held(batch[0], error)
                return _Ending.HELD
            if is_passing(error):
                error = _unavailable(error, 1)
            elif not isinstance(error, Refusal):
                log.exception("a request could not be stored")
            self._serve(batch[0], error)
            return _Ending.ANSWERED
        for waiting, verdict in zip(batch, verdicts, strict=True):
            if isinstance(verdict, LockTimeout):
                self._refuse_held(waiting, verdict)
                continue
            if self._held and isinstance(verdict, StoredResponse) and not verdict.is_replayed:
                self._held.release(names_of(waiting.request))
            self._serve(waiting, verdict)
        return _Ending.ANSWERED

    def _refuse(self, batch: list[_Waiting], error: Exception) -> None:
        """The store is at fault."""
        refusal = _unavailable(error, len(batch))
        for waiting in batch:
            self._served.count_unserved(waiting.request.endpoint)
            self._answer(waiting, refusal)

    def _refuse_held(self, waiting: _Waiting, error: LockTimeout) -> None:
        """Another process holds its key, or its receipt: what it names is tried apart from now on."""
        self._held.add((waiting.key,) if error.is_of_key else names_of(waiting.request))
        if error.is_of_key:
            self._serve(waiting, IdempotencyInProgress(retry_after_seconds=RETRY_AFTER_SECONDS))
        else:
            self._refuse_locked(waiting)

    def _refuse_locked(self, waiting: _Waiting) -> None:
        self._served.count_locked(waiting.request)
        self._answer(waiting, Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS))

    def _serve(self, waiting: _Waiting, verdict: _Verdict) -> None:
        """Its answer, whatever it is: the store was there."""
        self._served.count_served(waiting.request)
        self._answer(waiting, verdict)

    def _answer(self, waiting: _Waiting, verdict: _Verdict) -> None:
        del self._in_flight[waiting.key]
        if isinstance(verdict, Exception):
            waiting.answer.set_exception(verdict)
        else:
            waiting.answer.set_result(verdict)


def _unavailable(error: Exception, requests: int) -> Unavailable:
    log.warning("the store could not commit", extra={"error": type(error).__name__, "requests": requests})
    return Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
