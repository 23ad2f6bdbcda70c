"""The services of a worker process that need only the store, and how they run.

Built by `worker.build`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from activities.alerts.send import AlertActivities
from activities.callback.send import CallbackActivities
from activities.slots import CallbackSlots
from worker.groups.adoption import GroupAdoption
from worker.groups.alerts import GroupAlerts
from worker.loops.alert_retries import alert_retry_loop
from worker.loops.overdue import OverdueOpener
from worker.loops.reconcile import Reconciler
from worker.overview.loops import OverviewLoops
from worker.repairing.holds import HoldReleases
from worker.repairing.rules import RuleRepairs
from worker.sources.early_results import EarlyResultAlerts
from worker.sources.health import SourceHealth
from worker.temporal.workflow_client import ReceiptWorkflowClient
from worker.triage.quiet_times import QuietTimes

# A bulk repair, an ended hold and a due rule are found within a second, each by an index.
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StoreServices:
    """The services that need only the store: the reconciler, late incidents, alert retries,
    the health of sources, alerts about early results, ends of holds, rules of automatic repair,
    ends of acknowledgements and snoozes, alerts and late members of groups, the counts of the
    overview and the silence of projects.

    `callback` is one of them because its attempts outlive Temporal's worker. `slots` are those of
    callbacks. `workflow_client` is attached to a connection later. Until then its calls fail as
    they do while Temporal is unavailable.
    """

    workflow_client: ReceiptWorkflowClient
    reconciler: Reconciler
    alerts: AlertActivities
    overdue: OverdueOpener
    health: SourceHealth
    early_results: EarlyResultAlerts
    holds: HoldReleases
    rules: RuleRepairs
    quiet_times: QuietTimes
    group_alerts: GroupAlerts
    group_adoption: GroupAdoption
    overview: OverviewLoops
    callback: CallbackActivities
    slots: CallbackSlots
    every_seconds: float

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Run the services during the block, then end them in order.

        The task ends early if a service fails.
        """
        every_seconds = self.every_seconds
        reconciling = asyncio.create_task(self.reconciler.run())
        loops = (
            alert_retry_loop(self.alerts, every_seconds=every_seconds),
            self.overdue.overdue_loop(every_seconds=every_seconds),
            self.health.health_loop(every_seconds=every_seconds),
            self.early_results.alert_loop(every_seconds=every_seconds),
            self.holds.release_loop(every_seconds=min(every_seconds, LOOK_SECONDS)),
            self.rules.rule_loop(every_seconds=min(every_seconds, LOOK_SECONDS)),
            self.quiet_times.loop(every_seconds=every_seconds),
            self.group_alerts.window_loop(every_seconds=every_seconds),
            self.group_adoption.adoption_loop(every_seconds=every_seconds),
            self.overview.loop(every_seconds=every_seconds),
        )
        endless = [asyncio.create_task(loop) for loop in loops]
        whole = asyncio.create_task(first_failure([reconciling, *endless]))
        try:
            yield whole
        finally:
            self.reconciler.stop()
            for task in endless:
                task.cancel()
            await asyncio.gather(reconciling, *endless, whole, return_exceptions=True)
            await self.callback.end()


async def first_failure(tasks: list[asyncio.Task[None]]) -> None:
    """Return when one of the tasks ends, or raise its error."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
