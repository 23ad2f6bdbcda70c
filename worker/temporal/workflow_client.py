"""Starts, signals and looks up `receipt` workflows. No other code does.

It accesses no database: the caller passes a stored receipt and its outbox rows. A method returns
once Temporal has accepted the call. A closed run is final only for a receipt that has also ended in
the store. For any other receipt a new run starts, and first loads the stored state. Called by
`worker.loops.dispatch` and `worker.loops.reconcile`.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from domain.ids import EventId
from domain.receipts import Receipt, ReceiptState
from domain.temporal.outbox import OutboxKind
from domain.temporal.runs import RunLook
from store.receipts.outbox import OutboxBatch
from worker.temporal import run_lookup
from worker.temporal.connect import Prepared, prepare_namespace, read_namespace_id
from worker.temporal.problems import RPC_SECONDS, NotConnected
from worker.temporal.run_lookup import MissingRuns
from worker.temporal.search_attributes import ALL, SEARCH_ATTRIBUTES, Registered
from worker.temporal.signals import (
    Signal,
    merge_signals,
    signal_from,
    signal_name,
    success_at_start,
)
from worker.temporal.workflow_labels import Labels, start_labelled
from workflows.messages import (
    TASK_QUEUE,
    ExpireSignal,
    ReceiptInput,
    workflow_id,
)
from workflows.receipt import ReceiptWorkflow
from workflows.search_attributes import MG_STATE

# Temporal's default is 10 s. A lost workflow task costs that long.
TASK_SECONDS = timedelta(seconds=5)
NOT_DECIDED = frozenset({ReceiptState.EXPECTED, ReceiptState.WAITING})
ENDED = frozenset({ReceiptState.APPLIED, ReceiptState.RECOVERED, ReceiptState.CLOSED})


class ReceiptWorkflowClient:
    """The worker's client for receipt workflows.

    `public_url` is the base of the links to receipts' pages.

    `client` None: there is no connection yet, and every call fails as it does while Temporal is
    unavailable. `owns_namespace`: nothing but Makegood uses the namespace.
    """

    def __init__(self, client: Client | None, *, public_url: str, owns_namespace: bool) -> None:
        self._attached = client
        self._public_url = public_url
        self._owns_namespace = owns_namespace
        self._registered: Registered = ALL

    def attach(self, client: Client | None, registered: Registered = ALL) -> None:
        """Use this client from now on, in a namespace that has these attributes.

        None: there is no connection.
        """
        self._attached, self._registered = client, registered

    @property
    def _client(self) -> Client:
        if self._attached is None:
            raise NotConnected()
        return self._attached

    @property
    def identity(self) -> str:
        """The name of this worker, in Temporal and in the store.

        Raises:
            NotConnected.
        """
        return self._client.identity

    async def prepare_namespace(self) -> Prepared:
        """Register what the namespace lacks, and from now on send the attributes that it has.

        See `worker.temporal.connect`.

        Raises:
            NotConnected.
            TemporalProblem: the namespace cannot be used.
        """
        prepared = await prepare_namespace(self._client, is_ours=self._owns_namespace)
        self._registered = prepared.registered
        return prepared

    async def namespace_id(self) -> str:
        """The namespace's id, which differs in every Temporal database."""
        return await read_namespace_id(self._client)

    async def start_or_signal(self, batch: OutboxBatch) -> None:
        """Send one receipt's outbox rows to its workflow, in order.

        Sending them twice changes nothing.

        Raises:
            RPCError: Temporal does not answer, or refuses. Some of the rows may have been sent.
        """
        if any(row.kind == OutboxKind.RESTART for row in batch.rows):
            # The new run loads the stored state, and needs none of the signals.
            await self.restart(batch.receipt)
            return
        from_rows = [signal_from(row) for row in batch.rows if row.kind != OutboxKind.START]
        is_started = len(from_rows) == len(batch.rows)
        signals = merge_signals(batch.receipt, from_rows)
        if is_started:
            await self._signal(batch.receipt, signals)
            return
        first = success_at_start(batch.receipt, signals)
        has_moved_on = batch.receipt.state not in NOT_DECIDED and first is None
        try:
            await self._start(
                batch.receipt,
                resume=has_moved_on,
                reuse=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                first=first,
            )
        except WorkflowAlreadyStartedError:
            # An open run reads the store, also if the receipt has ended: what ended it may have
            # relied on this row.
            await self._signal(batch.receipt, signals or [ExpireSignal()])
            return
        if first is None and not has_moved_on:
            await self._signal(batch.receipt, signals)

    async def ensure_running(self, receipt: Receipt) -> None:
        """Start a run for an open receipt that has none, or let its run check the stored deadline
        now.

        Raises:
            RPCError: Temporal does not answer, or refuses.
        """
        if receipt.state in ENDED:
            return
        reuse = WorkflowIDReusePolicy.ALLOW_DUPLICATE
        await self._start(receipt, resume=True, reuse=reuse, first=ExpireSignal())

    async def restart(self, receipt: Receipt) -> None:
        """Terminate the receipt's run, if any, and start one that continues from the stored state.

        Raises:
            RPCError: Temporal does not answer, or refuses.
        """
        reuse, conflict = (
            WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            WorkflowIDConflictPolicy.TERMINATE_EXISTING,
        )
        await self._start(receipt, resume=True, reuse=reuse, first=None, conflict=conflict)

    async def look_at(self, event_id: EventId) -> RunLook:
        """The condition of the receipt's run, and since when its task waits.

        Raises:
            RPCError: Temporal does not answer.
        """
        described = await run_lookup.describe_run(self._client, event_id)
        return run_lookup.look_from(described)

    async def find_unexpectedly_closed(
        self, since: datetime, *, limit: int
    ) -> AsyncIterator[EventId]:
        """The receipts whose runs closed since then while their search attributes said "open".

        Raises:
            RPCError: Temporal does not answer.
        """
        if MG_STATE.name not in self._registered.names:
            return  # the reconciler's sweep finds them
        async for event_id in run_lookup.find_unexpectedly_closed(self._client, since, limit=limit):
            yield event_id

    async def find_missing_runs(self, event_ids: Sequence[EventId]) -> MissingRuns:
        """The receipts among these that have no open run.

        A few are checked per call; the caller asks again for the rest.

        Raises:
            RPCError: Temporal does not answer.
        """
        return await run_lookup.find_missing_runs(self._client, event_ids)

    async def last_polled_by(self, identity: str, queue: str = TASK_QUEUE) -> datetime | None:
        """When that worker last polled the queue for workflow tasks, by Temporal's clock.

        None: it never did, or long ago.

        Raises:
            RPCError: Temporal does not answer.
        """
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        described = await self._client.workflow_service.describe_task_queue(
            request, timeout=RPC_SECONDS
        )
        polled = [
            poller.last_access_time.ToDatetime(UTC)
            for poller in described.pollers
            if poller.identity == identity
        ]
        return max(polled, default=None)

    async def _signal(self, receipt: Receipt, signals: Sequence[Signal]) -> None:
        handle = self._client.get_workflow_handle(workflow_id(receipt.event_id))
        for signal in signals:
            try:
                await handle.signal(signal_name(signal), signal, rpc_timeout=RPC_SECONDS)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                # The run has closed, or is gone. A run that resumes loads the stored state and
                # needs no further signal.
                await self.ensure_running(receipt)
                return

    async def _start(
        self,
        receipt: Receipt,
        *,
        resume: bool,
        reuse: WorkflowIDReusePolicy,
        first: Signal | None,
        conflict: WorkflowIDConflictPolicy = WorkflowIDConflictPolicy.UNSPECIFIED,
    ) -> None:
        """Start a run.

        `first` is sent with the start, or to the open run; without it an open run is an error.
        """
        start_signal: dict[str, Any] = {}  # Any: the library's own keywords
        if first is not None:
            start_signal = {"start_signal": signal_name(first), "start_signal_args": [first]}

        async def start(labels: Labels, registered: Registered) -> None:
            unregistered = tuple(sorted(set(SEARCH_ATTRIBUTES) - registered.names))
            await self._client.start_workflow(
                ReceiptWorkflow.run,
                ReceiptInput(
                    receipt.event_id,
                    receipt.project_id,
                    receipt.deadline_at,
                    resume,
                    unregistered=unregistered,
                    expected=receipt.state is ReceiptState.EXPECTED,
                ),
                id=workflow_id(receipt.event_id),
                task_queue=TASK_QUEUE,
                task_timeout=TASK_SECONDS,
                id_reuse_policy=reuse,
                id_conflict_policy=conflict,
                rpc_timeout=RPC_SECONDS,
                **labels,
                **start_signal,
            )

        await start_labelled(start, receipt, self._registered, public_url=self._public_url)
