"""Gathers what the two POSTs say into shared transactions and answers each request after the commit that holds it.

One per API process. Whatever waits while a transaction runs goes into the next one, so that a sync is paid once for many. Nothing
is acknowledged before its commit; each item has its own verdict; when a transaction fails as a whole, its items are tried again
singly, so that one bad item never fails its neighbours. A key that another process holds is waited for once, and then tried apart
from the others, so that it stalls no neighbour twice. The queue is bounded: beyond it, and while the store cannot commit, a
request is refused as unavailable. What is written is `store.intake`'s; how a transaction begins and ends `store.front_door`'s.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from domain.errors import IdempotencyConflict, IdempotencyInProgress, Refusal, Unavailable
from store.database import Clock
from store.front_door import FrontDoor, LockNotGiven, is_passing, is_store_failure
from store.intake import Answer, IngestRequest, place_receipts, take_in

QUEUE_LIMIT = 10_000
BATCH_LIMIT = 256
EQUAL_REQUEST_WAIT_SECONDS = 5.0
RETRY_AFTER_SECONDS = 1
STUCK_SECONDS = 60.0

_Key: TypeAlias = tuple[str, str, str]
_Verdict: TypeAlias = Answer | Exception

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    request: IngestRequest
    answer: asyncio.Future[Answer]

    @property
    def key(self) -> _Key:
        return (self.request.project_id, self.request.endpoint, self.request.key)


class _Ending(Enum):
    """What became of a batch: each has its verdict, or all must be tried singly; `LOCKED`: a lock was not given in time."""

    ANSWERED = auto()
    LOCKED = auto()
    FAILED = auto()


class Committer:
    """The one writer of an API process for receipts and results."""

    def __init__(self, front_door: FrontDoor, clock: Clock) -> None:
        self._front_door = front_door
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._in_flight: dict[_Key, _Waiting] = {}
        self._stuck: dict[_Key, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="committer")

    async def stop(self) -> None:
        """Commit what is waiting, then close the front door."""
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
        await self._front_door.close()

    async def accept(self, request: IngestRequest) -> Answer:
        """The answer to a receipt or a result, once what it says is on disk.

        Raises:
            Refusal: as the contract has it, for what is not stored; `Unavailable` when the store cannot commit.
        """
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        await self._wait_for_equal(waiting)
        if self._is_stopping or len(self._queue) >= QUEUE_LIMIT:
            raise Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
        self._in_flight[waiting.key] = waiting
        self._queue.append(waiting)
        self._wake.set()
        # Shielded: when a caller hangs up, what it said is stored all the same, and its key is in flight until then.
        return await asyncio.shield(waiting.answer)

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
            while self._queue:
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
        apart = self._lately_stuck(batch)
        together = [waiting for waiting in batch if waiting.key not in apart]
        left, ending = await self._place(together) if together else ([], _Ending.ANSWERED)
        if left and ending is _Ending.ANSWERED:
            ending = await self._take(left)
        if ending is not _Ending.ANSWERED:
            for waiting in left:
                await self._take([waiting], is_hurried=ending is _Ending.LOCKED)
        for waiting in batch:
            if waiting.key in apart:
                await self._take([waiting], is_hurried=True)

    def _lately_stuck(self, batch: list[_Waiting]) -> set[_Key]:
        """The keys among these that were waited for in vain a short while ago."""
        if not self._stuck:
            return set()
        oldest = asyncio.get_running_loop().time() - STUCK_SECONDS
        self._stuck = {key: at for key, at in self._stuck.items() if at > oldest}
        return {waiting.key for waiting in batch if waiting.key in self._stuck}

    async def _place(self, batch: list[_Waiting]) -> tuple[list[_Waiting], _Ending]:
        """Answer the receipts that one statement could store, committed by itself; the others, which need a transaction."""
        requests = [waiting.request for waiting in batch]
        try:
            async with self._front_door.outside_transaction() as statements:
                placed = {} if statements is None else await place_receipts(statements, self._clock, requests)
        except LockNotGiven:
            return batch, _Ending.LOCKED
        except Exception as error:  # a process edge: what fails here fails a request, never the loop
            if not is_store_failure(error):
                log.info("receipts go through a transaction", extra={"error": type(error).__name__, "requests": len(batch)})
                return batch, _Ending.ANSWERED
            self._answer_all(batch, _unavailable(error, len(batch)))
            return [], _Ending.ANSWERED
        for i, verdict in placed.items():
            self._answer(batch[i], verdict)
        return [waiting for i, waiting in enumerate(batch) if i not in placed], _Ending.ANSWERED

    async def _take(self, batch: list[_Waiting], *, is_hurried: bool = False) -> _Ending:
        """Answer them from one transaction, unless it failed as a whole and its members are to be tried singly."""
        try:
            async with self._front_door.transaction(is_hurried=is_hurried) as statements:
                verdicts = await take_in(statements, self._clock, [waiting.request for waiting in batch])
        except Exception as error:  # a process edge, as above
            if is_store_failure(error):
                error = _unavailable(error, len(batch))
            elif len(batch) > 1:
                return _Ending.LOCKED if isinstance(error, LockNotGiven) else _Ending.FAILED
            elif isinstance(error, LockNotGiven):
                self._stuck[batch[0].key] = asyncio.get_running_loop().time()
                refusal = IdempotencyInProgress if error.is_of_key else Unavailable
                error = refusal(retry_after_seconds=RETRY_AFTER_SECONDS)
            elif is_passing(error):
                error = _unavailable(error, 1)
            elif not isinstance(error, Refusal):
                log.exception("a request could not be stored")
            self._answer_all(batch, error)
            return _Ending.ANSWERED
        for waiting, verdict in zip(batch, verdicts, strict=True):
            self._answer(waiting, verdict)
        return _Ending.ANSWERED

    def _answer_all(self, batch: list[_Waiting], error: Exception) -> None:
        for waiting in batch:
            self._answer(waiting, error)

    def _answer(self, waiting: _Waiting, verdict: _Verdict) -> None:
        del self._in_flight[waiting.key]
        if isinstance(verdict, Exception):
            waiting.answer.set_exception(verdict)
        else:
            waiting.answer.set_result(verdict)


def _unavailable(error: Exception, requests: int) -> Unavailable:
    log.warning("the store could not commit", extra={"error": type(error).__name__, "requests": requests})
    return Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
