"""Finds projects that are silent for unusually long, and alerts people once.

A turn looks at a bounded number of projects; the next one goes on there. A project whose receipts
are not all counted is left to a later turn. Once a day it learns how long a project is usually
silent. Needs only the store. Run by `worker.build`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Unavailable
from domain.ids import ProjectId
from domain.overview.silence import Watch
from store.db.database import Database
from store.overview.counting import projects_to_count
from store.overview.silence import (
    LEARNED_EVERY,
    WHOLE,
    learn,
    read_watches,
    record_verdict,
    settled,
)
from worker.loops.backoffs import Backoffs

LOOKED_AT = 200

log = structlog.get_logger(__name__)


class ProjectSilence:
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
                log.warning("silence_store_unavailable")
            except Exception:
                # The edge of this loop: it must not end the worker.
                log.exception("silence_failed")
            await asyncio.sleep(every_seconds)

    async def turn(self) -> None:
        """Look at the next projects: record and alert their silence, and learn."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            page = await projects_to_count(session, now, after=self._after, limit=LOOKED_AT)
            counted = sorted(set(page.looked_at) - set(page.behind))
            watches = await read_watches(session, counted) if counted else []
        self._after = page.last
        for watch in watches:
            await self._judge(watch, now)
        for watch in watches:
            if watch.event_type == WHOLE and _is_to_learn(watch, now):
                types = [
                    one.event_type
                    for one in watches
                    if one.project_id == watch.project_id and one.event_type != WHOLE
                ]
                await self._learn(watch.project_id, types)
        self._backoffs.forget_old()

    async def _judge(self, watch: Watch, now: datetime) -> None:
        verdict = watch.verdict(settled(now))
        if verdict is not None:
            await self._guarded(
                watch.project_id, lambda session, at: record_verdict(session, watch, verdict, at)
            )

    async def _learn(self, project_id: ProjectId, event_types: list[str]) -> None:
        await self._guarded(
            project_id, lambda session, at: learn(session, project_id, event_types, at)
        )

    async def _guarded(
        self, project_id: ProjectId, change: Callable[[AsyncSession, datetime], Awaitable[None]]
    ) -> None:
        """Change one project. One that fails is tried again later, and does not stop the others."""
        if not self._backoffs.is_ready(project_id):
            return
        try:
            async with self._database.transaction() as session:
                await change(session, await self._database.now(session))
        except Unavailable:
            raise
        except Exception:
            self._backoffs.back_off(project_id)
            log.exception("silence_broken", project_id=project_id)
        else:
            self._backoffs.forget(project_id)


def _is_to_learn(watch: Watch, now: datetime) -> bool:
    """During a silence nothing is learned: it would make the next one usual."""
    is_due = watch.learned_at is None or now - watch.learned_at >= LEARNED_EVERY
    return is_due and watch.silent_since is None
