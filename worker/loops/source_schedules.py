"""Makes Temporal's Schedules as the table of sources says.

1. A source that was added or changed gets its Schedule, paused if it is, and is listed at once.
2. A requested check triggers a listing. A removed source loses its Schedule.
3. In a new Temporal database, every source is scheduled again, a part in each turn.
4. A Schedule whose source is gone, with its project, is deleted. One that somebody deleted or
   paused in Temporal is made again.

Every turn does a bounded part, and projects take turns. A source whose Schedule Temporal refuses is
tried again later, and delays no other; the store knows when. Two workers may do the same work,
which changes nothing. Run by `worker.build` while Temporal is available.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import Unavailable
from domain.ids import SourceId
from domain.values.round_robin import Turns
from store.db.database import Database
from store.sources.schedules import (
    ToSchedule,
    mark_scheduled,
    record_not_scheduled,
    schedule_again,
    schedule_stopped,
    sources_to_schedule,
    sources_without_schedule,
)
from store.status.heartbeats import read_fact, write_fact
from worker.loops.backoffs import Backoffs
from worker.temporal.connect import read_namespace_id
from worker.temporal.schedules import (
    ScheduledSource,
    delete_schedule,
    put_schedule,
    scheduled_sources,
    trigger_schedule,
)

AT_ONCE = 50
# Of the changed sources: the oldest, the newest, and a walk between them.
ENDS_LOOKED_AT, WALKED = 50, 200
AGAIN_AT_ONCE = 500
LISTED_AT_ONCE = 100
FAILED_IN_A_ROW = 3  # then Temporal is away
SWEEP_EVERY_SECONDS = 600.0
FIRST_BACKOFF_SECONDS = 5.0
NEVER = datetime.min.replace(tzinfo=UTC)
TURN = "turn"  # among the ids of the sources that are backed off
_AWAY = {RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED}
# `NAMESPACE [LAST_SOURCE_ID]`: the namespace that has all Schedules. With an id they are still
# being made again, and this source was the last one.
SCHEDULES_FACT = "source_schedules_namespace"

log = structlog.get_logger(__name__)


class SourceSchedules:
    """The loop of one worker process, over one connection to Temporal."""

    def __init__(self, database: Database, client: Client, *, every_seconds: float) -> None:
        self._database = database
        self._client = client
        self._every_seconds = every_seconds
        self._after: SourceId | None = None  # how far the walk is
        self._turns = Turns()
        self._backoffs = Backoffs(first_seconds=FIRST_BACKOFF_SECONDS)
        # The sweep lists the Schedules, and then compares the sources with those that run.
        self._listed: AsyncIterator[ScheduledSource] | None = None
        self._running: set[SourceId] = set()
        self._swept_since = NEVER
        self._is_comparing = False
        self._compared: SourceId | None = None
        self._sweep_at = 0.0
        self._is_failing = False
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Make `run` return after the current source."""
        self._stopping.set()

    async def run(self) -> None:
        """Take turns until `stop`."""
        while not self._stopping.is_set():
            wait = self._every_seconds
            try:
                await self.turn()
            except (RPCError, Unavailable, TimeoutError) as error:
                if not self._is_failing:
                    log.warning("source_schedules_failed", error=type(error).__name__)
                self._is_failing = True
            except Exception:
                # The edge of this loop: it must not end Temporal's worker.
                log.exception("source_schedules_broken")
                wait = max(wait, self._backoffs.back_off(TURN))
            else:
                self._is_failing = False
                self._backoffs.forget(TURN)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    async def turn(self) -> None:
        """Do the next part of the work.

        Raises:
            RPCError: Temporal does not answer.
            Unavailable.
        """
        await self._follow_namespace()
        await self._schedule_changed()
        await self._sweep()
        self._backoffs.forget_old()

    async def _follow_namespace(self) -> None:
        """Let all sources be scheduled again if the namespace is another one."""
        namespace_id = await read_namespace_id(self._client)
        async with self._database.reading() as session:
            known, _, after = (await read_fact(session, SCHEDULES_FACT) or "").partition(" ")
        if known == namespace_id and not after:
            return
        if known != namespace_id:
            if known:  # else it is a new installation
                log.warning("source_schedules_begin_again", namespace_id=namespace_id)
            after = ""
        async with self._database.transaction() as session:
            last = await schedule_again(
                session, after=SourceId(after) if after else None, limit=AGAIN_AT_ONCE
            )
            await write_fact(
                session, SCHEDULES_FACT, namespace_id if last is None else f"{namespace_id} {last}"
            )

    async def _schedule_changed(self) -> None:
        async with self._database.reading() as session:
            now = await self._database.now(session)
            changed = await self._changed(session)
        ready = [one for one in changed if one.retry_at is None or one.retry_at <= now]
        chosen = self._turns.in_turns(ready, lambda one: one.project_id)[:AT_ONCE]
        self._turns.serve(one.project_id for one in chosen)
        failed = 0
        for source in chosen:
            if self._stopping.is_set():
                return
            try:
                await self._schedule(source)
            except Unavailable:
                raise
            except Exception as error:
                # The edge of one source: it must not stop the others.
                is_away = await self._retry_later(source, error)
                failed = failed + 1 if is_away else 0
                if failed == FAILED_IN_A_ROW:
                    raise
            else:
                failed = 0
                self._backoffs.forget(source.id)

    async def _changed(self, session: AsyncSession) -> list[ToSchedule]:
        """The oldest changed sources, the newest, and the next part of those between."""
        oldest = await sources_to_schedule(session, after=None, limit=ENDS_LOOKED_AT)
        if len(oldest) < ENDS_LOOKED_AT:
            self._after = None
            return oldest
        newest = await sources_to_schedule(
            session, after=None, limit=ENDS_LOOKED_AT, is_newest=True
        )
        after = max(oldest[-1].id, self._after or oldest[-1].id)
        further = await sources_to_schedule(session, after=after, limit=WALKED)
        self._after = further[-1].id if len(further) == WALKED else None
        return list({one.id: one for one in (*oldest, *newest, *further)}.values())

    async def _retry_later(self, source: ToSchedule, error: Exception) -> bool:
        """Back the source off, and store until when. True: Temporal does not answer."""
        is_away = isinstance(error, TimeoutError) or (
            isinstance(error, RPCError) and error.status in _AWAY
        )
        if is_away or isinstance(error, RPCError):
            log.warning("source_not_scheduled", source_id=source.id, error=type(error).__name__)
        else:
            log.exception("source_schedule_broken", source_id=source.id)
        # An outage of Temporal is no reason to try this source later than others.
        seconds = FIRST_BACKOFF_SECONDS if is_away else self._backoffs.back_off(source.id)
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            await record_not_scheduled(session, source, now + timedelta(seconds=seconds))
        return is_away

    async def _schedule(self, source: ToSchedule) -> None:
        """Make Temporal so, then record it. Doing it twice changes nothing."""
        if source.is_removed or source.every_minutes is None:
            await delete_schedule(self._client, source.id)
        else:
            await put_schedule(
                self._client,
                source.id,
                every_minutes=source.every_minutes,
                is_paused=source.is_paused,
            )
            if not source.is_paused:
                await trigger_schedule(self._client, source.id)
        async with self._database.transaction() as session:
            await mark_scheduled(session, source)
        log.info("source_scheduled", source_id=source.id, version=source.version)

    async def _sweep(self) -> None:
        """Compare all Schedules with all sources: a part in each turn, every ten minutes."""
        loop = asyncio.get_running_loop()
        if self._is_comparing:
            await self._schedule_stopped()
            return
        if self._listed is None:
            if loop.time() < self._sweep_at:
                return
            async with self._database.reading() as session:
                self._swept_since = await self._database.now(session)
            self._listed, self._running = scheduled_sources(self._client), set()
            self._sweep_at = loop.time() + SWEEP_EVERY_SECONDS
        await self._delete_unneeded()

    async def _delete_unneeded(self) -> None:
        """Delete the next Schedules whose source is gone. Remember those that run."""
        assert self._listed is not None
        listed, self._listed = self._listed, None
        found: list[ScheduledSource] = []
        async for scheduled in listed:
            found.append(scheduled)
            if len(found) == LISTED_AT_ONCE:
                self._listed = listed
                break
        self._running.update(one.source_id for one in found if not one.is_paused)
        self._is_comparing, self._compared = self._listed is None, None
        async with self._database.reading() as session:
            gone = await sources_without_schedule(session, [one.source_id for one in found])
        for source_id in filter(self._backoffs.is_ready, sorted(gone)):
            try:
                await delete_schedule(self._client, source_id)
            except RPCError as error:
                if error.status in _AWAY:
                    raise
                # The next sweep tries it again.
                self._backoffs.back_off(source_id)
                log.warning("source_not_scheduled", source_id=source_id, error=type(error).__name__)
            else:
                log.info("source_schedule_deleted", source_id=source_id)

    async def _schedule_stopped(self) -> None:
        """Let the next sources be scheduled again whose Schedule somebody deleted or paused."""
        async with self._database.transaction() as session:
            self._compared = await schedule_stopped(
                session,
                self._running,
                since=self._swept_since,
                after=self._compared,
                limit=AGAIN_AT_ONCE,
            )
        if self._compared is None:
            self._is_comparing, self._running = False, set()
