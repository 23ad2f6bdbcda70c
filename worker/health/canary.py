"""Runs the canary through this very process: on a task queue of its own, which no other worker serves.

Several workers share the queue of the receipts: a canary on that one would prove only that some worker lives. Whether this
process asks for receipts' tasks too is what `Gateway.last_polled_by` tells. Built by `worker.main`, run by
`worker.health.heartbeat`.
"""

from datetime import timedelta

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from worker.temporal.problems import RPC_SECONDS
from workflows.canary import CanaryWorkflow
from workflows.messages import TASK_QUEUE

# One that nobody ran is closed by the engine; the next one ends it before.
EXECUTION_TIMEOUT = timedelta(seconds=60)
TASK_TIMEOUT = timedelta(seconds=5)


def canary_queue(identity: str) -> str:
    """The task queue of one process's canaries."""
    return f"{TASK_QUEUE}-canary-{identity}"


def build_canary_worker(client: Client) -> Worker:
    """What runs this process's canaries: one poll, nothing cached."""
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
    """Return once this process has run a canary; how long that may take is the caller's to say.

    Raises:
        WorkflowFailureError: the engine took it, and nobody ran it.
        RPCError: the engine does not answer, or refuses.
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
