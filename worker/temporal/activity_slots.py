"""Divides the worker's activity slots by purpose and by project: mail and the ledger have places, as callbacks have their own.

An activity that finds no place gives its slot back at once, and Temporal runs it again when it is its turn; so a silent mail
server, or a project whose rows are locked, holds its own places and nobody else's. A local activity has a workflow's task behind
it, and waits for its place while the project's places move. Built by `worker.build`.
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

# Fewer than the store has connections: who waits for a locked row holds one.
LEDGER = SlotLimits(total=4, per_project=2, per_host=4, retry_after_seconds=0.25, retry_spacing_seconds=(0.005, 0.05, 1.0))
# What finds none is sent by the alert loop, soon.
ALERTS = SlotLimits(total=40, per_project=20, per_host=40)
# A local activity has 3 s, and falls back on an activity.
LOCAL_WAIT_SECONDS = 2.0
LOCAL_STUCK_SECONDS = 0.5
REMEMBERED_AT_MOST = 10_000
NO_PLACE = "no_place"
# These have places of their own, which they take once they know the host.
CALLBACK_ACTIVITY = "send_callback"
ALERT_ACTIVITY = "send_alerts"


class Purposes(Interceptor):
    """Gives every activity its place; every one is about one receipt, its first argument's `event_id`."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self.ledger = CallbackSlots(LEDGER, clock)
        self.alerts = CallbackSlots(ALERTS, clock)
        self._database = database
        self._projects: OrderedDict[str, ProjectId] = OrderedDict()  # by event

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _InPlace(next, self)

    async def project_of(self, event_id: str) -> ProjectId:
        """Whose receipt it is; all that are unknown count as one project's."""
        known = self._projects.get(event_id)
        if known is not None:
            return known
        async with self._database.key_lookup() as session:
            found = await project_of(SessionStatements(session), EventId(event_id))
        if found is None:
            return ProjectId("")
        self._projects[event_id] = found
        if len(self._projects) > REMEMBERED_AT_MOST:
            self._projects.popitem(last=False)
        return found


class _InPlace(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, purposes: Purposes) -> None:
        super().__init__(next)
        self._purposes = purposes

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # Any: the library's own
        """What the activity answers.

        Raises:
            ApplicationError: there is no place now; Temporal runs it again after the delay.
        """
        info = activity.info()
        if info.activity_type == CALLBACK_ACTIVITY:
            return await super().execute_activity(input)
        event_id = input.args[0].event_id
        project_id = await self._purposes.project_of(event_id)
        try:
            if info.is_local:
                waiting = {"seconds": LOCAL_WAIT_SECONDS, "stuck_seconds": LOCAL_STUCK_SECONDS}
                async with self._purposes.ledger.wait_for_slot(project_id, **waiting):
                    return await super().execute_activity(input)
            places = self._purposes.alerts if info.activity_type == ALERT_ACTIVITY else self._purposes.ledger
            with places.acquire(event_id, project_id):
                return await super().execute_activity(input)
        except SlotsExhausted as full:
            if info.activity_type == ALERT_ACTIVITY:
                return AlertsSent(sent=0, failed=0)
            delay = timedelta(seconds=full.seconds)
            raise ApplicationError(
                "as many of this project as may be are under way",
                type=NO_PLACE,
                next_retry_delay=delay,
                category=ApplicationErrorCategory.BENIGN,
            ) from None
