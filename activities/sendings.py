"""The mails that this process is sending, by project, and those that it has sent and not yet recorded.

Both live in the process alone: they keep one project from taking every place, and a mail from being sent twice while the store
is away. Used by `activities.alerts`.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import structlog

from activities.recording import Work, finished, recorded
from domain.errors import Unavailable
from store.alerts import AlertDue

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Sending:
    """Who has the places of one sender; one claim at a time sees who has them."""

    taken: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    claiming: asyncio.Lock = field(default_factory=asyncio.Lock)

    def take(self, alert: AlertDue) -> None:
        """The alert has a place."""
        self.taken[alert.project_id] += 1
        self.retried += alert.tries > 0

    def give_back(self, alert: AlertDue) -> None:
        """Its place is free."""
        self.taken[alert.project_id] -= 1
        self.retried -= alert.tries > 0
        if not self.taken[alert.project_id]:
            del self.taken[alert.project_id]


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
