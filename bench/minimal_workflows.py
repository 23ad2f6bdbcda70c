"""The minimal workflow that opens and mails an incident: one timer and two empty activities.

Run by `bench.minimal_driver`.
"""

from datetime import datetime, timedelta

from temporalio import activity, workflow


@activity.defn(name="nothing")
async def nothing(number: int) -> int:
    return number


@workflow.defn(name="minimal_deadline")
class MinimalDeadline:
    """Waits until the instant, then runs the two activities."""

    @workflow.run
    async def run(self, due_at: datetime) -> None:
        await workflow.sleep(due_at - workflow.now())
        for number in (1, 2):
            await workflow.execute_activity(
                nothing, number, start_to_close_timeout=timedelta(seconds=5)
            )
