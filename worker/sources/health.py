"""Finds sources that are silent or not listed any more, and alerts people once.

A turn looks at a bounded number of sources; the next one goes on there. An alert that is inserted
is delivered as all others are. Needs only the store. Run by `worker.build`.
"""

import asyncio

import structlog

from domain.errors import Unavailable
from domain.ids import SourceId
from domain.sources.source import Source
from store.db.database import Database
from store.sources.health import (
    Episode,
    NotListed,
    alert_episode,
    record_not_listed,
    record_silence,
    silent_sources,
    unalerted_sources,
)
from worker.loops.backoffs import Backoffs

LOOKED_AT = 200
ALERTED_AT_ONCE = 100

log = structlog.get_logger(__name__)


class SourceHealth:
    """The loop of one worker process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after: SourceId | None = None
        self._backoffs = Backoffs(first_seconds=5)

    async def health_loop(self, *, every_seconds: float) -> None:
        """Take turns for ever."""
        while True:
            try:
                await self.turn()
            except Unavailable:
                log.warning("source_health_store_unavailable")
            except Exception:
                # The edge of this loop: it must not end the worker.
                log.exception("source_health_failed")
            await asyncio.sleep(every_seconds)

    async def turn(self) -> None:
        """Look at the next sources, then alert."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            page = await silent_sources(session, now, after=self._after, limit=LOOKED_AT)
        self._after = page.last
        for source in page.silent:
            await self._guarded(source.id, source)
        for stopped in page.not_listed:
            await self._guarded(stopped.source_id, stopped)
        async with self._database.reading() as session:
            episodes = await unalerted_sources(session, now, limit=ALERTED_AT_ONCE)
        for episode in episodes:
            await self._guarded(episode.source_id, episode)
        self._backoffs.forget_old()

    async def _guarded(self, source_id: SourceId, found: Source | NotListed | Episode) -> None:
        """Record one source. One that fails is tried again later, and does not stop the others."""
        if not self._backoffs.is_ready(source_id):
            return
        try:
            async with self._database.transaction() as session:
                now = await self._database.now(session)
                match found:
                    case Source():
                        await record_silence(session, found, now)
                    case NotListed():
                        await record_not_listed(session, source_id, now)
                    case Episode():
                        await alert_episode(session, found, now)
        except Unavailable:
            raise
        except Exception:
            self._backoffs.back_off(source_id)
            log.exception("source_health_broken", source_id=source_id)
        else:
            self._backoffs.forget(source_id)
