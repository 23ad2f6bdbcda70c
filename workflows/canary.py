"""The smallest workflow: its completion proves that Temporal, polling and this worker work
together.

`worker.health.heartbeat` runs it several times a minute, on a task queue of this process alone.
"""

from temporalio import workflow


@workflow.defn(name="canary")
class CanaryWorkflow:
    """Completes at once."""

    @workflow.run
    async def run(self) -> None:
        """Do nothing."""
