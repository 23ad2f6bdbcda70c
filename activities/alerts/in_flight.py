"""State of one process while it sends alerts, kept in memory.

1. `AlertsInFlight`: the alerts that it is sending.
2. `TimedOutDestinations`: destinations whose alerts timed out lately. With the first, it keeps one
   project from using every slot.
3. `PendingRecords`: outcomes that the store has not accepted yet. It keeps an alert from being
   sent twice while the store is unavailable.

Used by `activities.alerts.send`.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from activities.storing import Work, retry_until_stored, run_uncancelled
from domain.errors import Unavailable
from store.alerts.claims import SlotUsage
from store.alerts.due import AlertDue

log = structlog.get_logger(__name__)


class TimedOutDestinations:
    """The destinations whose alerts timed out lately, by project.

    A destination is forgotten `forget_seconds` after its last timeout.
    """

    def __init__(self, *, forget_seconds: float) -> None:
        self._forget_seconds = forget_seconds
        self._timed_out_at: dict[tuple[str, str], float] = {}  # monotonic clock

    def note(self, alert: AlertDue, *, is_silent: bool) -> None:
        """Record whether the channel got an answer for the alert, whatever it was."""
        if is_silent:
            self._timed_out_at[alert.project_id, alert.destination] = time.monotonic()
        else:
            self._timed_out_at.pop((alert.project_id, alert.destination), None)

    def by_project(self) -> dict[str, frozenset[str]]:
        """The destinations, by project."""
        since = time.monotonic() - self._forget_seconds
        self._timed_out_at = {key: at for key, at in self._timed_out_at.items() if at >= since}
        found: defaultdict[str, set[str]] = defaultdict(set)
        for project_id, destination in self._timed_out_at:
            found[project_id].add(destination)
        return {project_id: frozenset(names) for project_id, names in found.items()}


@dataclass(slots=True)
class AlertsInFlight:
    """The alerts that one sender is sending. One claim runs at a time."""

    alerts: dict[int, AlertDue] = field(default_factory=dict)
    claiming: asyncio.Lock = field(default_factory=asyncio.Lock)

    def add(self, alert: AlertDue) -> None:
        """Count the alert as being sent."""
        self.alerts[alert.alert_id] = alert

    def remove(self, alert: AlertDue) -> None:
        """Free the alert's slot."""
        self.alerts.pop(alert.alert_id, None)

    def slot_usage(
        self,
        timed_out: Mapping[str, frozenset[str]],
        *,
        of_each: int,
        beside: "AlertsInFlight",
    ) -> SlotUsage:
        """The slots in use now, for a claim. `of_each` is the limit of one project.

        The slots of destinations that timed out are shared with the other sender, `beside`.
        """
        sending = self.alerts.values()
        both = [*sending, *beside.alerts.values()]
        return SlotUsage(
            taken=Counter(alert.project_id for alert in sending),
            retried=sum(alert.tries > 0 for alert in sending),
            of_each=of_each,
            silent=timed_out,
            silent_taken=frozenset(
                alert.project_id
                for alert in both
                if alert.destination in timed_out.get(alert.project_id, frozenset())
            ),
        )


class PendingRecords:
    """Outcomes that are not stored yet, by alert. Each is retried for `keep_seconds`."""

    def __init__(self, *, keep_seconds: float) -> None:
        self._keep_seconds = keep_seconds
        self._tasks: dict[int, asyncio.Task[None]] = {}

    @property
    def alert_ids(self) -> set[int]:
        """The alerts whose outcome is not stored yet."""
        return set(self._tasks)

    async def record(self, alert_id: int, work: Work[None], *, wait_seconds: float) -> None:
        """Store the outcome of an alert, retrying while the store is unavailable.

        The caller waits up to `wait_seconds`, even if it is cancelled.

        Raises:
            Unavailable: it is not stored yet. The retries continue.
        """
        task = self._tasks[alert_id] = asyncio.create_task(self._record(alert_id, work))
        if await run_uncancelled(lambda: _has_ended(task, wait_seconds)):
            task.result()
            return
        task.add_done_callback(lambda _: _log_failure(task, alert_id))
        raise Unavailable

    async def _record(self, alert_id: int, work: Work[None]) -> None:
        try:
            await retry_until_stored(work, seconds=self._keep_seconds)
        finally:
            del self._tasks[alert_id]


async def _has_ended(task: asyncio.Task[None], seconds: float) -> bool:
    ended, _ = await asyncio.wait([task], timeout=seconds)
    return bool(ended)


def _log_failure(task: asyncio.Task[None], alert_id: int) -> None:
    """Log the failure of a record that nobody awaits."""
    if not task.cancelled() and (error := task.exception()) is not None:
        name = type(error).__name__
        log.error("alert_not_recorded", alert_id=alert_id, error=name, exc_info=error)
