"""Ends acknowledgements and snoozes whose time is over, and has the incidents alerted again.

The instants are in the store, so a restart forgets nothing. It needs only the store. The alerts
that it inserts are delivered as all others are.

1. A turn walks all projects in pages. A project with a due end has a few incidents handled, then
   the next project follows; the rest waits for the next turn.
2. Each incident is a transaction of its own. One that fails is backed off and stops no other.
3. A turn that takes too long goes on at the next project later.

Run by `worker.build`.
"""

import asyncio
import time

import structlog

from domain.errors import Unavailable
from domain.ids import IncidentId, ProjectId
from store.db.database import Database
from store.db.sql import SessionStatements, limit_lock_wait
from store.receipts.triage.quiet_times import due_ends, end_quiet_times, projects_with_due_ends
from worker.loops.backoffs import Backoffs

PROJECTS_AT_ONCE = 200
OF_EACH_PROJECT = 20
# More than ever fail at once, so that those that are backed off hide no other.
LOOKED_AT = 500
TURN_SECONDS = 3.0
# Between transactions: on SQLite ingest waits while one writes.
PAUSE_SECONDS = 0.005
FIRST_BACKOFF_SECONDS = 2.0

log = structlog.get_logger(__name__)


class QuietTimes:
    """The loop of one worker process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after: ProjectId | None = None
        self._backoffs = Backoffs(first_seconds=FIRST_BACKOFF_SECONDS)

    async def loop(self, *, every_seconds: float) -> None:
        """Take turns for ever, without a pause while there is more to do."""
        while True:
            has_more = False
            try:
                has_more = await self.turn()
            except Unavailable:
                log.warning("quiet_times_store_unavailable")
            except Exception:
                # The edge of this loop: it must not end the worker.
                log.exception("quiet_times_failed")
            await asyncio.sleep(PAUSE_SECONDS if has_more else every_seconds)

    async def turn(self) -> bool:
        """End what is due, for a few seconds; whether there is more to do."""
        began, has_more = time.monotonic(), False
        self._backoffs.forget_old()
        while True:
            async with self._database.reading() as session:
                now = await self._database.now(session)
                page = await projects_with_due_ends(
                    SessionStatements(session), now, after=self._after, limit=PROJECTS_AT_ONCE
                )
            for project_id in page.due:
                has_more |= await self._end_some(project_id)
                self._after = project_id
                if time.monotonic() - began > TURN_SECONDS:
                    return True
            self._after = page.last
            if page.last is None:
                return has_more

    async def _end_some(self, project_id: ProjectId) -> bool:
        """End a few of the project's due times; whether it has more of them."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            due = await due_ends(SessionStatements(session), project_id, now, limit=LOOKED_AT)
        ready = [incident_id for incident_id in due if self._backoffs.is_ready(incident_id)]
        for incident_id in ready[:OF_EACH_PROJECT]:
            await self._end(incident_id)
            await asyncio.sleep(PAUSE_SECONDS)
        return len(ready) > OF_EACH_PROJECT

    async def _end(self, incident_id: IncidentId) -> None:
        try:
            async with self._database.transaction() as session:
                st = SessionStatements(session)
                await limit_lock_wait(st)
                await end_quiet_times(st, incident_id, await self._database.now(session))
        except Unavailable:
            # Another process holds the row lock, or the store is unavailable.
            self._backoffs.back_off(incident_id)
        except Exception:
            # The edge of one incident: one that cannot be changed must not stop the others.
            self._backoffs.back_off(incident_id)
            log.exception("quiet_time_broken", incident_id=incident_id)
        else:
            self._backoffs.forget(incident_id)
