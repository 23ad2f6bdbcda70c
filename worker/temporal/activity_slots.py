"""Limits concurrent activities by purpose and by project.

Alerts and lifecycle activities have slots of their own, as callbacks have.

A silent mail server, or a project whose rows are locked, uses up its own slots only.

1. An activity without a free slot ends at once, and Temporal retries it after a delay.
2. A local activity blocks a workflow task. It waits for a slot while the project's slots move.

Built by `worker.build`.
"""

from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.messages import AlertsSent
from activities.slots import CallbackSlots, SlotLimits, SlotsExhausted
from domain.ids import EventId, ProjectId
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.state import project_of

# Fewer than the pool for writing has: an activity that waits for a row lock uses a connection.
LIFECYCLE_LIMITS = SlotLimits(
    total=4,
    per_project=2,
    per_host=4,
    retry_after_seconds=0.25,
    retry_spacing_seconds=(0.005, 0.05, 1.0),
)
# An alert without a free slot is soon sent by the alert retry loop.
ALERT_LIMITS = SlotLimits(total=40, per_project=20, per_host=40)
# A local activity times out after 3 s. The workflow then runs it as an ordinary activity.
LOCAL_WAIT_SECONDS = 2.0
LOCAL_STUCK_SECONDS = 0.5
CACHED_PROJECTS = 10_000
NO_SLOT = "no_slot"
# Callbacks acquire their own slots once they know the host.
CALLBACK_ACTIVITY = "send_callback"
ALERT_ACTIVITY = "send_alerts"


class ActivitySlots(Interceptor):
    """Acquires a slot for every activity.

    The first argument's `event_id` names the receipt, and so the project.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self.lifecycle = CallbackSlots(LIFECYCLE_LIMITS, clock)
        self.alerts = CallbackSlots(ALERT_LIMITS, clock)
        self._database = database
        self._projects: OrderedDict[str, ProjectId] = OrderedDict()  # by event

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _SlotInterceptor(next, self)

    async def project_of(self, event_id: str) -> ProjectId:
        """The receipt's project. All unknown receipts count as one project's."""
        known = self._projects.get(event_id)
        if known is not None:
            return known
        async with self._database.key_lookup() as session:
            found = await project_of(SessionStatements(session), EventId(event_id))
        if found is None:
            return ProjectId("")
        self._projects[event_id] = found
        if len(self._projects) > CACHED_PROJECTS:
            self._projects.popitem(last=False)
        return found


class _SlotInterceptor(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, slots: ActivitySlots) -> None:
        super().__init__(next)
        self._slots = slots

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # Any: the library's own
        """Run the activity in a slot and return its result.

        Raises:
            ApplicationError: no slot is free. Temporal retries the activity after the delay.
        """
        info = activity.info()
        if info.activity_type == CALLBACK_ACTIVITY:
            return await super().execute_activity(input)
        event_id = input.args[0].event_id
        project_id = await self._slots.project_of(event_id)
        try:
            if info.is_local:
                waiting = {"seconds": LOCAL_WAIT_SECONDS, "stuck_seconds": LOCAL_STUCK_SECONDS}
                async with self._slots.lifecycle.wait_for_slot(project_id, **waiting):
                    return await super().execute_activity(input)
            slots = (
                self._slots.alerts
                if info.activity_type == ALERT_ACTIVITY
                else self._slots.lifecycle
            )
            with slots.acquire(event_id, project_id):
                return await super().execute_activity(input)
        except SlotsExhausted as full:
            if info.activity_type == ALERT_ACTIVITY:
                return AlertsSent(sent=0, failed=0)
            delay = timedelta(seconds=full.seconds)
            raise ApplicationError(
                "no slot is free for this project",
                type=NO_SLOT,
                next_retry_delay=delay,
                category=ApplicationErrorCategory.BENIGN,
            ) from None
