"""Delivers the outbox to Temporal: leases rows, sends starts and signals, marks rows delivered.

A row is protected by a lease, and by no lock, while Temporal is called. Sending it twice changes
nothing.

1. A receipt that fails is retried with a growing backoff, and delays no other.
2. While Temporal is unavailable, all deliveries pause.
3. Requests of people are delivered first, and the rate limit does not apply to them.

Run by `worker.build`. PostgreSQL's NOTIFY calls `notify`; on SQLite the outbox is polled.
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
from domain.temporal.outbox_turns import ClaimWalk
from store.db.database import Database
from store.receipts.outbox import LEASE_SECONDS, OutboxBatch, claim, mark_delivered, retry_later
from store.receipts.reconcile.overdue import count_overdue
from store.status.heartbeats import read_heartbeats
from worker.loops.backoffs import Backoffs
from worker.loops.start_rate_limiter import StartRateLimiter
from worker.temporal.workflow_client import ReceiptWorkflowClient

MAX_DELIVERIES = 16
# Further slots, for requests of people only, so that neither kind delays the other.
MAX_URGENT_DELIVERIES = 8
DELIVERY_TIMEOUT_SECONDS = 8
FIRST_BACKOFF_SECONDS, BACKOFF_FACTOR = 1.0, 3.0
# Short, so that what waits is started soon after Temporal is available again.
TEMPORAL_BACKOFF_SECONDS = 1.0
STORE_BACKOFF_SECONDS = 1.0
# Deliveries finish together under load. A short wait lets one transaction mark them all.
GATHER_SECONDS = 0.01
# While more than this many run, Temporal is busy enough: the next claim waits for some to finish,
# for a limited time.
ENOUGH_RUNNING = 4
LONGEST_GATHER_SECONDS = 0.2
BUSY_POLL_SECONDS = 0.05
IDLE_POLL_SECONDS = 0.25
NOTIFIED_POLL_SECONDS = 0.5
BUSY_FOR_SECONDS = 2.0
LOAD_EVERY_SECONDS = 1.0
INGEST_STALE_SECONDS = 10.0
_UNAVAILABLE = {RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED}

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Finished:
    """The deliveries that finished since the last transaction.

    Failed ones come with their backoffs in seconds.
    """

    delivered: list[OutboxBatch] = field(default_factory=list)
    failed: list[tuple[OutboxBatch, float]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.delivered or self.failed)


class Dispatcher:
    """The dispatcher of one process.

    `is_notified`: `notify` is called when the outbox has new rows.
    """

    def __init__(
        self,
        database: Database,
        workflow_client: ReceiptWorkflowClient,
        rate_limiter: StartRateLimiter,
        *,
        is_notified: bool,
    ) -> None:
        self._database = database
        self._workflow_client = workflow_client
        self._rate_limiter = rate_limiter
        self._idle_seconds = NOTIFIED_POLL_SECONDS if is_notified else IDLE_POLL_SECONDS
        self._running: set[asyncio.Task[None]] = set()
        self._running_urgent: set[asyncio.Task[None]] = set()
        self._finished = _Finished()
        self._walk = ClaimWalk()
        self._delivered_at = 0.0  # when Temporal last accepted a delivery
        self._backoffs = Backoffs(first_seconds=FIRST_BACKOFF_SECONDS, factor=BACKOFF_FACTOR)
        self._has_work = asyncio.Event()
        self._stopping = False
        self._paused_until = 0.0
        self._busy_until = 0.0
        self._load_read_at = 0.0
        self._is_temporal_unavailable = False

    def notify(self) -> None:
        """The outbox has new rows."""
        self._has_work.set()

    def stop(self) -> None:
        """Lease nothing more. `run` returns once the running deliveries have finished."""
        self._stopping = True
        self._has_work.set()

    async def run(self) -> None:
        """Dispatch until `stop`."""
        while not self._stopping:
            try:
                await self._turn()
            except Unavailable:
                log.warning("dispatch_store_unavailable")
                await self._wait(STORE_BACKOFF_SECONDS)
            except Exception:
                # The edge of this loop: a temporary fault of the store must not end the worker.
                log.exception("dispatch_turn_failed")
                await self._wait(STORE_BACKOFF_SECONDS)
        await asyncio.gather(*self._running, *self._running_urgent, return_exceptions=True)
        with suppress(Unavailable):
            async with self._database.transaction() as session:
                now = await self._database.now(session)
                await self._record_finished(session, self._drain_finished(), now)

    async def _turn(self) -> None:
        """One turn:

        1. Read the load, at most once a second, and set the rate limit.
        2. In one transaction, record the finished deliveries and lease more.
        3. Start their deliveries.
        4. Wait, unless there are more rows and free slots.
        """
        await self._refresh_load_safely()
        self._has_work.clear()
        finished, (limit, due_limit, urgent_limit) = self._drain_finished(), self._limits()
        if not finished and not limit and not urgent_limit:
            await self._wait(self._poll_interval_seconds())
            return
        try:
            async with self._database.transaction() as session:
                now = await self._database.now(session)
                await self._record_finished(session, finished, now)
                leased = []
                if limit or urgent_limit:
                    leased = await claim(
                        session,
                        now,
                        limit=limit,
                        due_limit=due_limit,
                        urgent_limit=urgent_limit,
                        lease_seconds=LEASE_SECONDS,
                        walk=self._walk,
                    )
        except BaseException:
            self._finished.delivered += finished.delivered
            self._finished.failed += finished.failed
            raise
        for batch in leased:
            self._start_delivery(batch)
        if leased or finished:
            self._busy_until = time.monotonic() + BUSY_FOR_SECONDS
        if leased and len(leased) >= limit > 0 and len(self._running) < MAX_DELIVERIES:
            return
        await self._wait(self._poll_interval_seconds())

    def _start_delivery(self, batch: OutboxBatch) -> None:
        running = self._running_urgent if batch.is_urgent else self._running
        if not batch.is_urgent and not batch.is_due:
            self._rate_limiter.consume(1)
        task = asyncio.create_task(self._deliver(batch))
        running.add(task)
        task.add_done_callback(running.discard)

    def _limits(self) -> tuple[int, int, int]:
        """How many batches may be leased now: of any, of due ones, and of urgent ones on top."""
        if self._stopping or time.monotonic() < self._paused_until:
            return 0, 0, 0
        free = max(0, MAX_DELIVERIES - len(self._running))
        limit = self._rate_limiter.available(time.monotonic(), wanted=free)
        return limit, free, max(0, MAX_URGENT_DELIVERIES - len(self._running_urgent))

    def _drain_finished(self) -> _Finished:
        finished, self._finished = self._finished, _Finished()
        return finished

    async def _record_finished(
        self, session: AsyncSession, finished: _Finished, now: datetime
    ) -> None:
        if finished.delivered:
            await mark_delivered(
                session, [row.id for batch in finished.delivered for row in batch.rows]
            )
        for batch, backoff_seconds in finished.failed:
            await retry_later(
                session,
                [row.id for row in batch.rows],
                now + timedelta(seconds=backoff_seconds),
                now=now,
            )

    async def _deliver(self, batch: OutboxBatch) -> None:
        began_at = time.monotonic()
        try:
            async with asyncio.timeout(DELIVERY_TIMEOUT_SECONDS):
                await self._workflow_client.start_or_signal(batch)
        except (RPCError, TimeoutError) as error:
            self._finished.failed.append((batch, self._backoff_after(batch, error, began_at)))
        except Exception:
            # The edge of this loop: a row that cannot be sent must not stop the others.
            log.exception("dispatch_failed", event_id=batch.event_id)
            self._finished.failed.append((batch, self._backoffs.back_off(batch.event_id)))
        else:
            self._backoffs.forget(batch.event_id)
            self._finished.delivered.append(batch)
            self._delivered_at = time.monotonic()
            if self._is_temporal_unavailable:
                self._is_temporal_unavailable = False
                log.info("temporal_available_again")
        self._has_work.set()

    def _backoff_after(
        self, batch: OutboxBatch, error: RPCError | TimeoutError, began_at: float
    ) -> float:
        """The backoff in seconds after a failed delivery.

        1. Temporal was unavailable and has accepted nothing since this delivery began: all pause.
        2. Anything else, also the timeout of a whole batch: this receipt alone is retried later.
        """
        if (
            isinstance(error, RPCError)
            and error.status in _UNAVAILABLE
            and self._delivered_at < began_at
        ):
            self._paused_until = time.monotonic() + TEMPORAL_BACKOFF_SECONDS
            if not self._is_temporal_unavailable:
                self._is_temporal_unavailable = True
                log.warning("temporal_unavailable", event_id=batch.event_id)
            return TEMPORAL_BACKOFF_SECONDS
        seconds = self._backoffs.back_off(batch.event_id)
        if seconds == FIRST_BACKOFF_SECONDS:
            status, reason = (
                (error.status.name, error.message)
                if isinstance(error, RPCError)
                else ("TIMEOUT", "")
            )
            log.warning("dispatch_refused", event_id=batch.event_id, status=status, reason=reason)
        return seconds

    def _poll_interval_seconds(self) -> float:
        return BUSY_POLL_SECONDS if time.monotonic() < self._busy_until else self._idle_seconds

    async def _wait(self, seconds: float) -> None:
        """Wait for a notification or a finished delivery, at most so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._has_work.wait(), seconds)
        if self._finished and not self._stopping:
            await self._gather_finished()

    async def _gather_finished(self) -> None:
        """Wait for more deliveries to finish, so that one transaction records them all."""
        await asyncio.sleep(GATHER_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_GATHER_SECONDS):
                while len(self._running) > ENOUGH_RUNNING and not self._stopping:
                    self._has_work.clear()
                    await self._has_work.wait()

    async def _refresh_load_safely(self) -> None:
        try:
            await self._refresh_load()
        except Unavailable:
            log.warning("dispatch_load_unavailable")
        except Exception:
            # The load only sets the rate limit: deliveries go on without it.
            log.exception("dispatch_load_failed")

    async def _refresh_load(self) -> None:
        if time.monotonic() - self._load_read_at < LOAD_EVERY_SECONDS:
            return
        self._load_read_at = time.monotonic()
        self._backoffs.forget_old()
        async with self._database.reading() as session:
            store_now = await self._database.now(session)
            heartbeats, overdue = (
                await read_heartbeats(session, store_now),
                await count_overdue(session, store_now),
            )
        rates = [
            float(rate)
            for heartbeat in heartbeats
            if heartbeat.role == "api"
            and heartbeat.age_seconds < INGEST_STALE_SECONDS
            and isinstance(rate := heartbeat.report.get("accepted_per_second"), int | float)
        ]
        self._rate_limiter.set_load(accepted_per_second=max(rates, default=0.0), overdue=overdue)
