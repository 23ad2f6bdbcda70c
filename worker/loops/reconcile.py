"""Repairs what store and Temporal disagree on: it enqueues starts again. `worker.loops.overdue` opens late incidents without it.

It moves nothing itself: a run that is started again reads the store. Every worker runs it; what two find is enqueued once.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.service import RPCError

from domain.errors import Unavailable
from domain.ids import EventId
from domain.outage import is_ingest_down
from domain.values.round_robin import round_robin
from store.db.database import Database
from store.receipts.deadlines import OverdueReceipt, overdue_receipts
from store.receipts.outbox import oldest_age
from store.receipts.reconcile_queries import (
    OpenReceipt,
    dispatched_and_open,
    open_receipts,
    read_receipt,
    stuck_repairs,
    undispatched_starts,
)
from store.status.heartbeats import read_ingest_beats
from worker.loops.new_namespace import NewNamespace
from worker.loops.restarts import GONE_AGAIN_AFTER_SECONDS, Restarts
from worker.loops.stuck_runs import StuckRunWatch
from worker.temporal.problems import NotConnected, TemporalProblem
from worker.temporal.workflow_client import ReceiptWorkflowClient

GRACE_SECONDS = 5
NUDGE_AFTER_SECONDS = 60
# Longer than the dispatcher's lease.
UNTOLD_AFTER_SECONDS = 15
OVERDUE_AT_ONCE, NUDGED_AT_ONCE = 200, 50
FAILED_AT_ONCE = 3  # each takes some seconds
OVERDUE_LOOKED_AT = 2_000
CLOSED_LOOKED_AT = 2_000
# Visibility runs behind the engine, and hosts' clocks differ.
CLOSED_OVERLAP = timedelta(seconds=60)
SWEPT_AT_ONCE = 200
NEXT_PART_SECONDS = 0.2  # while every receipt is started in a new Temporal database
OUTBOX_OLD = timedelta(seconds=60)

log = structlog.get_logger(__name__)


class Reconciler:
    """The reconciler of one worker process. `every_seconds` is the pause between passes.

    `outage_seconds` not 0: what is overdue while the front door is silent is left alone, as the ledger leaves it.
    """

    def __init__(
        self,
        database: Database,
        gateway: ReceiptWorkflowClient,
        *,
        every_seconds: float,
        outage_seconds: int,
    ) -> None:
        self._database = database
        self._gateway = gateway
        self._every_seconds = every_seconds
        self._outage_seconds = outage_seconds
        self._restarts = Restarts(database)
        self._swept_until = datetime.now(UTC) - CLOSED_OVERLAP
        self._cursor: EventId | None = None
        # Where the last look ended when there was more than it could look at: the next one goes on there.
        self._untold_after = 0
        self._repairs_after: EventId | None = None
        self._overdue_after: OverdueReceipt | None = None
        self._runs = StuckRunWatch(database, gateway)
        self._failing: set[str] = set()
        self._stopping = asyncio.Event()
        self._new_namespace = NewNamespace(database, gateway, self._restarts, self._stopping)

    def stop(self) -> None:
        """`run` returns after the step it is in."""
        self._stopping.set()

    async def run(self) -> None:
        """Reconcile until `stop`."""
        while not self._stopping.is_set():
            await self.reconcile()
            await self._pause(NEXT_PART_SECONDS if self._new_namespace.is_restarting else self._every_seconds)

    async def reconcile(self) -> None:
        """One pass; a step that cannot be done now leaves the others to be done."""
        self._restarts.forget_old()
        # First what one call to the engine answers, then what its visibility must answer.
        steps = (
            ("outbox", self._watch_outbox),
            ("runs", self._runs.look),
            ("untold", self._start_overdue),
            ("repairs", self._wake_repairs),
            ("namespace", self._new_namespace.look),
            ("overdue_without_run", self._resignal_overdue),
            ("closed", self._restart_lost_runs),
            ("sweep", self._sweep),
        )
        for name, step in steps:
            if self._stopping.is_set():
                return
            async with self._guarded(name):
                await step()

    async def _start_overdue(self) -> None:
        """Overdue, and its start still in the outbox: its run is started from here, and the dispatcher finds it."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            if await self._is_held(session, now):
                return
            untold, self._untold_after = await undispatched_starts(
                session, now, older_than_seconds=UNTOLD_AFTER_SECONDS, after=self._untold_after, limit=OVERDUE_LOOKED_AT
            )
        await self._wake(untold, why="overdue_undispatched")

    async def _wake_repairs(self) -> None:
        """A repair past its deadline, or never called: its run has forgotten it."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            grace_seconds = None if await self._is_held(session, now) else NUDGE_AFTER_SECONDS
            stuck = await stuck_repairs(
                session,
                now,
                grace_seconds=grace_seconds,
                silent_seconds=NUDGE_AFTER_SECONDS,
                limit=OVERDUE_LOOKED_AT,
                after=self._repairs_after,
            )
        self._repairs_after = stuck[-1].event_id if len(stuck) == OVERDUE_LOOKED_AT else None
        await self._wake(stuck, why="repair_stuck")

    async def _resignal_overdue(self) -> None:
        """Overdue receipts without a run are told at once; what has one is opened from the store when it is long overdue.

        After a burst of deadlines many runs are on their way to the store: to nudge them would slow them down.
        """
        async with self._database.reading() as session:
            now = await self._database.now(session)
            if await self._is_held(session, now):
                return
            until = now - timedelta(seconds=GRACE_SECONDS)
            lately = await overdue_receipts(session, until, after=self._overdue_after, limit=OVERDUE_AT_ONCE)
            self._overdue_after = lately[-1] if len(lately) == OVERDUE_AT_ONCE else None
            event_ids = [receipt.event_id for receipt in lately]
            suspects = await dispatched_and_open(session, self._restarts.ready(event_ids, for_seconds=GONE_AGAIN_AFTER_SECONDS))
        await self._restarts.enqueue((await self._gateway.find_missing_runs(suspects)).found, why="overdue_without_run")

    async def _is_held(self, session: AsyncSession, now: datetime) -> bool:
        beats = await read_ingest_beats(session)
        return is_ingest_down(beats, now, outage_seconds=self._outage_seconds)

    async def _restart_lost_runs(self) -> None:
        """Runs that closed lately without having said in their search attributes that the receipt ended."""
        began_at = datetime.now(UTC)
        closed = {
            event_id async for event_id in self._gateway.find_unexpectedly_closed(self._swept_until, limit=CLOSED_LOOKED_AT)
        }
        suspects = await self._dispatched_and_open(closed)
        untold = self._restarts.ready(suspects)
        # Those told lately have a run again, unless that one has ended too.
        told = [event_id for event_id in suspects if event_id not in set(untold)]
        gone_again = (
            await self._gateway.find_missing_runs(self._restarts.ready(told, for_seconds=GONE_AGAIN_AFTER_SECONDS))
        ).found
        await self._restarts.enqueue([*untold, *gone_again], why="find_unexpectedly_closed")
        self._swept_until = began_at - CLOSED_OVERLAP

    async def _sweep(self) -> None:
        """Everything that has not ended, a part in each pass: for what closed otherwise, or was lost."""
        async with self._database.reading() as session:
            batch = [event_id for event_id, _ in await open_receipts(session, after=self._cursor, limit=SWEPT_AT_ONCE)]
        find_missing_runs = await self._gateway.find_missing_runs(await self._dispatched_and_open(batch))
        gone = self._restarts.ready(find_missing_runs.found, for_seconds=GONE_AGAIN_AFTER_SECONDS)
        await self._restarts.enqueue(await self._dispatched_and_open(gone), why="find_missing_runs")
        self._cursor = batch[-1] if len(batch) == SWEPT_AT_ONCE else None
        if find_missing_runs.first_left is not None:
            self._cursor = batch[batch.index(find_missing_runs.first_left) - 1]

    async def _dispatched_and_open(self, event_ids: Collection[EventId]) -> list[EventId]:
        async with self._database.reading() as session:
            return await dispatched_and_open(session, event_ids)

    async def _pause(self, seconds: float) -> None:
        """At most so long: `stop` ends it."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _watch_outbox(self) -> None:
        async with self._database.reading() as session:
            age = await oldest_age(session, await self._database.now(session))
        if age is not None and age > OUTBOX_OLD:
            log.warning("outbox_is_old", oldest_seconds=int(age.total_seconds()))

    async def _wake(self, receipts: Sequence[OpenReceipt], *, why: str) -> None:
        """Straight to the engine, past the outbox; a run that exists is only told to ask the store.

        What fails is left alone for a minute, like what was told, so that it is in nobody's way; when several fail in a row,
        the engine is away.
        """
        known = set(self._restarts.ready([receipt.event_id for receipt in receipts]))
        ready = round_robin((receipt for receipt in receipts if receipt.event_id in known), lambda receipt: receipt.project_id)
        woken, failed = 0, 0
        for receipt in ready[:NUDGED_AT_ONCE]:
            self._restarts.leave_alone(receipt.event_id)
            try:
                async with self._database.reading() as session:
                    stored = await read_receipt(session, receipt.event_id)
                await self._gateway.wake(stored)
                woken, failed = woken + 1, 0
            except (RPCError, TimeoutError) as error:
                failed += 1
                log.warning("wake_failed", event_id=receipt.event_id, error=type(error).__name__)
                if failed == FAILED_AT_ONCE:
                    raise
            except Unavailable:
                raise
            except Exception:
                # The edge of one item: a row that cannot be read must not keep the others from being told.
                log.exception("wake_broken", event_id=receipt.event_id)
        if woken:
            log.info("woken", why=why, receipts=woken, first_event_id=ready[0].event_id)

    @asynccontextmanager
    async def _guarded(self, step: str) -> AsyncIterator[None]:
        """A step that fails is logged once, and again when it works."""
        try:
            yield
        except NotConnected:
            pass  # the step has nobody to ask; `worker.connection_loop` says why
        except (RPCError, TemporalProblem, Unavailable, TimeoutError) as error:
            if step not in self._failing:
                self._failing.add(step)
                log.warning("reconcile_step_failed", step=step, error=type(error).__name__)
        except Exception:
            # The edge of this loop: one broken step must not stop the others for good.
            log.exception("reconcile_step_broken", step=step)
        else:
            if step in self._failing:
                self._failing.discard(step)
                log.info("reconcile_step_works_again", step=step)
