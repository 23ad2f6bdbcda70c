"""Temporal's worker that lists sources, on a task queue of its own.

A provider that hangs takes up its slots and polls, and nothing of the receipts'. Built by
`worker.build`.
"""

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.sources.listing import SourceActivities
from worker.temporal.receipt_worker import GRACE_SECONDS, HEARTBEAT_THROTTLE
from workflows.source_listing import SOURCE_TASK_QUEUE, SourceListingWorkflow

# More than the slots of listings: an activity without a slot ends at once.
ACTIVITIES_AT_ONCE = 40
MAX_CACHED_WORKFLOWS = 50
POLLS = 2


def build_listing_worker(client: Client, sources: SourceActivities) -> Worker:
    """The worker of one process."""
    return Worker(
        client,
        task_queue=SOURCE_TASK_QUEUE,
        workflows=[SourceListingWorkflow],
        activities=[sources.list_source],
        # As for receipts: tests replay the histories in the sandbox.
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=MAX_CACHED_WORKFLOWS,
        max_concurrent_activities=ACTIVITIES_AT_ONCE,
        max_concurrent_workflow_task_polls=POLLS,
        max_concurrent_activity_task_polls=POLLS,
        graceful_shutdown_timeout=GRACE_SECONDS,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
    )
