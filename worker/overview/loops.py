"""Both loops of a worker process: of the counts, and of the silence that is judged by them."""

import asyncio

from store.db.database import Database
from worker.overview.counting import FactCounting
from worker.overview.silence import ProjectSilence


class OverviewLoops:
    """The loops of one worker process."""

    def __init__(self, database: Database) -> None:
        self._counting, self._silence = FactCounting(database), ProjectSilence(database)

    async def loop(self, *, every_seconds: float) -> None:
        """Take turns for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._counting.loop(every_seconds=every_seconds))
            group.create_task(self._silence.loop(every_seconds=every_seconds))
