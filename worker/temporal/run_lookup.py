"""Looks up the runs of receipts in Temporal: open, missing, closed too early, or stuck.

Visibility is cheap but lags behind; describing a run is exact. So visibility selects suspects, and
a description decides. Called by `worker.temporal.workflow_client`.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from temporalio.api.enums.v1 import PendingWorkflowTaskState
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from domain.ids import EventId
from domain.temporal.runs import RunCondition, RunLook
from domain.values.timestamps import to_iso
from worker.temporal.problems import REFUSED, RPC_SECONDS
from workflows.messages import workflow_id
from workflows.search_attributes import MG_STATE

LISTED_AT_ONCE = 100
DESCRIBED_AT_ONCE = 50
UNANSWERED_AT_ONCE = 3  # each takes some seconds
# The first attempt may be taken by a worker that dies, the second by the next one. A third shows
# that no worker can do the task.
FAILING_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class MissingRuns:
    """The receipts found without an open run.

    Those from `first_unchecked` on, in the given order, were not checked.
    """

    found: list[EventId]
    first_unchecked: EventId | None


async def describe_run(client: Client, event_id: EventId) -> WorkflowExecutionDescription | None:
    """The receipt's latest run; None when there is none.

    Raises:
        RPCError: Temporal does not answer.
    """
    try:
        return await client.get_workflow_handle(workflow_id(event_id)).describe(
            rpc_timeout=RPC_SECONDS
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


def look_from(described: WorkflowExecutionDescription | None) -> RunLook:
    """The condition of a described run, and when its task was scheduled."""
    if described is None or described.status is not WorkflowExecutionStatus.RUNNING:
        return RunLook(RunCondition.MISSING)
    if not described.raw_description.HasField("pending_workflow_task"):
        return RunLook(RunCondition.GOES_ON)
    task = described.raw_description.pending_workflow_task
    if task.attempt >= FAILING_ATTEMPTS:
        return RunLook(RunCondition.TASK_FAILS)
    is_taken = task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
    condition = RunCondition.TASK_RUNS if is_taken else RunCondition.TASK_WAITS
    return RunLook(condition, task.original_scheduled_time.ToDatetime(tzinfo=UTC))


async def find_unexpectedly_closed(
    client: Client, since: datetime, *, limit: int
) -> AsyncIterator[EventId]:
    """The receipts whose runs closed since then while their search attributes said "open".

    Raises:
        RPCError: Temporal does not answer.
    """
    is_closed = "ExecutionStatus NOT IN ('Running', 'ContinuedAsNew')"
    was_open = f"{MG_STATE.name} IN ('expected', 'waiting', 'incident')"
    query = (
        f"WorkflowType = 'receipt' AND {is_closed} AND {was_open} AND CloseTime >="
        f" '{to_iso(since)}'"
    )
    async for found in client.list_workflows(query, limit=limit, rpc_timeout=RPC_SECONDS):
        yield EventId(found.id.removeprefix("receipt-"))


async def find_missing_runs(client: Client, event_ids: Sequence[EventId]) -> MissingRuns:
    """The receipts among these that have no open run.

    A few are checked per call; the caller asks again for the rest.

    Raises:
        RPCError: Temporal does not answer.
    """
    suspects: list[EventId] = []
    for first in range(0, len(event_ids), LISTED_AT_ONCE):
        suspects += await _not_visibly_running(client, event_ids[first : first + LISTED_AT_ONCE])
    found: list[EventId] = []
    unanswered = 0
    for index, event_id in enumerate(suspects):
        if index == DESCRIBED_AT_ONCE or unanswered == UNANSWERED_AT_ONCE:
            return MissingRuns(found=found, first_unchecked=event_id)
        try:
            described = await describe_run(client, event_id)
        except RPCError:
            # Visibility has just answered, so the fault may be this run's alone. The others are
            # still checked.
            unanswered += 1
            continue
        if described is None or described.status is not WorkflowExecutionStatus.RUNNING:
            found.append(event_id)
    return MissingRuns(found=found, first_unchecked=None)


async def _not_visibly_running(client: Client, event_ids: Sequence[EventId]) -> list[EventId]:
    ids = ", ".join(f"'{workflow_id(event_id)}'" for event_id in event_ids)
    query = f"ExecutionStatus = 'Running' AND WorkflowId IN ({ids})"
    try:
        # A count reads no rows, and usually shows that all are running.
        if (await client.count_workflows(query, rpc_timeout=RPC_SECONDS)).count == len(event_ids):
            return []
        found = {run.id async for run in client.list_workflows(query, rpc_timeout=RPC_SECONDS)}
    except RPCError as error:
        if error.status not in REFUSED:
            raise
        # Without visibility each receipt is a suspect, and is described.
        return list(event_ids)
    return [event_id for event_id in event_ids if workflow_id(event_id) not in found]
