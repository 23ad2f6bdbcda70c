"""The mails that this process is sending, the addresses that were silent, and the mails that it has not recorded yet.

All live in the process alone: they keep one project from taking every place, and a mail from being sent twice while the store
is away. Used by `activities.alerts.send`.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from activities.storing import Work, finished, recorded
from domain.errors import Unavailable
from store.alerts.claims import Places
from store.alerts.delivery import AlertDue

log = structlog.get_logger(__name__)


class SilentAddresses:
    """The addresses whose mails timed out lately, by project; one that times out no more is forgotten after `forget_seconds`."""

    def __init__(self, *, forget_seconds: float) -> None:
        self._forget_seconds = forget_seconds
        self._silent_at: dict[tuple[str, str], float] = {}  # by the monotonic clock

    def note(self, alert: AlertDue, *, is_silent: bool) -> None:
        """A mail to its address timed out, or was answered, whatever the answer."""
        if is_silent:
            self._silent_at[alert.project_id, alert.destination] = time.monotonic()
        else:
            self._silent_at.pop((alert.project_id, alert.destination), None)

    def by_project(self) -> dict[str, frozenset[str]]:
        """The addresses of each project."""
        since = time.monotonic() - self._forget_seconds
        self._silent_at = {key: at for key, at in self._silent_at.items() if at >= since}
        found: defaultdict[str, set[str]] = defaultdict(set)
        for project_id, address in self._silent_at:
            found[project_id].add(address)
        return {project_id: frozenset(addresses) for project_id, addresses in found.items()}


@dataclass(slots=True)
class Sending:
    """Who has the places of one sender; one claim at a time sees who has them."""

    alerts: dict[int, AlertDue] = field(default_factory=dict)
    claiming: asyncio.Lock = field(default_factory=asyncio.Lock)

    def take(self, alert: AlertDue) -> None:
        """The alert has a place."""
        self.alerts[alert.alert_id] = alert

    def give_back(self, alert: AlertDue) -> None:
        """Its place is free."""
        self.alerts.pop(alert.alert_id, None)

    def places(self, silent: Mapping[str, frozenset[str]], *, of_each: int, beside: "Sending") -> Places:
        """The places as they are taken now; those of silent addresses are shared with the other sender."""
        sending, both = self.alerts.values(), [*self.alerts.values(), *beside.alerts.values()]
        return Places(
            taken=Counter(alert.project_id for alert in sending),
            retried=sum(alert.tries > 0 for alert in sending),
            of_each=of_each,
            silent=silent,
            silent_taken=frozenset(
                alert.project_id for alert in both if alert.destination in silent.get(alert.project_id, frozenset())
            ),
        )


class Unrecorded:
    """Records that the store has not taken yet, by alert; each is tried for `keep_seconds`."""

    def __init__(self, *, keep_seconds: float) -> None:
        self._keep_seconds = keep_seconds
        self._tasks: dict[int, asyncio.Task[None]] = {}

    @property
    def alert_ids(self) -> set[int]:
        """The alerts whose record is under way."""
        return set(self._tasks)

    async def record(self, alert_id: int, work: Work[None], *, wait_seconds: float) -> None:
        """Record what became of an alert, however long the store is away; the caller waits so long, though it is cancelled.

        Raises:
            Unavailable: it is not recorded yet.
        """
        task = self._tasks[alert_id] = asyncio.create_task(self._record(alert_id, work))
        if await finished(lambda: _has_ended(task, wait_seconds)):
            task.result()
            return
        task.add_done_callback(lambda _: _say_how_it_ended(task, alert_id))
        raise Unavailable

    async def _record(self, alert_id: int, work: Work[None]) -> None:
        try:
            await recorded(work, seconds=self._keep_seconds)
        finally:
            del self._tasks[alert_id]


async def _has_ended(task: asyncio.Task[None], seconds: float) -> bool:
    ended, _ = await asyncio.wait([task], timeout=seconds)
    return bool(ended)


def _say_how_it_ended(task: asyncio.Task[None], alert_id: int) -> None:
    """Nobody waits for it any more."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("alert_not_recorded", alert_id=alert_id, error=type(error).__name__, exc_info=error)
