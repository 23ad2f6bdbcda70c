"""Tells Temporal what the store holds: the only code that starts, signals and looks up `receipt` workflows.

It reads and writes no store: it is handed a receipt as stored and the outbox rows about it, and returns once Temporal has taken
them. "Already closed" is done only for a receipt that has ended in the store too; otherwise a run is started that first asks the
store where it stands. Called by `worker.dispatch` and `worker.reconcile`.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from domain.ids import EventId
from domain.instants import wire
from domain.receipts import Receipt, ReceiptState
from domain.results import ResultStatus
from store.outbox import OutboxEvent, OutboxRow
from worker.connect import RPC_SECONDS, prepare_namespace, read_namespace_id
from workflows.messages import (
    MG_DEADLINE,
    MG_EFFECT,
    MG_EVENT_TYPE,
    MG_MODE,
    MG_PROJECT,
    MG_PROVIDER,
    MG_PROVIDER_EVENT_ID,
    MG_STATE,
    TASK_QUEUE,
    ExpireSignal,
    ReceiptInput,
    ReprocessSignal,
    ResolveSignal,
    ResultSignal,
    workflow_id,
)
from workflows.receipt import ReceiptWorkflow

# Ten seconds by default, and a task that was lost costs that much.
TASK_SECONDS = timedelta(seconds=5)
# The longest that Temporal's visibility keeps; one more and it refuses the start.
KEYWORD_CHARACTERS = 255
LISTED_AT_ONCE = 100
DESCRIBED_AT_ONCE = 50
ENDED = frozenset({ReceiptState.APPLIED, ReceiptState.RECOVERED, ReceiptState.CLOSED})

Signal = ResultSignal | ReprocessSignal | ResolveSignal | ExpireSignal


@dataclass(frozen=True, slots=True)
class WithoutRun:
    """The receipts found without a run; from `first_left` on, in the order that was asked, they were not looked at."""

    found: list[EventId]
    first_left: EventId | None


class Gateway:
    """What the worker's loops say to Temporal. `public_url` is where a receipt's page is linked to.

    `owns_namespace`: nothing but Makegood lives in the namespace.
    """

    def __init__(self, client: Client, *, public_url: str, owns_namespace: bool) -> None:
        self._client = client
        self._public_url = public_url
        self._owns_namespace = owns_namespace

    async def prepare_namespace(self) -> None:
        """Register what the namespace needs: see `worker.connect`."""
        await prepare_namespace(self._client, is_ours=self._owns_namespace)

    async def namespace_id(self) -> str:
        """The id that another Temporal database does not have."""
        return await read_namespace_id(self._client)

    async def start_or_tell(self, event: OutboxEvent) -> None:
        """Tell one receipt's workflow everything that waits in the outbox for it, in order; twice changes nothing.

        Raises:
            RPCError: Temporal does not answer, or refuses; nothing, or only some, was told.
        """
        told = [_signal_of(row) for row in event.rows if row.kind != "start"]
        is_started = len(told) == len(event.rows)
        signals = _as_one(event.receipt, told)
        if is_started:
            await self._tell(event.receipt, signals)
            return
        first = signals[0] if _is_whole_life(event.receipt, signals) else None
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

    async def closed_early(self, since: datetime, *, limit: int) -> AsyncIterator[EventId]:
        """The receipts whose runs closed since then, by Temporal's visibility, and did not say that the receipt had ended.

        Raises:
            RPCError: Temporal does not answer.
        """
        is_closed = "ExecutionStatus NOT IN ('Running', 'ContinuedAsNew') AND MgState IN ('waiting', 'incident')"
        query = f"WorkflowType = 'receipt' AND {is_closed} AND CloseTime >= '{wire(since)}'"
        async for found in self._client.list_workflows(query, limit=limit, rpc_timeout=RPC_SECONDS):
            yield EventId(found.id.removeprefix("receipt-"))

    async def without_run(self, event_ids: Sequence[EventId]) -> WithoutRun:
        """Those of the receipts that have no open run; a few at a time, what is left is to be asked for again.

        Visibility runs behind and is cheap, the engine itself knows: the first names suspects, the second decides.

        Raises:
            RPCError: Temporal does not answer.
        """
        suspects: list[EventId] = []
        for first in range(0, len(event_ids), LISTED_AT_ONCE):
            suspects += await self._not_seen_running(event_ids[first : first + LISTED_AT_ONCE])
        looked_at, left = suspects[:DESCRIBED_AT_ONCE], suspects[DESCRIBED_AT_ONCE:]
        found = [event_id for event_id in looked_at if not await self._is_running(event_id)]
        return WithoutRun(found=found, first_left=left[0] if left else None)

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
        # A count reads no rows, and mostly says that nothing is wrong.
        if (await self._client.count_workflows(query, rpc_timeout=RPC_SECONDS)).count == len(event_ids):
            return []
        found = {run.id async for run in self._client.list_workflows(query, rpc_timeout=RPC_SECONDS)}
        return [event_id for event_id in event_ids if workflow_id(event_id) not in found]

    async def _is_running(self, event_id: EventId) -> bool:
        try:
            described = await self._client.get_workflow_handle(workflow_id(event_id)).describe(rpc_timeout=RPC_SECONDS)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return described.status is WorkflowExecutionStatus.RUNNING

    async def _tell(self, receipt: Receipt, signals: Sequence[Signal]) -> None:
        handle = self._client.get_workflow_handle(workflow_id(receipt.event_id))
        for signal in signals:
            try:
                await handle.signal(_name_of(signal), signal, rpc_timeout=RPC_SECONDS)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                # Closed, or gone. A run that resumes asks the store, and needs none of the other signals.
                await self.wake(receipt)
                return

    async def _start(self, receipt: Receipt, *, resume: bool, reuse: WorkflowIDReusePolicy, first: Signal | None) -> None:
        """`first` is told with the start, and to a run that exists; without it an existing run is an error."""
        told: dict[str, Any] = {}  # Any: the library's own keywords
        if first is not None:
            told = {"start_signal": _name_of(first), "start_signal_args": [first]}
        await self._client.start_workflow(
            ReceiptWorkflow.run,
            ReceiptInput(receipt.event_id, receipt.project_id, receipt.deadline_at, resume),
            id=workflow_id(receipt.event_id),
            task_queue=TASK_QUEUE,
            task_timeout=TASK_SECONDS,
            id_reuse_policy=reuse,
            id_conflict_policy=WorkflowIDConflictPolicy.UNSPECIFIED,
            memo={"request_id": receipt.request_id},
            search_attributes=_search_attributes(receipt),
            static_summary=f"{receipt.provider} {receipt.event_type}: {receipt.effect_type}",
            static_details=_details(receipt, self._public_url),
            rpc_timeout=RPC_SECONDS,
            **told,
        )


def _is_whole_life(receipt: Receipt, signals: Sequence[Signal]) -> bool:
    """The usual life, told in one call: the receipt, and the success that applied it, and nothing else."""
    if receipt.state is not ReceiptState.APPLIED or len(signals) != 1:
        return False
    only = signals[0]
    return isinstance(only, ResultSignal) and only.status is ResultStatus.SUCCESS


def _as_one(receipt: Receipt, signals: Sequence[Signal]) -> Sequence[Signal]:
    """One signal in place of several: every signal means "re-read the store".

    The success that applied a waiting receipt stays itself, since it ends the run without a look at the store.
    """
    if len(signals) < 2:
        return signals
    successes = [signal for signal in signals if isinstance(signal, ResultSignal) and signal.status is ResultStatus.SUCCESS]
    return successes[:1] if receipt.state is ReceiptState.APPLIED and successes else [ExpireSignal()]


def _signal_of(row: OutboxRow) -> Signal:
    match row.kind:
        case "result":
            return ResultSignal(
                result_id=str(row.fields["result_id"]),
                status=ResultStatus(str(row.fields["status"])),
                replay_id=_text(row.fields.get("replay_id")),
            )
        case "reprocess":
            return ReprocessSignal(
                replay_id=_text(row.fields.get("replay_id")), requested_by=_text(row.fields.get("requested_by"))
            )
        case "resolve":
            return ResolveSignal(requested_by=_text(row.fields.get("requested_by")))
        case "expire":
            return ExpireSignal()
        case _:
            raise ValueError(f"the outbox row {row.id} is of an unknown kind")


def _name_of(signal: Signal) -> str:
    match signal:
        case ResultSignal():
            return "result"
        case ReprocessSignal():
            return "reprocess"
        case ResolveSignal():
            return "resolve"
        case ExpireSignal():
            return "expire"


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _search_attributes(receipt: Receipt) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(MG_PROJECT, receipt.project_id),
            SearchAttributePair(MG_MODE, "live" if receipt.livemode else "test"),
            SearchAttributePair(MG_STATE, receipt.state.value),
            SearchAttributePair(MG_PROVIDER, receipt.provider.value),
            SearchAttributePair(MG_EVENT_TYPE, receipt.event_type.value),
            SearchAttributePair(MG_EFFECT, receipt.effect_type.value),
            SearchAttributePair(MG_PROVIDER_EVENT_ID, receipt.provider_event_id[:KEYWORD_CHARACTERS]),
            SearchAttributePair(MG_DEADLINE, receipt.deadline_at),
        ]
    )


def _details(receipt: Receipt, public_url: str) -> str:
    return "\n".join(
        (
            f"[{receipt.event_id}]({public_url}/events/{receipt.event_id})",
            "",
            f"- project: `{receipt.project_id}`",
            f"- accepted: `{wire(receipt.accepted_at)}`",
            f"- result due: `{wire(receipt.timeout_at)}`",
        )
    )
