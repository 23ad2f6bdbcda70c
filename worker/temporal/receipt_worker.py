"""Temporal's worker that runs the workflows of receipts and their activities.

Built by `worker.build`.
"""

import time
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.alerts.send import AlertActivities
from activities.callback.send import CallbackActivities
from activities.lifecycle import LifecycleActivities
from store.db.database import Database
from worker.temporal.activity_slots import ActivitySlots
from workflows.messages import TASK_QUEUE
from workflows.receipt import ReceiptWorkflow

# About 130 KiB each. A workflow that is not cached replays its short history at its next task.
MAX_CACHED_WORKFLOWS = 500
# More than the slots of all purposes plus the activities that wait for another attempt in flight.
# The rest is for activities that find no slot and are retried.
ACTIVITIES_AT_ONCE = 320
# Each blocks a workflow task, of which a worker has as many.
LOCAL_ACTIVITIES_AT_ONCE = 100
# Temporal gives a task to a waiting poll at once. Without one it writes, reads and deletes the task
# in its database.
TASK_POLLS = 40
NEW_RUN_POLLS = 0.4  # share of polls for new runs; the others are for runs that are cached here
ACTIVITY_POLLS = 20
STICKY_SECONDS = timedelta(seconds=2)
# Part of the 10 s of the whole shutdown. The next worker sends an attempt again that is in flight
# when the process ends.
GRACE_SECONDS = timedelta(seconds=2)
HEARTBEAT_THROTTLE = timedelta(seconds=2)


def build_receipt_worker(
    client: Client,
    database: Database,
    *,
    lifecycle: LifecycleActivities,
    alerts: AlertActivities,
    callback: CallbackActivities,
) -> Worker:
    """The worker of one process."""
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[ReceiptWorkflow],
        activities=[
            lifecycle.load_status,
            lifecycle.open_incident,
            lifecycle.sync_state,
            lifecycle.begin_repair,
            lifecycle.fail_overdue_repair,
            lifecycle.note_dropped_request,
            alerts.send_alerts,
            callback.send_callback,
        ],
        # The sandbox imports the workflow module for each run and is entered for each payload,
        # which takes up to half of the process's CPU time. Tests replay all histories in the
        # sandbox, and ban clocks and random numbers from workflow modules.
        workflow_runner=UnsandboxedWorkflowRunner(),
        interceptors=[ActivitySlots(database, time.monotonic)],
        max_cached_workflows=MAX_CACHED_WORKFLOWS,
        max_concurrent_activities=ACTIVITIES_AT_ONCE,
        max_concurrent_local_activities=LOCAL_ACTIVITIES_AT_ONCE,
        max_concurrent_workflow_task_polls=TASK_POLLS,
        nonsticky_to_sticky_poll_ratio=NEW_RUN_POLLS,
        max_concurrent_activity_task_polls=ACTIVITY_POLLS,
        sticky_queue_schedule_to_start_timeout=STICKY_SECONDS,
        graceful_shutdown_timeout=GRACE_SECONDS,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
    )
