"""Tells Temporal what the store holds: the only code that starts, signals and looks up `receipt` workflows.

It reads and writes no store: it is handed a receipt as stored and the outbox rows about it, and returns once Temporal has taken
them. "Already closed" is done only for a receipt that has ended in the store too; otherwise a run is started that first asks the
store where it stands. Called by `worker.loops.dispatch` and `worker.loops.reconcile`.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.enums.v1 import PendingWorkflowTaskState, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from domain.ids import EventId
from domain.receipts import Receipt, ReceiptState
from domain.runs import RunCondition
from domain.values.timestamps import to_iso
from store.receipts.outbox import OutboxBatch
from worker.temporal.connect import Prepared, prepare_namespace, read_namespace_id
from worker.temporal.problems import REFUSED, RPC_SECONDS, NotConnected
from worker.temporal.search_attributes import ALL, SEARCH_ATTRIBUTES, Registered
from worker.temporal.signals import Signal, as_one, is_whole_life, name_of, signal_of
from worker.temporal.workflow_labels import Labels, start_labelled
from workflows.messages import (
    MG_STATE,
    TASK_QUEUE,
    ExpireSignal,
    ReceiptInput,
    workflow_id,
)
from workflows.receipt import ReceiptWorkflow

# Ten seconds by default, and a task that was lost costs that much.
TASK_SECONDS = timedelta(seconds=5)
LISTED_AT_ONCE = 100
DESCRIBED_AT_ONCE = 50
UNANSWERED_AT_ONCE = 3  # each takes some seconds
# The first is taken by a worker that dies, the second by the next; a third says that no worker can do it.
FAILING_ATTEMPTS = 3
ENDED = frozenset({ReceiptState.APPLIED, ReceiptState.RECOVERED, ReceiptState.CLOSED})


@dataclass(frozen=True, slots=True)
class MissingRuns:
    """The receipts found without a run; from `first_left` on, in the order that was asked, they were not looked at."""

    found: list[EventId]
    first_left: EventId | None


class ReceiptWorkflowClient:
    """What the worker's loops say to Temporal. `public_url` is where a receipt's page is linked to.

    `client` None: there is no connection yet, and every call fails as it does while Temporal is away.
    `owns_namespace`: nothing but Makegood lives in the namespace.
    """

    def __init__(self, client: Client | None, *, public_url: str, owns_namespace: bool) -> None:
        self._attached = client
        self._public_url = public_url
        self._owns_namespace = owns_namespace
        self._registered: Registered = ALL

    def attach(self, client: Client | None, registered: Registered = ALL) -> None:
        """From now on, speak through this client, in a namespace that has these attributes; None: there is no connection."""
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
        """Register what the namespace needs, and send from now on what it has: see `worker.temporal.connect`.

        Raises:
            NotConnected.
            TemporalProblem: the namespace cannot be used.
        """
        prepared = await prepare_namespace(self._client, is_ours=self._owns_namespace)
        self._registered = prepared.registered
        return prepared

    async def namespace_id(self) -> str:
        """The id that another Temporal database does not have."""
        return await read_namespace_id(self._client)

    async def start_or_signal(self, event: OutboxBatch) -> None:
        """Tell one receipt's workflow everything that waits in the outbox for it, in order; twice changes nothing.

        Raises:
            RPCError: Temporal does not answer, or refuses; nothing, or only some, was told.
        """
        if any(row.kind == "restart" for row in event.rows):
            # The new run asks the store, and needs none of the signals.
            await self.restart(event.receipt)
            return
        told = [signal_of(row) for row in event.rows if row.kind != "start"]
        is_started = len(told) == len(event.rows)
        signals = as_one(event.receipt, told)
        if is_started:
            await self._tell(event.receipt, signals)
            return
        first = signals[0] if is_whole_life(event.receipt, signals) else None
        has_moved_on = event.receipt.state is not ReceiptState.WAITING and first is None
        try:
            await self._start(event.receipt, resume=has_moved_on, reuse=WorkflowIDReusePolicy.REJECT_DUPLICATE, first=first)
        except WorkflowAlreadyStartedError:
            await self._tell(event.receipt, signals)
            if not signals:
                await self.wake(event.receipt)
            return
        if first is None and not has_moved_on:
            await self._tell(event.receipt, signals)

    async def wake(self, receipt: Receipt) -> None:
        """Make sure that a receipt which has not ended has a run, and that the run looks at the store's deadline now.

        Raises:
            RPCError: Temporal does not answer, or refuses.
        """
        if receipt.state in ENDED:
            return
        reuse = WorkflowIDReusePolicy.ALLOW_DUPLICATE
        await self._start(receipt, resume=True, reuse=reuse, first=ExpireSignal())

    async def restart(self, receipt: Receipt) -> None:
        """End the receipt's run, if there is one, and start another, which goes on from where the store stands.

        Raises:
            RPCError: Temporal does not answer, or refuses.
        """
        reuse, conflict = WorkflowIDReusePolicy.ALLOW_DUPLICATE, WorkflowIDConflictPolicy.TERMINATE_EXISTING
        await self._start(receipt, resume=True, reuse=reuse, first=None, conflict=conflict)

    async def condition_of(self, event_id: EventId, *, untaken_since: datetime) -> RunCondition:
        """How the receipt's run is doing, by Temporal itself; a task of `untaken_since` or before counts as not taken.

        Raises:
            RPCError: Temporal does not answer.
        """
        described = await self._describe(event_id)
        if described is None or described.status is not WorkflowExecutionStatus.RUNNING:
            return RunCondition.MISSING
        if not described.raw_description.HasField("pending_workflow_task"):
            return RunCondition.GOES_ON
        task = described.raw_description.pending_workflow_task
        if task.attempt >= FAILING_ATTEMPTS:
            return RunCondition.TASK_FAILS
        is_taken = task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
        if is_taken:
            return RunCondition.TASK_RUNS
        is_old = task.original_scheduled_time.ToDatetime(tzinfo=UTC) <= untaken_since
        return RunCondition.TASK_NOT_TAKEN if is_old else RunCondition.TASK_WAITS

    async def find_unexpectedly_closed(self, since: datetime, *, limit: int) -> AsyncIterator[EventId]:
        """The receipts whose runs closed since then, by Temporal's visibility, and did not say that the receipt had ended.

        Raises:
            RPCError: Temporal does not answer.
        """
        if MG_STATE.name not in self._registered.names:
            return  # the sweep finds them
        is_closed = "ExecutionStatus NOT IN ('Running', 'ContinuedAsNew') AND MgState IN ('waiting', 'incident')"
        query = f"WorkflowType = 'receipt' AND {is_closed} AND CloseTime >= '{to_iso(since)}'"
        async for found in self._client.list_workflows(query, limit=limit, rpc_timeout=RPC_SECONDS):
            yield EventId(found.id.removeprefix("receipt-"))

    async def find_missing_runs(self, event_ids: Sequence[EventId]) -> MissingRuns:
        """Those of the receipts that have no open run; a few at a time, what is left is to be asked for again.

        Visibility runs behind and is cheap, the engine itself knows: the first names suspects, the second decides.

        Raises:
            RPCError: Temporal does not answer.
        """
        suspects: list[EventId] = []
        for first in range(0, len(event_ids), LISTED_AT_ONCE):
            suspects += await self._not_seen_running(event_ids[first : first + LISTED_AT_ONCE])
        found: list[EventId] = []
        unanswered = 0
        for place, event_id in enumerate(suspects):
            if place == DESCRIBED_AT_ONCE or unanswered == UNANSWERED_AT_ONCE:
                return MissingRuns(found=found, first_left=event_id)
            try:
                described = await self._describe(event_id)
            except RPCError:
                # Visibility has just answered: what is wrong may be wrong with this one alone, and keeps back no other.
                unanswered += 1
                continue
            if described is None or described.status is not WorkflowExecutionStatus.RUNNING:
                found.append(event_id)
        return MissingRuns(found=found, first_left=None)

    async def last_polled_by(self, identity: str, queue: str = TASK_QUEUE) -> datetime | None:
        """When the engine last heard that worker ask for workflow tasks there, by the engine's clock; None: never, or long ago.

        Raises:
            RPCError: Temporal does not answer.
        """
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        described = await self._client.workflow_service.describe_task_queue(request, timeout=RPC_SECONDS)
        heard = [poller.last_access_time.ToDatetime(UTC) for poller in described.pollers if poller.identity == identity]
        return max(heard, default=None)

    async def _not_seen_running(self, event_ids: Sequence[EventId]) -> list[EventId]:
        ids = ", ".join(f"'{workflow_id(event_id)}'" for event_id in event_ids)
        query = f"ExecutionStatus = 'Running' AND WorkflowId IN ({ids})"
        try:
            # A count reads no rows, and mostly says that nothing is wrong.
            if (await self._client.count_workflows(query, rpc_timeout=RPC_SECONDS)).count == len(event_ids):
                return []
            found = {run.id async for run in self._client.list_workflows(query, rpc_timeout=RPC_SECONDS)}
        except RPCError as error:
            if error.status not in REFUSED:
                raise
            # Without visibility each is a suspect, and is looked at by itself.
            return list(event_ids)
        return [event_id for event_id in event_ids if workflow_id(event_id) not in found]

    async def _describe(self, event_id: EventId) -> WorkflowExecutionDescription | None:
        try:
            return await self._client.get_workflow_handle(workflow_id(event_id)).describe(rpc_timeout=RPC_SECONDS)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise

    async def _tell(self, receipt: Receipt, signals: Sequence[Signal]) -> None:
        handle = self._client.get_workflow_handle(workflow_id(receipt.event_id))
        for signal in signals:
            try:
                await handle.signal(name_of(signal), signal, rpc_timeout=RPC_SECONDS)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                # Closed, or gone. A run that resumes asks the store, and needs none of the other signals.
                await self.wake(receipt)
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
        """`first` is told with the start, and to a run that exists; without it an existing run is an error."""
        told: dict[str, Any] = {}  # Any: the library's own keywords
        if first is not None:
            told = {"start_signal": name_of(first), "start_signal_args": [first]}

        async def start(labels: Labels, registered: Registered) -> None:
            unregistered = tuple(sorted(set(SEARCH_ATTRIBUTES) - registered.names))
            await self._client.start_workflow(
                ReceiptWorkflow.run,
                ReceiptInput(receipt.event_id, receipt.project_id, receipt.deadline_at, resume, unregistered=unregistered),
                id=workflow_id(receipt.event_id),
                task_queue=TASK_QUEUE,
                task_timeout=TASK_SECONDS,
                id_reuse_policy=reuse,
                id_conflict_policy=conflict,
                rpc_timeout=RPC_SECONDS,
                **labels,
                **told,
            )

        await start_labelled(start, receipt, self._registered, public_url=self._public_url)
