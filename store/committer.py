"""Gathers what the two POSTs say into shared transactions and answers each request after the commit that holds it.

One per API process. Whatever waits while a transaction runs goes into the next one, so that a sync is paid once for many. Nothing
is acknowledged before its commit; each item has its own verdict; when a transaction fails as a whole, its items are tried again
singly, so that one bad item never fails its neighbours. A key or a receipt that another process holds is waited for once. From
then on what names it is tried apart from the others, without waiting, so that it stalls no neighbour twice; and all that waits
for locks has one bound for a batch. The queue is bounded: beyond it, and while the store cannot commit, a request is refused as
unavailable. What is written is `store.intake`'s; how a transaction begins and ends `store.front_door`'s.

Between batches it also says, every 2 s or oftener, that it could commit (`store.evidence`): the outage credit goes by that.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

import uuid_utils

from domain.errors import IdempotencyConflict, IdempotencyInProgress, Refusal, Unavailable
from domain.ids import ProjectId
from domain.outages import beat_interval
from domain.results import NewResult
from store.database import Clock
from store.evidence import beat_ingest
from store.front_door import FrontDoor, LockNotGiven, is_passing, is_store_failure
from store.intake import Answer, Endpoint, IngestRequest, place_receipts, take_in

QUEUE_LIMIT = 10_000
BATCH_LIMIT = 256
EQUAL_REQUEST_WAIT_SECONDS = 5.0
RETRY_AFTER_SECONDS = 1
# For so long after the last try what was locked is tried apart; the names of at most so many are kept.
STUCK_SECONDS = 600.0
STUCK_LIMIT = 10_000
# A batch waits for a lock in vain once. Then receipts that others hold are skipped for so long, since more of them may come.
SKIP_SECONDS = 60.0
# For so long after most were refused a pause says nothing: who was refused may come again that late.
REFUSED_SECONDS = 10.0
# What is tried singly because of locks may wait so long for them together; what is left then is refused.
LOCKS_SECONDS = 1.0

_Key: TypeAlias = tuple[str, str, str]
_Name: TypeAlias = tuple[str, ...]
_Verdict: TypeAlias = Answer | Exception

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    request: IngestRequest
    answer: asyncio.Future[Answer]

    @property
    def key(self) -> _Key:
        return (self.request.project_id, self.request.endpoint, self.request.key)

    def names(self) -> Iterator[_Name]:
        """What it may have to wait for: its key, and the receipt that it speaks of, by each of its ids."""
        yield self.key
        value, project_id = self.request.value, self.request.project_id
        if isinstance(value, NewResult):
            for identifier in (value.event_id, value.provider_event_id, value.stripe_event_id):
                if identifier is not None:
                    yield (project_id, identifier)


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

    def __init__(self, front_door: FrontDoor, clock: Clock) -> None:
        self._front_door = front_door
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._in_flight: dict[_Key, _Waiting] = {}
        self._stuck: dict[_Name, float] = {}  # when each was last tried in vain, the oldest first
        self._skips_until = 0.0
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._process = f"ingest_{uuid_utils.uuid7().hex}"
        self._outage_seconds: int | None = None
        self._beat_at = 0.0
        self._is_failing = False
        # Requests since the last beat. Unserved: refused for want of the store or of a place in the queue, for no other reason.
        self._served: Counter[Endpoint] = Counter()
        self._unserved: Counter[Endpoint] = Counter()
        self._refused_at: dict[Endpoint, float] = {}  # when most were refused, unless some were served since
        self._locked: Counter[tuple[Endpoint, ProjectId]] = Counter()  # refused for a lock, by project
        self._projects: set[ProjectId] = set()  # all that have asked

    async def start(self, *, outage_seconds: int | None = None) -> None:
        """Begin to commit. `outage_seconds`: say when it could, and record an outage that was longer; None: say nothing."""
        self._outage_seconds = outage_seconds
        await self._beat_if_due()
        self._task = asyncio.create_task(self._run(), name="committer")

    async def stop(self) -> None:
        """Commit what is waiting, then close the front door."""
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
            await self._beat(has_ended=True)
        await self._front_door.close()

    async def accept(self, request: IngestRequest) -> Answer:
        """The answer to a receipt or a result, once what it says is on disk.

        Raises:
            Refusal: as the contract has it, for what is not stored; `Unavailable` when the store cannot commit.
        """
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        await self._wait_for_equal(waiting)
        is_full = len(self._queue) >= QUEUE_LIMIT
        if self._is_stopping or is_full:
            self._unserved[request.endpoint] += is_full
            raise Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
        self._in_flight[waiting.key] = waiting
        self._projects.add(request.project_id)
        self._queue.append(waiting)
        self._wake.set()
        # Shielded: when a caller hangs up, what it said is stored all the same, and its key is in flight until then.
        return await asyncio.shield(waiting.answer)

    def count_unserved(self, endpoint: Endpoint) -> None:
        """A request was refused for want of the store before it came here: by then its key could not be looked up."""
        self._unserved[endpoint] += 1

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
            await self._beat_if_due()
            while self._queue:
                await self._beat_if_due()
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
            await self._beat_if_due()
            if await self._take([waiting]) is _Ending.HELD:
                await self._take_past_locks(batch[number + 1 :])
                return

    async def _take_past_locks(self, batch: list[_Waiting]) -> None:
        """Answer those that no lock holds up, and refuse the others, which were waited for before."""
        loop, waited = asyncio.get_running_loop(), 0.0
        # Together first: receipts that are held are skipped, and only a key or a table that is held fails it.
        if len(batch) > 1 and await self._take(batch, is_hurried=True, skips_locked=True) is _Ending.ANSWERED:
            return
        left = deque(batch)
        while left and waited < LOCKS_SECONDS:
            await self._beat_if_due()
            began = loop.time()
            if await self._take([left.popleft()], is_hurried=True, skips_locked=True) is _Ending.HELD:
                waited += loop.time() - began
        for waiting in left:
            self._refuse_locked(waiting)

    def _lately_stuck(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Those that name what was waited for in vain a short while ago; what was tried longest ago comes first."""
        if not self._stuck:
            return []
        oldest = asyncio.get_running_loop().time() - STUCK_SECONDS
        while self._stuck and (len(self._stuck) > STUCK_LIMIT or next(iter(self._stuck.values())) < oldest):
            del self._stuck[next(iter(self._stuck))]
        tried_at = ((max(self._stuck.get(name, 0.0) for name in waiting.names()), waiting) for waiting in batch)
        return [waiting for at, waiting in sorted(tried_at, key=lambda each: each[0]) if at]

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
            self._refuse(batch, error)
            return [], _Ending.ANSWERED
        for i, verdict in placed.items():
            self._serve(batch[i], verdict)
        return [waiting for i, waiting in enumerate(batch) if i not in placed], _Ending.ANSWERED

    async def _take(self, batch: list[_Waiting], *, is_hurried: bool = False, skips_locked: bool = False) -> _Ending:
        """Answer them from one transaction, unless it failed as a whole and its members are to be tried singly.

        One that is alone is answered in any case.
        """
        try:
            async with self._front_door.transaction(is_hurried=is_hurried) as statements:
                requests = [waiting.request for waiting in batch]
                verdicts = await take_in(statements, self._clock, requests, skips_locked=skips_locked)
        except Exception as error:  # a process edge, as above
            if is_store_failure(error):
                self._refuse(batch, error)
                return _Ending.ANSWERED
            if isinstance(error, LockNotGiven) and not (error.is_of_key or is_hurried or skips_locked):
                self._skips_until = asyncio.get_running_loop().time() + SKIP_SECONDS
            if len(batch) > 1:
                return _Ending.LOCKED if isinstance(error, LockNotGiven) else _Ending.FAILED
            if isinstance(error, LockNotGiven):
                self._refuse_held(batch[0], error)
                return _Ending.HELD
            if is_passing(error):
                error = _unavailable(error, 1)
            elif not isinstance(error, Refusal):
                log.exception("a request could not be stored")
            self._serve(batch[0], error)
            return _Ending.ANSWERED
        for waiting, verdict in zip(batch, verdicts, strict=True):
            if isinstance(verdict, LockNotGiven):
                self._refuse_held(waiting, verdict)
                continue
            if self._stuck and isinstance(verdict, Answer) and not verdict.is_replayed:
                for name in waiting.names():
                    self._stuck.pop(name, None)
            self._serve(waiting, verdict)
        return _Ending.ANSWERED

    async def _beat_if_due(self) -> None:
        if self._outage_seconds is not None and asyncio.get_running_loop().time() >= self._beat_at:
            await self._beat()

    async def _beat(self, *, has_ended: bool = False) -> None:
        """Say that ingest could commit now, unless it could not, or most of what came since the last time was refused."""
        if self._outage_seconds is None:
            return
        is_refusing = self._is_refusing()
        for counter in (self._served, self._unserved, self._locked):
            counter.clear()
        try:
            if not is_refusing:
                async with self._front_door.transaction(is_hurried=True) as statements:
                    outage = await beat_ingest(
                        statements,
                        self._clock,
                        process=self._process,
                        outage_seconds=self._outage_seconds,
                        has_ended=has_ended,
                    )
                if outage is not None:
                    seconds = (outage.up_at - outage.down_from) // 1000
                    log.warning("an outage of ingest is credited", extra={"outage": outage.id, "seconds": seconds})
            self._say_failing(is_refusing, "refuses")
        except Exception as error:  # a process edge, as above: what cannot be said now is said later, or is an outage
            self._say_failing(True, type(error).__name__)
        self._set_next_beat()

    def _is_refusing(self) -> bool:
        """Whether most receipts, or most results, were refused for want of the store.

        Locks count when they refuse several projects, or the only one that there is: those of one say nothing of the others.
        """
        unserved = self._unserved.copy()
        locked = {project_id for _, project_id in self._locked}
        if len(locked) > 1 or locked == self._projects:
            for (endpoint, _), requests in self._locked.items():
                unserved[endpoint] += requests
        now = asyncio.get_running_loop().time()
        for endpoint in unserved | self._served:
            if unserved[endpoint] > self._served[endpoint]:
                self._refused_at[endpoint] = now
            else:
                self._refused_at.pop(endpoint, None)
        lasts_seconds = min(REFUSED_SECONDS, (self._outage_seconds or 0) / 2)
        return any(now - at <= lasts_seconds for at in self._refused_at.values())

    def _set_next_beat(self) -> None:
        loop = asyncio.get_running_loop()
        every_seconds = beat_interval(self._outage_seconds or 0).total_seconds()
        self._beat_at = loop.time() + every_seconds
        if not self._is_stopping:
            loop.call_later(every_seconds, self._wake.set)

    def _say_failing(self, is_failing: bool, reason: str) -> None:
        if is_failing and not self._is_failing:
            log.warning("ingest does not commit: no beat", extra={"reason": reason})
        self._is_failing = is_failing

    def _refuse(self, batch: list[_Waiting], error: Exception) -> None:
        """The store is at fault."""
        refusal = _unavailable(error, len(batch))
        for waiting in batch:
            self._unserved[waiting.request.endpoint] += 1
            self._answer(waiting, refusal)

    def _refuse_held(self, waiting: _Waiting, error: LockNotGiven) -> None:
        """Another process holds its key, or its receipt: what it names is tried apart from now on."""
        now = asyncio.get_running_loop().time()
        for name in (waiting.key,) if error.is_of_key else waiting.names():
            self._stuck.pop(name, None)
            self._stuck[name] = now
        if error.is_of_key:
            self._serve(waiting, IdempotencyInProgress(retry_after_seconds=RETRY_AFTER_SECONDS))
        else:
            self._refuse_locked(waiting)

    def _refuse_locked(self, waiting: _Waiting) -> None:
        self._locked[waiting.request.endpoint, waiting.request.project_id] += 1
        self._answer(waiting, Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS))

    def _serve(self, waiting: _Waiting, verdict: _Verdict) -> None:
        """Its answer, whatever it is: the store was there."""
        self._served[waiting.request.endpoint] += 1
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
