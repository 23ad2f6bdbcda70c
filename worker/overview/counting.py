"""Counts what happened to receipts, for the overview and for the silence of projects.

A turn looks at a bounded number of projects; the next one goes on there. A project with a backlog
has a few batches of a turn, so that it delays no other. Needs only the store. Run by
`worker.build`.
"""

import asyncio
import time

import structlog

from domain.errors import Unavailable
from domain.ids import ProjectId
from store.db.database import Database
from store.overview.counting import count_batch, projects_to_count
from worker.loops.backoffs import Backoffs

LOOKED_AT = 200
BATCHES_OF_A_PROJECT = 40
PAUSE_SECONDS = 0.02

log = structlog.get_logger(__name__)


class FactCounting:
    """The loop of one worker process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after: ProjectId | None = None
        self._backoffs = Backoffs(first_seconds=5)

    async def loop(self, *, every_seconds: float) -> None:
        """Take turns for ever."""
        while True:
            try:
                await self.turn()
            except Unavailable:
                log.warning("counting_store_unavailable")
            except Exception:
                # The edge of this loop: it must not end the worker.
                log.exception("counting_failed")
            await asyncio.sleep(every_seconds)

    async def turn(self) -> None:
        """Look at the next projects, and count their next facts."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            page = await projects_to_count(session, now, after=self._after, limit=LOOKED_AT)
        self._after = page.last
        for project_id in page.behind:
            await self._count(project_id)
        self._backoffs.forget_old()

    async def _count(self, project_id: ProjectId) -> None:
        """Count one project. One that fails is tried again later, and does not stop the others."""
        if not self._backoffs.is_ready(project_id):
            return
        try:
            for _ in range(BATCHES_OF_A_PROJECT):
                began = time.monotonic()
                async with self._database.transaction() as session:
                    now = await self._database.now(session)
                    has_more = await count_batch(session, project_id, now)
                if not has_more:
                    break
                # On SQLite, ingest writes meanwhile.
                await asyncio.sleep(max(PAUSE_SECONDS, time.monotonic() - began))
        except Unavailable:
            raise
        except Exception:
            self._backoffs.back_off(project_id)
            log.exception("counting_broken", project_id=project_id)
        else:
            self._backoffs.forget(project_id)
