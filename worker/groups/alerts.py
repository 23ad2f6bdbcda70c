"""Ends the windows of groups, so that gathered alerts go out as one.

Projects take turns, and each item is guarded. An alert that is inserted is delivered as all others
are. Needs only the store. Run by `worker.build`.
"""

import asyncio
import time

import structlog

from domain.errors import Unavailable
from domain.values.round_robin import round_robin
from store.db.database import Database
from store.receipts.groups.windows import DueWindow, due_windows, end_window
from worker.loops.backoffs import Backoffs

PROJECTS_AT_ONCE, OF_EACH = 50, 20
TURN_SECONDS = 2.0

log = structlog.get_logger(__name__)


class GroupAlerts:
    """The loop of one worker process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._backoffs = Backoffs(first_seconds=5)

    async def window_loop(self, *, every_seconds: float) -> None:
        """Take turns for ever."""
        while True:
            try:
                await self.turn()
            except Unavailable:
                log.warning("groups_store_unavailable")
            except Exception:
                # The edge of this loop: it must not end the worker.
                log.exception("groups_failed")
            await asyncio.sleep(every_seconds)

    async def turn(self) -> int:
        """End windows that are due, one of each project after the other; returns how many."""
        began, ended = time.monotonic(), 0
        self._backoffs.forget_old()
        async with self._database.reading() as session:
            now = await self._database.now(session)
            found = await due_windows(session, now, projects=PROJECTS_AT_ONCE, of_each=OF_EACH)
        ready = (due for due in found if self._backoffs.is_ready(_key(due)))
        for due in round_robin(ready, lambda due: due.project_id):
            if time.monotonic() - began > TURN_SECONDS:
                break
            ended += await self._end(due)
        return ended

    async def _end(self, due: DueWindow) -> bool:
        """End one window. One that fails is tried again later, and does not stop the others."""
        try:
            async with self._database.transaction() as session:
                now = await self._database.now(session)
                await end_window(session, due, now)
        except Exception as error:
            self._backoffs.back_off(_key(due))
            if not isinstance(error, Unavailable):  # its row may be locked
                log.exception("group_window_broken", group_id=due.group_id, kind=due.kind)
            return False
        self._backoffs.forget(_key(due))
        return True


def _key(due: DueWindow) -> str:
    return f"{due.group_id}.{due.kind}"
