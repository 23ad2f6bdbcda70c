"""Gathers what the two POSTs say into shared transactions and answers each request after the commit that holds it.

One per API process. Whatever waits while a transaction runs goes into the next one, so that a sync is paid once for many. Nothing
is acknowledged before its commit; each item has its own verdict; when a transaction fails as a whole, its items are tried again
singly, so that one bad item never fails its neighbours. The queue is bounded: beyond it, and while the store cannot commit, a
request is refused as unavailable. What is written is `store.intake`'s; how a transaction begins and ends `store.front_door`'s.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from domain.errors import IdempotencyInProgress, Refusal, Unavailable
from store.database import Clock
from store.front_door import FrontDoor, is_store_failure
from store.intake import Answer, IngestRequest, place_receipts, take_in

QUEUE_LIMIT = 10_000
BATCH_LIMIT = 256
EQUAL_REQUEST_WAIT_SECONDS = 5.0
RETRY_AFTER_SECONDS = 1

_Key: TypeAlias = tuple[str, str, str]
_Verdict: TypeAlias = Answer | Exception

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    request: IngestRequest
    answer: asyncio.Future[Answer]


class Committer:
    """The one writer of an API process for receipts and results."""

    def __init__(self, front_door: FrontDoor, clock: Clock) -> None:
        self._front_door = front_door
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._in_flight: dict[_Key, asyncio.Future[Answer]] = {}
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
        key = (request.project_id, request.endpoint, request.key)
        await self._wait_for_equal(key)
        if self._is_stopping or len(self._queue) >= QUEUE_LIMIT:
            raise Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._in_flight[key] = answer
        self._queue.append(_Waiting(request, answer))
        self._wake.set()
        try:
            # A caller that hangs up cancels the future alone: what it said is stored all the same, and nobody reads the verdict.
            return await answer
        finally:
            if self._in_flight.get(key) is answer:
                del self._in_flight[key]

    async def _wait_for_equal(self, key: _Key) -> None:
        """Wait while a request with this key is in flight here; its stored answer is then found in the store."""
        while (first := self._in_flight.get(key)) is not None:
            await asyncio.wait((first,), timeout=EQUAL_REQUEST_WAIT_SECONDS)
            if not first.done():
                raise IdempotencyInProgress(retry_after_seconds=RETRY_AFTER_SECONDS)
            if self._in_flight.get(key) is first:
                del self._in_flight[key]

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
        left = await self._place(batch)
        if left and not await self._take(left):
            for waiting in left:
                await self._take([waiting])

    async def _place(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Answer the receipts that one statement could store, committed by itself; the others, which need a transaction."""
        requests = [waiting.request for waiting in batch]
        try:
            async with self._front_door.outside_transaction() as statements:
                placed = {} if statements is None else await place_receipts(statements, self._clock, requests)
        except Exception as error:  # a process edge: what fails here fails a request, never the loop
            if not is_store_failure(error):
                log.info("receipts go through a transaction", extra={"error": type(error).__name__, "requests": len(batch)})
                return batch
            _answer_all(batch, _unavailable(error, len(batch)))
            return []
        for i, verdict in placed.items():
            _answer(batch[i], verdict)
        return [waiting for i, waiting in enumerate(batch) if i not in placed]

    async def _take(self, batch: list[_Waiting]) -> bool:
        """Answer them from one transaction; False when it failed as a whole and its members are to be tried singly."""
        try:
            async with self._front_door.transaction() as statements:
                verdicts = await take_in(statements, self._clock, [waiting.request for waiting in batch])
        except Exception as error:  # a process edge, as above
            if is_store_failure(error):
                error = _unavailable(error, len(batch))
            elif len(batch) > 1:
                return False
            elif not isinstance(error, Refusal):
                log.exception("a request could not be stored")
            _answer_all(batch, error)
            return True
        for waiting, verdict in zip(batch, verdicts, strict=True):
            _answer(waiting, verdict)
        return True


def _unavailable(error: Exception, requests: int) -> Unavailable:
    log.warning("the store could not commit", extra={"error": type(error).__name__, "requests": requests})
    return Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS)


def _answer_all(batch: list[_Waiting], error: Exception) -> None:
    for waiting in batch:
        _answer(waiting, error)


def _answer(waiting: _Waiting, verdict: _Verdict) -> None:
    if waiting.answer.done():
        return
    if isinstance(verdict, Exception):
        waiting.answer.set_exception(verdict)
    else:
        waiting.answer.set_result(verdict)
