"""Looks whether the runs that missed something can go on, and restarts those that a repair waits for.

Suspects come from `worker.loops.overdue`, and from repairs that nobody calls; Temporal says how the run is doing, the store keeps
what was found (`store.receipts.stuck_runs`). Readiness, doctor, metrics and the console read it there. A step of
`worker.loops.reconcile`.
"""

from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.service import RPCError

from domain.audit import MAKEGOOD
from domain.errors import NotFound, Unavailable
from domain.lifecycle import END_STATES
from domain.runs import RunCondition, StuckCause, StuckRun
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.outbox import enqueue_start_again
from store.receipts.state import load_snapshot
from store.receipts.stuck_runs import (
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
from worker.temporal.workflow_client import ReceiptWorkflowClient

LOOKED_AT, LOOKED_AT_OF_EACH = 200, 20
SUSPECTED_AT_ONCE = 200
# A callback begins within a second of being asked for, unless its places are taken.
UNCALLED_AFTER_SECONDS = 20
# A task that no worker has taken for so long, or a start that Temporal refuses, this long after the run was suspected.
UNTAKEN_AFTER = timedelta(seconds=30)
SOON, LATER, LONG = timedelta(seconds=5), timedelta(seconds=15), timedelta(minutes=10)
UNANSWERED_AT_ONCE = 3

log = structlog.get_logger(__name__)


class StuckRunWatch:
    """The watch of one worker process; what it finds is in the store, so that several share the work."""

    def __init__(self, database: Database, gateway: ReceiptWorkflowClient) -> None:
        self._database = database
        self._gateway = gateway
        self._suspected_until = ""

    async def look(self) -> None:
        """Suspect what a repair waits for, then look at each run whose turn has come.

        Raises:
            RPCError: Temporal does not answer for any of several.
            Unavailable: the store cannot be reached.
        """
        await self._suspect_repairs()
        async with self._database.reading() as session:
            now = await self._database.now(session)
            runs = await runs_to_look_at(session, now, limit=LOOKED_AT, of_each=LOOKED_AT_OF_EACH)
        unanswered = 0
        for run in runs:
            try:
                await self._look_at(run, now)
            except (RPCError, Unavailable):
                unanswered += 1
                if unanswered == UNANSWERED_AT_ONCE:
                    raise
                await self._postpone(run, LATER)
            except Exception:
                # The edge of one item: what is wrong with it must not keep the others from being looked at.
                log.exception("run_look_failed", event_id=run.event_id)
                await self._postpone(run, LONG)

    async def _suspect_repairs(self) -> None:
        async with self._database.transaction() as session:
            looked_at = await suspect_stalled_repairs(
                session,
                await self._database.now(session),
                silent_seconds=UNCALLED_AFTER_SECONDS,
                limit=SUSPECTED_AT_ONCE,
                after=self._suspected_until,
            )
        self._suspected_until = looked_at[-1] if len(looked_at) == SUSPECTED_AT_ONCE else ""

    async def _look_at(self, run: StuckRun, began_at: datetime) -> None:
        if await self._is_over(run):
            async with self._database.transaction() as session:
                await forget_run(session, run, await self._database.now(session), goes_on=False)
            return
        condition = await self._gateway.condition_of(run.event_id, untaken_since=began_at - UNTAKEN_AFTER)
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            match condition:
                case RunCondition.GOES_ON:
                    await self._let_go(session, run, now)
                case RunCondition.TASK_FAILS:
                    await self._find(session, run, StuckCause.TASK_FAILS, now)
                case RunCondition.TASK_NOT_TAKEN if self._is_untaken(run, now):
                    await self._find(session, run, StuckCause.TASK_NOT_TAKEN, now)
                case RunCondition.MISSING if (start := await waiting_start(session, run.event_id, now)) is not None:
                    # One that waits for its turn, among thousands after an outage of Temporal, is not stuck.
                    is_refused = run.found_at is not None or start is WaitingStart.REFUSED
                    if is_refused and self._is_untaken(run, now):
                        await self._find(session, run, StuckCause.NOT_STARTED, now)
                    else:
                        await postpone_look(session, run.event_id, now + (SOON if is_refused else LATER))
                case RunCondition.MISSING:
                    await enqueue_start_again(session, run.event_id, now)
                    await postpone_look(session, run.event_id, now + LATER)
                case RunCondition.TASK_WAITS | RunCondition.TASK_NOT_TAKEN | RunCondition.TASK_RUNS:
                    await postpone_look(session, run.event_id, now + SOON)

    async def _is_over(self, run: StuckRun) -> bool:
        async with self._database.reading() as session:
            try:
                standing = await load_snapshot(SessionStatements(session), run.event_id)
            except NotFound:
                return True
        return standing.position in END_STATES

    async def _let_go(self, session: AsyncSession, run: StuckRun, now: datetime) -> None:
        """The run waits for something; when it does not call for long, its callback may wait for a place."""
        is_forgotten = await is_repair_stalled(session, run.event_id, now, silent_seconds=UNCALLED_AFTER_SECONDS)
        if run.found_at is None and is_forgotten:
            await postpone_look(session, run.event_id, now + min(LONG, timedelta(minutes=2 ** min(run.looks, 4))))
        else:
            await forget_run(session, run, now, goes_on=True)

    async def _find(self, session: AsyncSession, run: StuckRun, cause: StuckCause, now: datetime) -> None:
        await mark_stuck(session, run, cause, now, look_at=now + LATER)
        if run.found_at is None:
            log.error("run_is_stuck", event_id=run.event_id, cause=cause.value)
        is_startable = cause is not StuckCause.NOT_STARTED
        if not is_startable or not run.is_restarted_now(now):
            return
        if await is_repair_stalled(session, run.event_id, now, silent_seconds=UNCALLED_AFTER_SECONDS):
            await request_restart(session, run.event_id, now, requested_by=MAKEGOOD)
            log.warning("run_is_restarted", event_id=run.event_id, restarts=run.restarts + 1)

    def _is_untaken(self, run: StuckRun, now: datetime) -> bool:
        return run.found_at is not None or now - run.suspected_at >= UNTAKEN_AFTER

    async def _postpone(self, run: StuckRun, span: timedelta) -> None:
        async with self._database.transaction() as session:
            await postpone_look(session, run.event_id, await self._database.now(session) + span)
