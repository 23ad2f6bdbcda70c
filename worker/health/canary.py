"""Runs canary workflows on a task queue that this process alone serves.

Several workers share the queue of the receipts, so a canary there would prove only that one of them
works. Whether this process also polls the receipts' queue is known from
`ReceiptWorkflowClient.last_polled_by`. Run by `worker.connection_loop`.
"""

from datetime import timedelta

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from worker.temporal.problems import RPC_SECONDS
from workflows.canary import CanaryWorkflow
from workflows.messages import TASK_QUEUE

# Temporal closes a canary that nobody ran. The next canary of this process terminates it before
# that.
EXECUTION_TIMEOUT = timedelta(seconds=60)
TASK_TIMEOUT = timedelta(seconds=5)


def canary_queue(identity: str) -> str:
    """The task queue of one process's canaries."""
    return f"{TASK_QUEUE}-canary-{identity}"


def build_canary_worker(client: Client) -> Worker:
    """The Temporal worker that runs this process's canaries: one poll, no workflow cache."""
    return Worker(
        client,
        task_queue=canary_queue(client.identity),
        workflows=[CanaryWorkflow],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=0,
        max_concurrent_workflow_tasks=1,
        max_concurrent_workflow_task_polls=1,
    )


async def run_canary(client: Client) -> None:
    """Start a canary and return once this process has run it. The caller sets the timeout.

    Raises:
        WorkflowFailureError: Temporal started it, and nobody ran it.
        RPCError: Temporal does not answer, or refuses.
    """
    handle = await client.start_workflow(
        CanaryWorkflow.run,
        id=f"canary-{client.identity}",
        task_queue=canary_queue(client.identity),
        execution_timeout=EXECUTION_TIMEOUT,
        task_timeout=TASK_TIMEOUT,
        id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
        rpc_timeout=RPC_SECONDS,
    )
    await handle.result()
