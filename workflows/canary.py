"""The smallest workflow: that it completes proves that engine, task queue and a worker work together.

Run by `worker.heartbeat` every half minute; it touches nothing.
"""

from temporalio import workflow


@workflow.defn(name="canary")
class CanaryWorkflow:
    """Completes at once."""

    @workflow.run
    async def run(self) -> None:
        """Nothing to do but to be run."""
