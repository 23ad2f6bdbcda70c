"""Finds receipts on which database and Temporal disagree, and starts their workflows again.

It changes no receipt: a run that is started again loads the stored state. Every worker runs it, and
a start that two workers find missing is enqueued once. `worker.loops.overdue` opens late incidents
without it.
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
from store.receipts.outbox import oldest_age
from store.receipts.reconcile.overdue import OverdueReceipt, overdue_receipts
from store.receipts.reconcile.queries import (
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
REPAIR_STUCK_AFTER_SECONDS = 60
# Longer than the dispatcher's lease.
UNDISPATCHED_AFTER_SECONDS = 15
OVERDUE_AT_ONCE, SIGNALLED_AT_ONCE = 200, 50
FAILED_AT_ONCE = 3  # each takes some seconds
OVERDUE_CHECKED = 2_000
CLOSED_CHECKED = 2_000
# Temporal's visibility lags behind, and the clocks of hosts differ.
CLOSED_OVERLAP = timedelta(seconds=60)
SWEPT_AT_ONCE = 200
NEXT_PART_SECONDS = 0.2  # while every receipt is started in a new Temporal database
OUTBOX_OLD = timedelta(seconds=60)

log = structlog.get_logger(__name__)


class Reconciler:
    """The reconciler of one worker process. `every_seconds` is the pause between passes.

    `outage_seconds` not 0: while ingest is down, overdue receipts are left alone, as the lifecycle
    activities do.
    """

    def __init__(
        self,
        database: Database,
        workflow_client: ReceiptWorkflowClient,
        *,
        every_seconds: float,
        outage_seconds: int,
    ) -> None:
        self._database = database
        self._workflow_client = workflow_client
        self._every_seconds = every_seconds
        self._outage_seconds = outage_seconds
        self._restarts = Restarts(database)
        self._closed_checked_until = datetime.now(UTC) - CLOSED_OVERLAP
        # Where the last check ended when there was more than it could check. The next one continues
        # there.
        self._sweep_after: EventId | None = None
        self._undispatched_after = 0
        self._repairs_after: EventId | None = None
        self._overdue_after: OverdueReceipt | None = None
        self._runs = StuckRunWatch(database, workflow_client)
        self._failing: set[str] = set()
        self._stopping = asyncio.Event()
        self._new_namespace = NewNamespace(
            database, workflow_client, self._restarts, self._stopping
        )

    def stop(self) -> None:
        """Make `run` return after the current step."""
        self._stopping.set()

    async def run(self) -> None:
        """Reconcile until `stop`."""
        while not self._stopping.is_set():
            await self.reconcile()
            await self._pause(
                NEXT_PART_SECONDS if self._new_namespace.is_restarting else self._every_seconds
            )

    async def reconcile(self) -> None:
        """One pass. A step that fails does not prevent the others."""
        self._restarts.forget_old()
        # Steps that need visibility, which may be down while the rest of Temporal is up, come last.
        steps = (
            ("outbox", self._watch_outbox),
            ("runs", self._runs.check),
            ("undispatched", self._start_overdue),
            ("repairs", self._signal_stuck_repairs),
            ("namespace", self._new_namespace.check),
            ("overdue_without_run", self._restart_overdue),
            ("closed", self._restart_lost_runs),
            ("sweep", self._sweep),
        )
        for name, step in steps:
            if self._stopping.is_set():
                return
            async with self._guarded(name):
                await step()

    async def _start_overdue(self) -> None:
        """Start the runs of overdue receipts whose starts are still in the outbox.

        The dispatcher finds them running.
        """
        async with self._database.reading() as session:
            now = await self._database.now(session)
            if await self._in_outage(session, now):
                return
            undispatched, self._undispatched_after = await undispatched_starts(
                session,
                now,
                older_than_seconds=UNDISPATCHED_AFTER_SECONDS,
                after=self._undispatched_after,
                limit=OVERDUE_CHECKED,
            )
        await self._signal(undispatched, why="overdue_undispatched")

    async def _signal_stuck_repairs(self) -> None:
        """Signal the runs of repairs that are overdue, or whose callback was never sent."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            grace_seconds = (
                None if await self._in_outage(session, now) else REPAIR_STUCK_AFTER_SECONDS
            )
            stuck = await stuck_repairs(
                session,
                now,
                grace_seconds=grace_seconds,
                silent_seconds=REPAIR_STUCK_AFTER_SECONDS,
                limit=OVERDUE_CHECKED,
                after=self._repairs_after,
            )
        self._repairs_after = stuck[-1].event_id if len(stuck) == OVERDUE_CHECKED else None
        await self._signal(stuck, why="repair_stuck")

    async def _restart_overdue(self) -> None:
        """Enqueue the starts of overdue receipts that have no run.

        Receipts with a run are left alone. After a burst of deadlines many runs are about to open
        their incidents, and further signals would slow them down. `worker.loops.overdue` opens what
        remains.
        """
        async with self._database.reading() as session:
            now = await self._database.now(session)
            if await self._in_outage(session, now):
                return
            until = now - timedelta(seconds=GRACE_SECONDS)
            overdue = await overdue_receipts(
                session, until, after=self._overdue_after, limit=OVERDUE_AT_ONCE
            )
            self._overdue_after = overdue[-1] if len(overdue) == OVERDUE_AT_ONCE else None
            event_ids = [receipt.event_id for receipt in overdue]
            suspects = await dispatched_and_open(
                session, self._restarts.ready(event_ids, for_seconds=GONE_AGAIN_AFTER_SECONDS)
            )
        missing = await self._workflow_client.find_missing_runs(suspects)
        await self._restarts.enqueue(missing.found, why="overdue_without_run")

    async def _in_outage(self, session: AsyncSession, now: datetime) -> bool:
        beats = await read_ingest_beats(session)
        return is_ingest_down(beats, now, outage_seconds=self._outage_seconds)

    async def _restart_lost_runs(self) -> None:
        """Enqueue the starts of open receipts whose runs closed lately.

        Their search attributes still say that the receipt is open.
        """
        began_at = datetime.now(UTC)
        found = self._workflow_client.find_unexpectedly_closed(
            self._closed_checked_until, limit=CLOSED_CHECKED
        )
        closed = {event_id async for event_id in found}
        suspects = await self._dispatched_and_open(closed)
        ready = self._restarts.ready(suspects)
        # Those enqueued lately have a run again, unless that one has closed too.
        enqueued_lately = [event_id for event_id in suspects if event_id not in set(ready)]
        gone_again = await self._workflow_client.find_missing_runs(
            self._restarts.ready(enqueued_lately, for_seconds=GONE_AGAIN_AFTER_SECONDS)
        )
        await self._restarts.enqueue([*ready, *gone_again.found], why="closed_unexpectedly")
        self._closed_checked_until = began_at - CLOSED_OVERLAP

    async def _sweep(self) -> None:
        """Check a part of all open receipts for runs that closed otherwise or were lost."""
        async with self._database.reading() as session:
            batch = [
                event_id
                for event_id, _ in await open_receipts(
                    session, after=self._sweep_after, limit=SWEPT_AT_ONCE
                )
            ]
        missing = await self._workflow_client.find_missing_runs(
            await self._dispatched_and_open(batch)
        )
        ready = self._restarts.ready(missing.found, for_seconds=GONE_AGAIN_AFTER_SECONDS)
        await self._restarts.enqueue(await self._dispatched_and_open(ready), why="without_run")
        self._sweep_after = batch[-1] if len(batch) == SWEPT_AT_ONCE else None
        if missing.first_unchecked is not None:
            self._sweep_after = batch[batch.index(missing.first_unchecked) - 1]

    async def _dispatched_and_open(self, event_ids: Collection[EventId]) -> list[EventId]:
        async with self._database.reading() as session:
            return await dispatched_and_open(session, event_ids)

    async def _pause(self, seconds: float) -> None:
        """Wait for `stop`, at most so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _watch_outbox(self) -> None:
        async with self._database.reading() as session:
            age = await oldest_age(session, await self._database.now(session))
        if age is not None and age > OUTBOX_OLD:
            log.warning("outbox_is_old", oldest_seconds=int(age.total_seconds()))

    async def _signal(self, receipts: Sequence[OpenReceipt], *, why: str) -> None:
        """Start or signal the runs directly, without the outbox.

        An open run only re-reads the database.

        Each receipt is then left alone for a minute, also one that failed, so that it does not
        delay the others. Several failures in a row mean that Temporal is unavailable.
        """
        known = set(self._restarts.ready([receipt.event_id for receipt in receipts]))
        ready = round_robin(
            (receipt for receipt in receipts if receipt.event_id in known),
            lambda receipt: receipt.project_id,
        )
        signalled, failed = 0, 0
        for receipt in ready[:SIGNALLED_AT_ONCE]:
            self._restarts.back_off(receipt.event_id)
            try:
                async with self._database.reading() as session:
                    stored = await read_receipt(session, receipt.event_id)
                await self._workflow_client.ensure_running(stored)
                signalled, failed = signalled + 1, 0
            except (RPCError, TimeoutError) as error:
                failed += 1
                log.warning(
                    "workflow_signal_failed", event_id=receipt.event_id, error=type(error).__name__
                )
                if failed == FAILED_AT_ONCE:
                    raise
            except Unavailable:
                raise
            except Exception:
                # The edge of one item: a row that cannot be read must not stop the others.
                log.exception("workflow_signal_broken", event_id=receipt.event_id)
        if signalled:
            log.info(
                "workflow_signalled", why=why, receipts=signalled, first_event_id=ready[0].event_id
            )

    @asynccontextmanager
    async def _guarded(self, step: str) -> AsyncIterator[None]:
        """Log a step that fails once, and once more when it works again."""
        try:
            yield
        except NotConnected:
            pass  # there is no connection to Temporal; `worker.connection_loop` reports why
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
