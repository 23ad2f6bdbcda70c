"""Deletes what has served, once an hour: stored answers, old payloads, spent links, replaced secrets. Never a receipt, but
those of deleted projects, every few seconds.

In batches with pauses, so that nobody waits for the store's write lock. Run by `worker.main`; several workers share the work.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

import structlog

from domain.errors import Unavailable
from domain.ids import EventId, ProjectId
from store.db.database import Database
from store.maintenance.retention import KINDS, purge_kind
from store.projects.deletion import KINDS as ERASED_KINDS
from store.projects.deletion import end_deleted, erase_kind, has_deleted, mark_erased, open_of_deleted, unmark_erased
from store.projects.signing_secrets import finish_overdue_rotation, overdue_rotations
from store.status.heartbeats import forget_stale

EVERY_SECONDS = 3600.0
ERASE_EVERY_SECONDS = 10.0
BATCH = 1_000
ENDED_AT_ONCE = 200
PAUSE_SECONDS = 0.1
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 20.0, 3_600.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


async def retention_loop(database: Database) -> None:
    """Purge now and then every hour, for ever."""
    while True:
        await purge_all(database)
        await asyncio.sleep(EVERY_SECONDS)


async def erasure_loop(database: Database) -> None:
    """End and erase what deleted projects have left, now and every few seconds, for ever."""
    backoffs = Backoffs()
    while True:
        await _guarded("erase", erase_all(database, backoffs))
        await asyncio.sleep(ERASE_EVERY_SECONDS)


async def purge_all(database: Database) -> None:
    """Purge what is old now; a part that breaks keeps none of the others from being done."""
    await _guarded("forget_stale", _forget_stale(database))
    await _guarded("unmark_erased", _unmark_erased(database))
    await _guarded("finish_rotations", _finish_rotations(database))
    for kind in KINDS:
        await _guarded(kind, _purge_kind(database, kind))


class Backoffs:
    """Items that failed, by the time that each is left alone. One process's own: another one tries them once too."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, float]] = {}  # tries and until when, by the monotonic clock

    def is_ready(self, item: str) -> bool:
        return time.monotonic() >= self._kept.get(item, (0, 0.0))[1]

    def back_off(self, item: str) -> None:
        """It failed once more."""
        now, tries = time.monotonic(), self._kept.get(item, (0, 0.0))[0]
        self._kept = {key: kept for key, kept in self._kept.items() if now < kept[1] + LONGEST_BACKOFF_SECONDS}
        self._kept[item] = (tries + 1, now + min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(tries, 10)))


async def erase_all(database: Database, backoffs: Backoffs) -> None:
    """End what has not ended, a transaction each, then erase what has; what breaks is backed off and stops nothing else."""
    async with database.reading() as session:
        if not await has_deleted(session):
            return
    ended = await _guarded("end_all", _end_all(database, backoffs)) or 0
    erased = {kind: await _guarded(kind, _erase_kind(database, kind)) or 0 for kind in ERASED_KINDS}
    await _guarded("mark_erased", _mark_erased(database))
    if ended or any(erased.values()):
        log.info("deleted_projects_erased", ended=ended, **erased)


async def _end_all(database: Database, backoffs: Backoffs) -> int:
    ended, after = 0, None
    while True:
        async with database.reading() as session:
            batch = await open_of_deleted(session, after=after, limit=ENDED_AT_ONCE)
        for event_id in filter(backoffs.is_ready, batch):
            if await _guarded("end_deleted", _end(database, event_id), event_id=event_id):
                ended += 1
            else:
                backoffs.back_off(event_id)
        if len(batch) < ENDED_AT_ONCE:
            return ended
        after = batch[-1]
        await asyncio.sleep(PAUSE_SECONDS)


async def _end(database: Database, event_id: EventId) -> bool:
    async with database.transaction() as session:
        await end_deleted(session, event_id, await database.now(session))
    return True


async def _erase_kind(database: Database, kind: str) -> int:
    total = 0
    while True:
        async with database.transaction() as session:
            erased = await erase_kind(session, kind, await database.now(session))
        total += erased
        if not erased:
            return total
        await asyncio.sleep(PAUSE_SECONDS)


async def _mark_erased(database: Database) -> None:
    async with database.transaction() as session:
        await mark_erased(session, await database.now(session))


async def _unmark_erased(database: Database) -> None:
    async with database.transaction() as session:
        await unmark_erased(session)


async def _forget_stale(database: Database) -> None:
    async with database.transaction() as session:
        await forget_stale(session, await database.now(session))


async def _finish_rotations(database: Database) -> None:
    async with database.reading() as session:
        project_ids = await overdue_rotations(session, await database.now(session))
    for project_id in project_ids:
        await _guarded("finish_rotation", _finish_rotation(database, project_id), project_id=project_id)


async def _finish_rotation(database: Database, project_id: ProjectId) -> None:
    async with database.transaction() as session:
        await finish_overdue_rotation(session, project_id, await database.now(session))


async def _guarded(what: str, work: Awaitable[T], **ids: str) -> T | None:
    """What the work returns; None when it broke, which must end neither the worker nor what comes after it."""
    try:
        return await work
    except Unavailable:
        log.warning("purge_store_unavailable", what=what, **ids)
    except Exception:
        log.exception("purge_failed", what=what, **ids)
    return None


async def _purge_kind(database: Database, kind: str) -> None:
    """While there is a full batch: what expires meanwhile is for the next time, so that the other parts have theirs."""
    total, purged = 0, BATCH
    while purged >= BATCH:
        purged = await _purge_batch(database, kind)
        total += purged
        await asyncio.sleep(PAUSE_SECONDS)
    if total:
        log.info("purged", kind=kind, rows=total)


async def _purge_batch(database: Database, kind: str) -> int:
    async with database.transaction() as session:
        return await purge_kind(session, kind, await database.now(session), limit=BATCH)
