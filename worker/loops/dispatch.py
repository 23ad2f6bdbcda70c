"""Empties the outbox into Temporal: claims, tells, and settles what was told, many at a time.

A row is held by a lease and no lock while Temporal is called; what is told twice is told in vain
(`worker.temporal.workflow_client`). A receipt that fails waits longer each time and stops no other; an engine that does not
answer stops all, until it does. What a person asked for goes before, whatever the pace (`worker.loops.start_rate_limiter`). Run
by `worker.main`; woken by PostgreSQL's NOTIFY, on SQLite by a short poll.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import Unavailable
from store.db.database import Database
from store.receipts.deadlines import count_overdue
from store.receipts.outbox import OutboxBatch, claim, mark_delivered, retry_later
from store.receipts.outbox_heads import DueWalk
from store.status.heartbeats import read_beats
from worker.loops.start_rate_limiter import StartRateLimiter
from worker.temporal.workflow_client import ReceiptWorkflowClient

CALLS_AT_ONCE = 16
# Places that only what a person asked for may take, so that neither keeps the other from being told.
URGENT_CALLS_AT_ONCE = 8
# Longer than the slowest telling, so that a claim is lost only with its process.
LEASE_SECONDS = 10
TELL_SECONDS = 8
FIRST_BACKOFF_SECONDS = 1.0
BACKOFF_FACTOR = 3.0
LONGEST_BACKOFF_SECONDS = 600.0
TRIES_KEPT_SECONDS = LONGEST_BACKOFF_SECONDS * 2
# While the engine is away: short, so that what waits is started soon after it is back.
ENGINE_BACKOFF_SECONDS = 1.0
STORE_BACKOFF_SECONDS = 1.0
# Tellings end together under load; a moment's patience settles them in one transaction.
GATHER_SECONDS = 0.01
# While this many are still running, the engine has enough to do: the next claim waits for more to end, at most so long.
ENOUGH_RUNNING = 4
LONGEST_GATHER_SECONDS = 0.2
BUSY_POLL_SECONDS = 0.05
IDLE_POLL_SECONDS = 0.25
NOTIFIED_POLL_SECONDS = 0.5
BUSY_FOR_SECONDS = 2.0
LOOK_EVERY_SECONDS = 1.0
FRONT_DOOR_STALE_SECONDS = 10.0
_ENGINE_AWAY = {RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED}

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Finished:
    """Tellings that ended since the last transaction."""

    told: list[OutboxBatch] = field(default_factory=list)
    failed: list[tuple[OutboxBatch, float]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.told or self.failed)


class Dispatcher:
    """One process's share of the outbox. `is_notified`: somebody calls `wake` when there is something new."""

    def __init__(self, database: Database, gateway: ReceiptWorkflowClient, pace: StartRateLimiter, *, is_notified: bool) -> None:
        self._database = database
        self._gateway = gateway
        self._pace = pace
        self._idle_seconds = NOTIFIED_POLL_SECONDS if is_notified else IDLE_POLL_SECONDS
        self._running: set[asyncio.Task[None]] = set()
        self._running_urgent: set[asyncio.Task[None]] = set()
        self._ended = _Finished()
        self._walk = DueWalk()
        self._told_at = 0.0  # when the engine last took something
        self._tries: dict[str, tuple[int, float]] = {}
        self._woken = asyncio.Event()
        self._stopping = False
        self._paused_until = 0.0
        self._busy_until = 0.0
        self._looked_around = 0.0
        self._is_away = False

    def wake(self) -> None:
        """Something is in the outbox."""
        self._woken.set()

    def stop(self) -> None:
        """Claim nothing more; `run` returns when what is being told has ended."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Dispatch until `stop`."""
        while not self._stopping:
            try:
                await self._turn()
            except Unavailable:
                log.warning("dispatch_store_unavailable")
                await self._rest(STORE_BACKOFF_SECONDS)
            except Exception:
                # The edge of this loop: a store that is odd for a while must not end the worker.
                log.exception("dispatch_turn_failed")
                await self._rest(STORE_BACKOFF_SECONDS)
        await asyncio.gather(*self._running, *self._running_urgent, return_exceptions=True)
        with suppress(Unavailable):
            async with self._database.transaction() as session:
                await self._settle(session, self._taken(), await self._database.now(session))

    async def _turn(self) -> None:
        await self._refresh_load_safely()
        self._woken.clear()
        ended, (limit, due_limit, urgent_limit) = self._taken(), self._limits()
        if not ended and not limit and not urgent_limit:
            await self._rest(self._poll_interval_seconds())
            return
        try:
            async with self._database.transaction() as session:
                now = await self._database.now(session)
                await self._settle(session, ended, now)
                claimed = []
                if limit or urgent_limit:
                    claimed = await claim(
                        session,
                        now,
                        limit=limit,
                        due_limit=due_limit,
                        urgent_limit=urgent_limit,
                        lease_seconds=LEASE_SECONDS,
                        walk=self._walk,
                    )
        except BaseException:
            self._ended.told += ended.told
            self._ended.failed += ended.failed
            raise
        for event in claimed:
            self._begin(event)
        if claimed or ended:
            self._busy_until = time.monotonic() + BUSY_FOR_SECONDS
        if claimed and len(claimed) >= limit > 0 and len(self._running) < CALLS_AT_ONCE:
            return
        await self._rest(self._poll_interval_seconds())

    def _begin(self, event: OutboxBatch) -> None:
        running = self._running_urgent if event.is_urgent else self._running
        if not event.is_urgent and not event.is_due:
            self._pace.spend(1)
        task = asyncio.create_task(self._tell(event))
        running.add(task)
        task.add_done_callback(running.discard)

    def _limits(self) -> tuple[int, int, int]:
        """How many events may be claimed now; how many when they are due; and how many urgent ones besides."""
        if self._stopping or time.monotonic() < self._paused_until:
            return 0, 0, 0
        free = max(0, CALLS_AT_ONCE - len(self._running))
        limit = self._pace.allowance(time.monotonic(), wanted=free)
        return limit, free, max(0, URGENT_CALLS_AT_ONCE - len(self._running_urgent))

    def _taken(self) -> _Finished:
        ended, self._ended = self._ended, _Finished()
        return ended

    async def _settle(self, session: AsyncSession, ended: _Finished, now: datetime) -> None:
        if ended.told:
            await mark_delivered(session, [row.id for event in ended.told for row in event.rows])
        for event, backoff_seconds in ended.failed:
            await retry_later(session, [row.id for row in event.rows], now + timedelta(seconds=backoff_seconds), now=now)

    async def _tell(self, event: OutboxBatch) -> None:
        began_at = time.monotonic()
        try:
            async with asyncio.timeout(TELL_SECONDS):
                await self._gateway.start_or_signal(event)
        except (RPCError, TimeoutError) as error:
            self._ended.failed.append((event, self._backoff_after(event, error, began_at)))
        except Exception:
            # The edge of this loop: a row that cannot be told must not stop the others.
            log.exception("dispatch_failed", event_id=event.event_id)
            self._ended.failed.append((event, self._backoff(event)))
        else:
            self._tries.pop(event.event_id, None)
            self._ended.told.append(event)
            self._told_at = time.monotonic()
            if self._is_away:
                self._is_away = False
                log.info("engine_is_back")
        self._woken.set()

    def _backoff_after(self, event: OutboxBatch, error: RPCError | TimeoutError, began_at: float) -> float:
        # Our own limit says that this event has much to tell; each call has a limit too, and says that the engine is away,
        # unless it has taken others meanwhile: then it does not answer for this one alone, and stops no other.
        if isinstance(error, RPCError) and error.status in _ENGINE_AWAY and self._told_at < began_at:
            self._paused_until = time.monotonic() + ENGINE_BACKOFF_SECONDS
            if not self._is_away:
                self._is_away = True
                log.warning("engine_is_away", event_id=event.event_id)
            return ENGINE_BACKOFF_SECONDS
        seconds = self._backoff(event)
        if seconds == FIRST_BACKOFF_SECONDS:
            status, reason = (error.status.name, error.message) if isinstance(error, RPCError) else ("TIMEOUT", "")
            log.warning("dispatch_refused", event_id=event.event_id, status=status, reason=reason)
        return seconds

    def _backoff(self, event: OutboxBatch) -> float:
        now = time.monotonic()
        tries, _ = self._tries.get(event.event_id, (0, now))
        self._tries[event.event_id] = (tries + 1, now)
        return float(min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * BACKOFF_FACTOR ** min(tries, 10)))

    def _poll_interval_seconds(self) -> float:
        return BUSY_POLL_SECONDS if time.monotonic() < self._busy_until else self._idle_seconds

    async def _rest(self, seconds: float) -> None:
        """Until something wakes us, at most this long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
        if self._ended and not self._stopping:
            await self._gather()

    async def _gather(self) -> None:
        """Let more tellings end: one transaction settles them all, and claims as many."""
        await asyncio.sleep(GATHER_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_GATHER_SECONDS):
                while len(self._running) > ENOUGH_RUNNING and not self._stopping:
                    self._woken.clear()
                    await self._woken.wait()

    async def _refresh_load_safely(self) -> None:
        try:
            await self._refresh_load()
        except Unavailable:
            log.warning("dispatch_look_unavailable")
        except Exception:
            # The look only sets the pace: what keeps it from being taken must not keep anything from being sent.
            log.exception("dispatch_look_failed")

    async def _refresh_load(self) -> None:
        if time.monotonic() - self._looked_around < LOOK_EVERY_SECONDS:
            return
        self._looked_around = now = time.monotonic()
        # Another process may have told them since: what is not tried again in time is forgotten.
        self._tries = {name: tried for name, tried in self._tries.items() if now - tried[1] < TRIES_KEPT_SECONDS}
        async with self._database.reading() as session:
            now_there = await self._database.now(session)
            beats, overdue = await read_beats(session, now_there), await count_overdue(session, now_there)
        rates = [
            float(rate)
            for beat in beats
            if beat.role == "api"
            and beat.age_seconds < FRONT_DOOR_STALE_SECONDS
            and isinstance(rate := beat.report.get("accepted_per_second"), int | float)
        ]
        self._pace.set_load(accepted_per_second=max(rates, default=0.0), overdue=overdue)
