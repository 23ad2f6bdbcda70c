"""Alerts projects whose held results no receipt has claimed, once a day.

A turn looks at a bounded number of projects; the next one goes on there. An alert that is inserted
is delivered as all others are. Needs only the store. Run by `worker.build`.
"""

import asyncio

import structlog

from domain.errors import Unavailable
from domain.ids import ProjectId
from store.db.database import Database
from store.receipts.early_results.unclaimed import alert_unclaimed, projects_to_alert
from worker.loops.backoffs import Backoffs

LOOKED_AT = 200

log = structlog.get_logger(__name__)


class EarlyResultAlerts:
    """The loop of one worker process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after: ProjectId | None = None
        self._backoffs = Backoffs(first_seconds=5)

    async def alert_loop(self, *, every_seconds: float) -> None:
        """Take turns for ever."""
        while True:
            try:
                await self.turn()
            except Unavailable:
                log.warning("early_results_store_unavailable")
            except Exception:
                # The edge of this loop: it must not end the worker.
                log.exception("early_results_failed")
            await asyncio.sleep(every_seconds)

    async def turn(self) -> None:
        """Look at the next projects, and alert those that need it."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            page = await projects_to_alert(session, now, after=self._after, limit=LOOKED_AT)
        self._after = page.last
        for project_id in page.due:
            await self._alert(project_id)
        self._backoffs.forget_old()

    async def _alert(self, project_id: ProjectId) -> None:
        """Alert one project. One that fails is tried again later, and does not stop the others."""
        if not self._backoffs.is_ready(project_id):
            return
        try:
            async with self._database.transaction() as session:
                now = await self._database.now(session)
                await alert_unclaimed(session, project_id, now)
        except Unavailable:
            raise
        except Exception:
            self._backoffs.back_off(project_id)
            log.exception("early_results_broken", project_id=project_id)
        else:
            self._backoffs.forget(project_id)
