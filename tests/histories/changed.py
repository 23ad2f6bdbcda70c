"""Releases that change the `receipt` workflow's commands: two without `patched`, one with it."""

import asyncio
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.lifecycle import LifecycleActivities
    from activities.messages import ReadStatus
    from workflows.messages import ReceiptEnded
    from workflows.receipt import ReceiptWorkflow


@workflow.defn(name="receipt")
class WithOneMoreTimer(ReceiptWorkflow):
    """Starts a timer before it begins."""

    @workflow.init
    def __init__(self, *start: object) -> None:
        super().__init__(*start)

    @workflow.run
    async def run(self, *start: object) -> ReceiptEnded:
        await asyncio.sleep(0.01)
        return await super().run(*start)


@workflow.defn(name="receipt")
class WithOneMoreActivity(ReceiptWorkflow):
    """Loads the status before it begins."""

    @workflow.init
    def __init__(self, *start: object) -> None:
        super().__init__(*start)

    @workflow.run
    async def run(self, *start: object) -> ReceiptEnded:
        request, timeout = ReadStatus(self._start.event_id), timedelta(seconds=5)
        await workflow.execute_activity_method(
            LifecycleActivities.load_status, request, start_to_close_timeout=timeout
        )
        return await super().run(*start)


@workflow.defn(name="receipt")
class WithOneMoreTimerPatchedIn(ReceiptWorkflow):
    """Starts the timer only in runs that begin with this release."""

    @workflow.init
    def __init__(self, *start: object) -> None:
        super().__init__(*start)

    @workflow.run
    async def run(self, *start: object) -> ReceiptEnded:
        if workflow.patched("a-moment-first"):
            await asyncio.sleep(0.01)
        return await super().run(*start)
