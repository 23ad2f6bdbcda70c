"""Checks whether suspected runs can continue, and restarts those that a repair waits for.

Runs are suspected by `worker.loops.overdue`, and when a repair's callback is not sent. Temporal
gives the run's condition, and the result is stored (`store.receipts.reconcile.stuck_runs`).
Readiness, doctor, metrics and the console read it there. A step of `worker.loops.reconcile`.
"""

from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.service import RPCError

from domain.audit import MAKEGOOD
from domain.errors import NotFound, Unavailable
from domain.ids import EventId
from domain.lifecycle import END_STATES
from domain.temporal.runs import RunCondition, RunLook, StuckCause, StuckRun
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.outbox import enqueue_start_again
from store.receipts.reconcile.stuck_runs import (
    WaitingStart,
    forget_run,
    is_repair_stalled,
    mark_stuck,
    postpone_look,
    request_restart,
    runs_to_look_at,
    suspect_stalled_repairs,
    waiting_start,
)
from store.receipts.state import load_snapshot
from worker.temporal.workflow_client import ReceiptWorkflowClient

CHECKED_AT_ONCE, CHECKED_OF_EACH_PROJECT = 200, 20
SUSPECTED_AT_ONCE = 200
# A callback starts within a second of the request, unless all slots are in use.
UNCALLED_AFTER_SECONDS = 20
# A run is stuck if, so long after it was suspected, no worker has taken its task or Temporal still
# refuses its start.
UNTAKEN_AFTER = timedelta(seconds=30)
SOON, LATER, LONG = timedelta(seconds=5), timedelta(seconds=15), timedelta(minutes=10)
UNANSWERED_AT_ONCE = 3
WAITING_AT_MOST = 10_000

log = structlog.get_logger(__name__)


class StuckRunWatch:
    """The watch of one worker process.

    Its findings are in the store, so that several workers share the work.
    """

    def __init__(self, database: Database, workflow_client: ReceiptWorkflowClient) -> None:
        self._database = database
        self._workflow_client = workflow_client
        self._suspected_until = ""
        # the task of each, and since when it was seen
        self._waiting: dict[EventId, tuple[datetime | None, datetime]] = {}

    async def check(self) -> None:
        """Suspect runs of stalled repairs, then check each suspected run that is due.

        Raises:
            RPCError: Temporal did not answer for several runs.
            Unavailable: the store cannot be reached.
        """
        await self._suspect_repairs()
        async with self._database.reading() as session:
            now = await self._database.now(session)
            runs = await runs_to_look_at(
                session, now, limit=CHECKED_AT_ONCE, of_each=CHECKED_OF_EACH_PROJECT
            )
        unanswered = 0
        for run in runs:
            try:
                await self._check_run(run)
            except (RPCError, Unavailable):
                unanswered += 1
                if unanswered == UNANSWERED_AT_ONCE:
                    raise
                await self._postpone(run, LATER)
            except Exception:
                # The edge of one item: a run that cannot be checked must not stop the others.
                log.exception("run_check_failed", event_id=run.event_id)
                await self._postpone(run, LONG)

    async def _suspect_repairs(self) -> None:
        async with self._database.transaction() as session:
            checked = await suspect_stalled_repairs(
                session,
                await self._database.now(session),
                silent_seconds=UNCALLED_AFTER_SECONDS,
                limit=SUSPECTED_AT_ONCE,
                after=self._suspected_until,
            )
        self._suspected_until = checked[-1] if len(checked) == SUSPECTED_AT_ONCE else ""

    async def _check_run(self, run: StuckRun) -> None:
        if await self._has_ended(run):
            async with self._database.transaction() as session:
                await forget_run(session, run, await self._database.now(session), goes_on=False)
            return
        look = await self._workflow_client.look_at(run.event_id)
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            match look.condition:
                case RunCondition.GOES_ON:
                    await self._handle_running(session, run, now)
                case RunCondition.TASK_FAILS:
                    await self._mark_stuck(session, run, StuckCause.TASK_FAILS, now)
                case RunCondition.TASK_WAITS if self._waits_for_long(run, look, now):
                    await self._mark_stuck(session, run, StuckCause.TASK_NOT_TAKEN, now)
                case RunCondition.MISSING if (
                    start := await waiting_start(session, run.event_id, now)
                ) is not None:
                    # A start that waits in the queue, as thousands do after an outage of Temporal,
                    # is not stuck.
                    is_refused = (
                        start is WaitingStart.REFUSED or run.cause is StuckCause.NOT_STARTED
                    )
                    if is_refused and now - run.suspected_at >= UNTAKEN_AFTER:
                        await self._mark_stuck(session, run, StuckCause.NOT_STARTED, now)
                    else:
                        await postpone_look(session, run.event_id, now + SOON)
                case RunCondition.MISSING:
                    await enqueue_start_again(session, run.event_id, now)
                    await postpone_look(session, run.event_id, now + LATER)
                case RunCondition.TASK_WAITS | RunCondition.TASK_RUNS:
                    await postpone_look(session, run.event_id, now + SOON)

    async def _has_ended(self, run: StuckRun) -> bool:
        async with self._database.reading() as session:
            try:
                snapshot = await load_snapshot(SessionStatements(session), run.event_id)
            except NotFound:
                return True
        return snapshot.state in END_STATES

    async def _handle_running(self, session: AsyncSession, run: StuckRun, now: datetime) -> None:
        """Forget a run that continues.

        While its callback may be waiting for a slot, check it again later.
        """
        is_forgotten = await is_repair_stalled(
            session, run.event_id, now, silent_seconds=UNCALLED_AFTER_SECONDS
        )
        if run.found_at is None and is_forgotten:
            await postpone_look(
                session, run.event_id, now + min(LONG, timedelta(minutes=2 ** min(run.looks, 4)))
            )
        else:
            await forget_run(session, run, now, goes_on=True)

    async def _mark_stuck(
        self, session: AsyncSession, run: StuckRun, cause: StuckCause, now: datetime
    ) -> None:
        await mark_stuck(session, run, cause, now, look_at=now + LATER)
        if run.found_at is None:
            log.error("run_is_stuck", event_id=run.event_id, cause=cause.value)
        is_startable = cause is not StuckCause.NOT_STARTED
        if not is_startable or not run.is_restarted_now(now):
            return
        if await is_repair_stalled(
            session, run.event_id, now, silent_seconds=UNCALLED_AFTER_SECONDS
        ):
            await request_restart(session, run.event_id, now, requested_by=MAKEGOOD)
            log.warning("run_is_restarted", event_id=run.event_id, restarts=run.restarts + 1)

    def _waits_for_long(self, run: StuckRun, look: RunLook, now: datetime) -> bool:
        """Whether the same task was seen to wait before, so long ago by the store's clock:

        Temporal's may be off.
        """
        task_at, since = self._waiting.get(run.event_id, (None, now))
        if task_at != look.task_at or since > now:
            since = now
        self._waiting.pop(run.event_id, None)
        self._waiting[run.event_id] = (look.task_at, since)
        while len(self._waiting) > WAITING_AT_MOST:
            del self._waiting[next(iter(self._waiting))]
        return run.cause is StuckCause.TASK_NOT_TAKEN or now - since >= UNTAKEN_AFTER

    async def _postpone(self, run: StuckRun, span: timedelta) -> None:
        async with self._database.transaction() as session:
            await postpone_look(session, run.event_id, await self._database.now(session) + span)
