"""Starts and signals the workflows of bulk repairs, as their table says.

1. A bulk repair that was started or changed is signalled; the signal starts its workflow if it has
   none.
2. Every minute, all that are not done are signalled again, a part in each turn. So the workflow of
   one that Temporal lost, or that somebody terminated, starts again.

Two workers may do the same work, which changes nothing. Run by `worker.build` while Temporal is
available.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError

from activities.messages import BulkOrder
from domain.errors import Unavailable
from store.db.database import Database
from store.repairing.bulk_steps import (
    UndoneBulk,
    bulks_to_deliver,
    mark_delivered,
    undone_bulks,
)
from worker.loops.backoffs import Backoffs
from worker.temporal.problems import RPC_SECONDS
from workflows.bulk_repair import (
    BULK_REPAIR,
    BULK_TASK_QUEUE,
    BulkRepairWorkflow,
    bulk_workflow_id,
)

AT_ONCE = 50
SWEEP_EVERY_SECONDS = 60.0
TASK_SECONDS = timedelta(seconds=5)
TURN = "turn"  # among the ids of the bulk repairs that are backed off

log = structlog.get_logger(__name__)


class BulkStarts:
    """The loop of one worker process, over one connection to Temporal."""

    def __init__(self, database: Database, client: Client, *, every_seconds: float) -> None:
        self._database = database
        self._client = client
        self._every_seconds = every_seconds
        self._changed_after = self._swept_after = ""
        self._sweep_at = 0.0
        self._backoffs = Backoffs(first_seconds=5)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Make `run` return after the current bulk repair."""
        self._stopping.set()

    async def run(self) -> None:
        """Take turns until `stop`."""
        while not self._stopping.is_set():
            wait = self._every_seconds
            try:
                await self.turn()
            except (RPCError, Unavailable, TimeoutError) as error:
                wait = max(wait, self._backoffs.back_off(TURN))
                log.warning("bulk_repairs_not_started", error=type(error).__name__)
            except Exception:
                # The edge of this loop: it must not end Temporal's worker.
                log.exception("bulk_repairs_broken")
                wait = max(wait, self._backoffs.back_off(TURN))
            else:
                self._backoffs.forget(TURN)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    async def turn(self) -> None:
        """Signal the next bulk repairs.

        Raises:
            RPCError: Temporal does not answer.
            Unavailable.
        """
        async with self._database.reading() as session:
            changed = await bulks_to_deliver(session, after=self._changed_after, limit=AT_ONCE)
        self._changed_after = changed[-1].id if len(changed) == AT_ONCE else ""
        await self._signal_each(changed)
        await self._sweep()
        self._backoffs.forget_old()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._swept_after and loop.time() < self._sweep_at:
            return
        async with self._database.reading() as session:
            undone = await undone_bulks(session, after=self._swept_after, limit=AT_ONCE)
        self._swept_after = undone[-1].id if len(undone) == AT_ONCE else ""
        self._sweep_at = loop.time() + SWEEP_EVERY_SECONDS
        await self._signal_each(undone)

    async def _signal_each(self, bulks: list[UndoneBulk]) -> None:
        for bulk in bulks:
            if self._stopping.is_set():
                return
            if not self._backoffs.is_ready(bulk.id):
                continue
            try:
                await self._signal(bulk)
            except (RPCError, Unavailable, TimeoutError):
                raise
            except Exception:
                # The edge of one bulk repair: it must not stop the others.
                self._backoffs.back_off(bulk.id)
                log.exception("bulk_repair_not_started", bulk_id=bulk.id)
            else:
                self._backoffs.forget(bulk.id)

    async def _signal(self, bulk: UndoneBulk) -> None:
        """Signal its workflow, which starts if there is none. Doing it twice changes nothing."""
        await self._client.start_workflow(
            BULK_REPAIR,
            BulkOrder(bulk.id),
            id=bulk_workflow_id(bulk.id),
            task_queue=BULK_TASK_QUEUE,
            task_timeout=TASK_SECONDS,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=BulkRepairWorkflow.changed.__name__,
            rpc_timeout=RPC_SECONDS,
        )
        async with self._database.transaction() as session:
            await mark_delivered(session, bulk)
