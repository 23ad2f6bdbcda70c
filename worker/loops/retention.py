"""Deletes expired rows once an hour: stored responses, old payloads, used links, replaced secrets.

Receipts are deleted only with their project. Deleted projects are erased every few seconds. The
work is done in batches with pauses, so that nothing waits long for the database's write lock. Run
by `worker.main`. Several workers share the work.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog

from domain.errors import Unavailable
from domain.ids import EventId, ProjectId
from store.db.database import Database
from store.maintenance.retention import KINDS, purge_kind
from store.projects.deletion import KINDS as ERASED_KINDS
from store.projects.deletion import (
    end_deleted,
    erase_kind,
    has_deleted,
    mark_erased,
    open_of_deleted,
    unmark_erased,
)
from store.projects.signing_secrets import finish_overdue_rotation, overdue_rotations
from store.status.heartbeats import forget_stale
from worker.loops.backoffs import Backoffs

EVERY_SECONDS = 3600.0
ERASE_EVERY_SECONDS = 10.0
BATCH = 1_000
# Of sources; the row of a source is the last.
SOURCE_KINDS = ("source_events", "source_gaps", "sources")
ENDED_AT_ONCE = ERASED_AT_ONCE = 200
# Of one kind in one pass. With so many rows that cannot be deleted, the table itself is broken.
MAX_FAILED = 100
PAUSE_SECONDS = 0.1
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 20.0, 3_600.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


async def retention_loop(database: Database) -> None:
    """Purge now, and every hour after that, for ever."""
    while True:
        await purge_all(database)
        await asyncio.sleep(EVERY_SECONDS)


async def erasure_loop(database: Database) -> None:
    """Close and erase the receipts of deleted projects, now and every few seconds, for ever."""
    backoffs = erasure_backoffs()
    while True:
        await _guarded("erase", erase_all(database, backoffs))
        await asyncio.sleep(ERASE_EVERY_SECONDS)


async def purge_all(database: Database) -> None:
    """Delete everything that has expired. A part that fails does not prevent the others."""
    await _guarded("forget_stale", _forget_stale(database))
    await _guarded("unmark_erased", _unmark_erased(database))
    await _guarded("finish_rotations", _finish_rotations(database))
    for kind in KINDS:
        await _guarded(kind, _purge_kind(database, kind))


def erasure_backoffs() -> Backoffs:
    """The backoffs of receipts that cannot be closed, and of kinds that cannot be erased."""
    return Backoffs(first_seconds=FIRST_BACKOFF_SECONDS, longest_seconds=LONGEST_BACKOFF_SECONDS)


async def erase_all(database: Database, backoffs: Backoffs) -> None:
    """Close the open receipts, one transaction each, then erase the closed ones.

    An item that fails is backed off and stops nothing else.
    """
    backoffs.forget_old()
    async with database.reading() as session:
        if not await has_deleted(session):
            return
    ended = await _guarded("end_all", _end_all(database, backoffs)) or 0
    erased = {
        kind: await _guarded(kind, _erase_kind(database, kind, backoffs)) or 0
        for kind in ERASED_KINDS
    }
    # A removed source has rows until then, and no project with rows is marked.
    for kind in SOURCE_KINDS:
        await _guarded(kind, _purge_kind(database, kind))
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


async def _erase_kind(database: Database, kind: str, backoffs: Backoffs) -> int:
    async def erase_batch(limit: int, skip: int | None) -> int:
        async with database.transaction() as session:
            now = await database.now(session)
            return await erase_kind(session, kind, now, limit=limit, skip=skip)

    if not backoffs.is_ready(kind):
        return 0
    done = await _in_batches(kind, erase_batch, size=ERASED_AT_ONCE)
    if done.failed:
        backoffs.back_off(kind)
    return done.rows


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
        await _guarded(
            "finish_rotation", _finish_rotation(database, project_id), project_id=project_id
        )


async def _finish_rotation(database: Database, project_id: ProjectId) -> None:
    async with database.transaction() as session:
        await finish_overdue_rotation(session, project_id, await database.now(session))


async def _guarded(what: str, work: Awaitable[T], **ids: str) -> T | None:
    """The result of the work.

    None: it failed, which ends neither the worker nor the work that follows.
    """
    try:
        return await work
    except Unavailable:
        log.warning("purge_store_unavailable", what=what, **ids)
    except Exception:
        log.exception("purge_failed", what=what, **ids)
    return None


async def _purge_kind(database: Database, kind: str) -> None:
    """Purge until a batch is not full.

    Rows that expire meanwhile wait for the next pass, so that the other kinds are purged too.
    """
    done = await _in_batches(kind, partial(_purge_batch, database, kind), size=BATCH)
    if done.rows:
        log.info("purged", kind=kind, rows=done.rows)


async def _purge_batch(database: Database, kind: str, limit: int, skip: int | None) -> int:
    async with database.transaction() as session:
        now = await database.now(session)
        return await purge_kind(session, kind, now, limit=limit, skip=skip)


@dataclass(frozen=True, slots=True)
class Done:
    """How many rows were deleted, and how many could not be."""

    rows: int
    failed: int


async def _in_batches(
    kind: str, run_batch: Callable[[int, int | None], Awaitable[int]], *, size: int
) -> Done:
    """Run batches until one is not full, without the rows that cannot be deleted.

    `run_batch` takes a limit and how many rows it skips. A batch that fails is tried in smaller
    parts, until the row at fault is alone. That row is logged and skipped.

    Raises:
        Unavailable: the store is unavailable.
    """
    rows, limit, failed, is_isolating = 0, size, 0, False
    while failed < MAX_FAILED:
        try:
            done = await run_batch(limit, failed if is_isolating else None)
        except Unavailable:
            raise
        except Exception:
            if limit == 1:
                log.exception("purge_failed", what=kind)
                failed += 1
            limit, is_isolating = size if limit == 1 else max(1, limit // 10), True
        else:
            rows += done
            if done < limit:
                break
            limit = min(size, limit * 10)
        await asyncio.sleep(PAUSE_SECONDS)
    return Done(rows, failed)
