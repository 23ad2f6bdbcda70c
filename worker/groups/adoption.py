"""Gives a group to incidents without one, a bounded number in each turn.

They are those from before there were groups, and those that an earlier version opens. Without any,
a turn is one query. Needs only the store. Run by `worker.build`.
"""

import asyncio
import time

import structlog

from domain.errors import Unavailable
from domain.ids import IncidentId
from store.db.database import Database
from store.receipts.groups.adoption import UngroupedIncident, adopt, ungrouped_incidents
from worker.loops.backoffs import Backoffs

AT_ONCE = 200
TURN_SECONDS = 2.0

log = structlog.get_logger(__name__)


class GroupAdoption:
    """The loop of one worker process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after: IncidentId | None = None
        self._backoffs = Backoffs(first_seconds=5)

    async def adoption_loop(self, *, every_seconds: float) -> None:
        """Take turns for ever."""
        while True:
            try:
                await self.turn()
            except Unavailable:
                log.warning("groups_store_unavailable")
            except Exception:
                # The edge of this loop: it must not end the worker.
                log.exception("group_adoption_failed")
            await asyncio.sleep(every_seconds)

    async def turn(self) -> int:
        """Give a group to the next incidents; returns to how many. The last turn was before them.

        After the last incident the next turn begins with the first again.
        """
        began, adopted = time.monotonic(), 0
        self._backoffs.forget_old()
        async with self._database.reading() as session:
            found = await ungrouped_incidents(session, after=self._after, limit=AT_ONCE)
        for one in found:
            if time.monotonic() - began > TURN_SECONDS:
                return adopted
            adopted += await self._adopt(one)
            self._after = one.incident_id
        if len(found) < AT_ONCE:
            self._after = None
        return adopted

    async def _adopt(self, one: UngroupedIncident) -> bool:
        """Give one incident a group. One that fails is tried again later."""
        if not self._backoffs.is_ready(one.incident_id):
            return False
        try:
            async with self._database.transaction() as session:
                opened_at = await adopt(session, one)
        except Exception as error:
            self._backoffs.back_off(one.incident_id)
            if not isinstance(error, Unavailable):  # its row may be locked
                log.exception("group_adoption_broken", incident_id=one.incident_id)
            return False
        self._backoffs.forget(one.incident_id)
        return opened_at is not None
