"""Runs one bulk repair: one step after another until nothing is left to do.

The database is the source of truth: each step reads the bulk repair's row and its items. The signal
`changed` only ends a wait early. A bulk repair that is paused, or waits for results, holds no
worker.
"""

from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.bulk.step import BulkActivities
    from activities.messages import BULK_HEARTBEAT, BulkOrder, BulkStep

BULK_TASK_QUEUE = "makegood-bulk"
BULK_REPAIR = "bulk-repair"
STEP_TIMEOUT = timedelta(seconds=60)
# Without a limit: the store may be unavailable for hours.
STEP_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30)
)
# A run then continues as new, with a short history.
STEPS_OF_A_RUN = 100


def bulk_workflow_id(bulk_id: str) -> str:
    """The id of a bulk repair's workflow. It never changes."""
    return f"bulk-{bulk_id}"


@workflow.defn(name=BULK_REPAIR)
class BulkRepairWorkflow:
    """One bulk repair, until everything that it began is decided."""

    def __init__(self) -> None:
        self._is_changed = False

    @workflow.run
    async def run(self, order: BulkOrder) -> BulkStep:
        """Take steps until the last one. The result adds up the steps of this run."""
        begun = settled = 0
        for _ in range(STEPS_OF_A_RUN):
            self._is_changed = False
            step = await workflow.execute_activity_method(
                BulkActivities.step_bulk_repair,
                order,
                start_to_close_timeout=STEP_TIMEOUT,
                heartbeat_timeout=BULK_HEARTBEAT,
                retry_policy=STEP_RETRIES,
                summary="Record outcomes, decide, and begin the next repairs",
            )
            begun, settled = begun + step.begun, settled + step.settled
            if step.is_done:
                return BulkStep(is_done=True, begun=begun, settled=settled)
            await self._wait(timedelta(milliseconds=step.wait_ms))
            if workflow.info().is_continue_as_new_suggested():
                break
        workflow.continue_as_new(order)

    @workflow.signal(description="The bulk repair was changed (sent by Makegood): look at it now.")
    def changed(self, *payloads: object) -> None:
        self._is_changed = True

    async def _wait(self, delay: timedelta) -> None:
        """Wait for the next step, or until the bulk repair is changed."""
        if delay <= timedelta():
            return
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._is_changed, timeout=delay, timeout_summary="Until the next step"
            )
