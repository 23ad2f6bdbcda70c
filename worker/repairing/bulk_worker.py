"""Temporal's worker that runs bulk repairs, on a task queue of its own.

A bulk repair of thousands takes up its slots and polls, and nothing of the receipts'. Built by
`worker.build`.
"""

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.bulk.step import BulkActivities
from worker.temporal.receipt_worker import GRACE_SECONDS, HEARTBEAT_THROTTLE, STICKY_SECONDS
from workflows.bulk_repair import BULK_TASK_QUEUE, BulkRepairWorkflow

# More than the slots of steps: a step without a slot ends at once.
ACTIVITIES_AT_ONCE = 12
MAX_CACHED_WORKFLOWS = 50
POLLS = 2


def build_bulk_worker(client: Client, bulk: BulkActivities) -> Worker:
    """The worker of one process."""
    return Worker(
        client,
        task_queue=BULK_TASK_QUEUE,
        workflows=[BulkRepairWorkflow],
        activities=[bulk.step_bulk_repair],
        # As for receipts: tests replay the histories in the sandbox.
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=MAX_CACHED_WORKFLOWS,
        max_concurrent_activities=ACTIVITIES_AT_ONCE,
        max_concurrent_workflow_task_polls=POLLS,
        max_concurrent_activity_task_polls=POLLS,
        sticky_queue_schedule_to_start_timeout=STICKY_SECONDS,
        graceful_shutdown_timeout=GRACE_SECONDS,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
    )
