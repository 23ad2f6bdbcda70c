"""Starts every open receipt in a new Temporal database, which knows none of them.

A step of `worker.loops.reconcile`.

Each pass of the reconciler starts a part of them, so that the other steps run too. The progress is
stored in the transaction that enqueues the starts, so a restarted worker continues there.
"""

import asyncio
from contextlib import suppress

import structlog

from domain.ids import EventId
from store.db.database import Database
from store.receipts.reconcile.queries import open_receipts
from store.status.heartbeats import NAMESPACE_FACT, read_fact
from store.status.installation import (
    Adoption,
    Restart,
    adopt_namespace,
    advance_restart,
    end_restart,
    read_restart,
)
from worker.loops.restarts import Restarts
from worker.temporal.workflow_client import ReceiptWorkflowClient

# Few, and with pauses: on SQLite ingest waits while a batch is written.
AT_ONCE = 100
PAUSE_SECONDS = 0.2
BATCHES = 25  # in one pass

log = structlog.get_logger(__name__)


class NewNamespace:
    """Detects that the namespace has changed, and starts all open receipts in it.

    `stopping` ends a pass.
    """

    def __init__(
        self,
        database: Database,
        workflow_client: ReceiptWorkflowClient,
        restarts: Restarts,
        stopping: asyncio.Event,
    ) -> None:
        self._database = database
        self._workflow_client = workflow_client
        self._restarts = restarts
        self._stopping = stopping
        self.is_restarting = False

    async def check(self) -> None:
        """Compare the namespace's id with the stored one.

        Another id means another Temporal database.
        """
        namespace_id = await self._workflow_client.namespace_id()
        async with self._database.reading() as session:
            known, restart = await read_fact(session, NAMESPACE_FACT), await read_restart(session)
        if known != namespace_id:
            async with self._database.transaction() as session:
                now = await self._database.now(session)
                adopted = await adopt_namespace(
                    session, namespace_id, process=self._workflow_client.identity, now=now
                )
            if adopted.adoption is Adoption.ELSEWHERE:
                return  # `worker.membership` reports it and ends the work here
            restart = Restart(namespace_id) if adopted.adoption is Adoption.NEW else None
        self.is_restarting = restart is not None
        if restart is not None:
            log.warning(
                "temporal_database_is_new", namespace_id=namespace_id, after_event_id=restart.after
            )
            await self._workflow_client.prepare_namespace()
            await self._start_more(restart)

    async def _start_more(self, restart: Restart) -> None:
        after = restart.after
        for _ in range(BATCHES):
            if self._stopping.is_set():
                return
            after = await self._start_batch(restart.namespace_id, after)
            if after is None:
                self.is_restarting = False
                log.warning(
                    "temporal_database_restart_completed", namespace_id=restart.namespace_id
                )
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), PAUSE_SECONDS)

    async def _start_batch(self, namespace_id: str, after: EventId | None) -> EventId | None:
        """Enqueue one batch and return its last receipt.

        None: nothing was left, and the restart has ended.
        """
        async with self._database.reading() as session:
            batch = [
                event_id for event_id, _ in await open_receipts(session, after=after, limit=AT_ONCE)
            ]
        async with self._database.transaction() as session:
            if not batch:
                await end_restart(session, namespace_id)
                return None
            enqueued = await self._restarts.enqueue_in(session, batch)
            await advance_restart(session, namespace_id, batch[-1])
        self._restarts.note(enqueued, why="new_namespace")
        return batch[-1]
