"""The smallest workflow: that it completes proves that engine, polls and worker work together.

Run by `worker.health.heartbeat` several times a minute, on a task queue that one process alone serves; it touches nothing.
"""

from temporalio import workflow


@workflow.defn(name="canary")
class CanaryWorkflow:
    """Completes at once."""

    @workflow.run
    async def run(self) -> None:
        """Nothing to do but to be run."""
