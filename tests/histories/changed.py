"""Releases that change the commands of the `receipt` workflow, to be told apart by the tests: two that forgot `patched`, one that
did not.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.lifecycle import LifecycleActivities
    from activities.messages import ReadStanding
    from workflows.messages import ReceiptEnded
    from workflows.receipt import ReceiptWorkflow


@workflow.defn(name="receipt")
class WithOneMoreTimer(ReceiptWorkflow):
    """It takes a moment before it begins."""

    @workflow.init
    def __init__(self, *start: object) -> None:
        super().__init__(*start)

    @workflow.run
    async def run(self, *start: object) -> ReceiptEnded:
        await asyncio.sleep(0.01)
        return await super().run(*start)


@workflow.defn(name="receipt")
class WithOneMoreActivity(ReceiptWorkflow):
    """It asks where the receipt stands before it begins."""

    @workflow.init
    def __init__(self, *start: object) -> None:
        super().__init__(*start)

    @workflow.run
    async def run(self, *start: object) -> ReceiptEnded:
        await workflow.execute_activity_method(
            LifecycleActivities.load_standing, ReadStanding(self._start.event_id), start_to_close_timeout=timedelta(seconds=5)
        )
        return await super().run(*start)


@workflow.defn(name="receipt")
class WithOneMoreTimerPatchedIn(ReceiptWorkflow):
    """Only runs that begin with this release take the moment."""

    @workflow.init
    def __init__(self, *start: object) -> None:
        super().__init__(*start)

    @workflow.run
    async def run(self, *start: object) -> ReceiptEnded:
        if workflow.patched("a-moment-first"):
            await asyncio.sleep(0.01)
        return await super().run(*start)
