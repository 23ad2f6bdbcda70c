"""One step of a bulk repair, in short transactions. Each is safe to run twice.

1. `settle_items`: what became of the repairs that it began.
2. `decide`: what it does now, under a lock on its row (`domain.repairing.bulk.next_step`).
3. `begin_next`: the next waiting incident begins or is skipped, in one transaction with its repair.
   A process that dies leaves both or neither.

Called by the activity of `activities.bulk`.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import IncidentAlreadyResolved, NotFound, RepairUrlMissing, Superseded
from domain.ids import BulkId, EventId, IncidentId, ProjectId
from domain.incidents import AlertKind, RepairCause, RepairState
from domain.repairing.bulk import (
    BulkRepair,
    BulkState,
    Finish,
    ItemState,
    Over,
    SkipReason,
    Step,
    Stop,
    next_paced_at,
    next_step,
)
from domain.values.timestamps import to_unix_ms
from store.db.sql import SessionStatements, Statements, limit_lock_wait
from store.receipts.repairs import request_repair
from store.receipts.rows.alerts import insert_alert, read_recipients
from store.receipts.state import lock_receipt
from store.repairing.bulk_repairs import read_bulk_repair
from store.schema.tables import BULK_IS_TO_DELIVER, BULK_IS_UNDONE, BULK_REPAIRS

SETTLED_AT_ONCE = 200
# Then the incident is skipped: a broken one does not stop the others.
MOST_TRIES = 5
_DECIDED = """
SELECT i.position, i.event_id, r.state, r.cause
FROM bulk_repair_items i LEFT JOIN repairs r ON r.replay_id = i.replay_id
WHERE i.bulk_id = $1 AND i.state = 'repairing'
  AND (r.state IS NULL OR r.state IN ('succeeded', 'failed'))
ORDER BY i.position LIMIT $2"""
_SETTLE = """
UPDATE bulk_repair_items SET state = $1, skipped_because = $2, decided_at = $3
WHERE bulk_id = $4 AND position = $5 AND state = 'repairing' RETURNING 1"""
_NEXT = """
SELECT position, event_id FROM bulk_repair_items
WHERE bulk_id = $1 AND state = 'waiting' ORDER BY position LIMIT 1"""
_SKIP = """
UPDATE bulk_repair_items SET state = 'skipped', skipped_because = $1, decided_at = $2
WHERE bulk_id = $3 AND position = $4 AND state = 'waiting'"""
_BEGIN = """
UPDATE bulk_repair_items SET state = 'repairing', replay_id = $1, begun_at = $2
WHERE bulk_id = $3 AND position = $4 AND state = 'waiting'"""
_FAILED_TO_BEGIN = """
UPDATE bulk_repair_items SET tries = tries + 1
WHERE bulk_id = $1 AND state = 'waiting' AND position = (
  SELECT min(position) FROM bulk_repair_items WHERE bulk_id = $1 AND state = 'waiting')
RETURNING position, tries"""


@dataclass(frozen=True, slots=True)
class UndoneBulk:
    """A bulk repair whose workflow must run. `version` is that of its last change."""

    id: BulkId
    project_id: ProjectId
    version: int


async def settle_items(session: AsyncSession, bulk_id: BulkId, now: datetime) -> int:
    """Record what became of begun repairs; returns how many, at most `SETTLED_AT_ONCE`."""
    st = SessionStatements(session)
    rows = await st.fetch(_DECIDED, bulk_id, SETTLED_AT_ONCE)
    for position, _, state, cause in rows:
        outcome, because = _outcome(state, cause)
        at, skipped = to_unix_ms(now), None if because is None else because.value
        await st.fetch(_SETTLE, outcome.value, skipped, at, bulk_id, position)
    if rows:
        changed = update(BULK_REPAIRS).where(BULK_REPAIRS.c.id == bulk_id)
        await session.execute(changed.values(changed_at=now))
    return len(rows)


async def decide(session: AsyncSession, bulk_id: BulkId, now: datetime) -> Step:
    """What the bulk repair does now. A stop and an end are recorded, with their alerts.

    Raises: NotFound: it is gone, with its project.
    """
    bulk = await read_bulk_repair(session, None, bulk_id, locked=True)
    step = next_step(bulk, now)
    row = update(BULK_REPAIRS).where(BULK_REPAIRS.c.id == bulk_id)
    match step:
        case Stop(because):
            stopped = {"state": BulkState.STOPPED.value, "stopped_because": because}
            await session.execute(row.values(**stopped, ended_at=now, changed_at=now))
            await alert_ended(session, bulk, now)
        case Finish():
            finished = {"state": BulkState.FINISHED.value, "ended_at": now, "done_at": now}
            await session.execute(row.values(**finished, changed_at=now))
            await alert_ended(session, bulk, now)
        case Over():
            await session.execute(row.values(done_at=now))
        case _:
            pass
    await session.execute(row.values(stepped_at=now))
    return step


async def begin_next(session: AsyncSession, bulk_id: BulkId, now: datetime) -> bool | None:
    """Begin the next waiting incident, or skip it. Returns whether it began; None: none is left, or
    the bulk repair does not run any more.

    Raises: NotFound: it is gone, with its project.
    """
    st = SessionStatements(session)
    await limit_lock_wait(st)
    bulk = await read_bulk_repair(session, None, bulk_id, locked=True)
    if bulk.state != BulkState.RUNNING:
        return None
    for position, event_id in await st.fetch(_NEXT, bulk_id):
        skipped = await _begin(st, bulk, position, EventId(event_id), now)
        if skipped is not None:
            await st.fetch(_SKIP, skipped.value, to_unix_ms(now), bulk_id, position)
        values: dict[str, object] = {"changed_at": now}
        if skipped is None:
            values |= {"begun": bulk.begun + 1, "paced_at": next_paced_at(bulk, now)}
        await session.execute(
            update(BULK_REPAIRS).where(BULK_REPAIRS.c.id == bulk_id).values(**values)
        )
        return skipped is None
    return None


async def record_broken(session: AsyncSession, bulk_id: BulkId, now: datetime) -> None:
    """Count a failure of the next waiting incident to begin. After `MOST_TRIES` it is skipped."""
    st = SessionStatements(session)
    for position, tries in await st.fetch(_FAILED_TO_BEGIN, bulk_id):
        if tries >= MOST_TRIES:
            because = SkipReason.NOT_BEGUN.value
            await st.fetch(_SKIP, because, to_unix_ms(now), bulk_id, position)


async def bulks_to_deliver(session: AsyncSession, *, after: str, limit: int) -> list[UndoneBulk]:
    """Bulk repairs with a change that their workflow was not signalled, by id, after `after`."""
    return await _undone(session, BULK_IS_TO_DELIVER, after, limit)


async def undone_bulks(session: AsyncSession, *, after: str, limit: int) -> list[UndoneBulk]:
    """Bulk repairs that are not done, by id, after `after`."""
    return await _undone(session, BULK_IS_UNDONE, after, limit)


async def mark_delivered(session: AsyncSession, bulk: UndoneBulk) -> None:
    """Record that the workflow was signalled this version."""
    row = update(BULK_REPAIRS).where(
        BULK_REPAIRS.c.id == bulk.id, BULK_REPAIRS.c.delivered_version < bulk.version
    )
    await session.execute(row.values(delivered_version=bulk.version))


async def alert_ended(session: AsyncSession, bulk: BulkRepair, now: datetime) -> None:
    """Insert the alerts of its end, one for each destination."""
    st, kind = SessionStatements(session), AlertKind.BULK_REPAIR_ENDED
    for recipient in await read_recipients(st, bulk.project_id, kind):
        await insert_alert(
            st,
            project_id=bulk.project_id,
            incident_id=IncidentId(bulk.id),
            event_id=EventId(bulk.id),
            kind=kind,
            about="",
            recipient=recipient,
            now=now,
        )


async def _undone(
    session: AsyncSession, condition: str, after: str, limit: int
) -> list[UndoneBulk]:
    st = SessionStatements(session)
    rows = await st.fetch(
        f"SELECT id, project_id, version FROM bulk_repairs WHERE {condition} AND id > $1"  # noqa: S608 - constants only
        " ORDER BY id LIMIT $2",
        after,
        limit,
    )
    return [UndoneBulk(BulkId(id_), ProjectId(project), version) for id_, project, version in rows]


async def _begin(
    st: Statements,
    bulk: BulkRepair,
    position: int,
    event_id: EventId,
    now: datetime,
) -> SkipReason | None:
    """Request the repair of one incident; why it is skipped, None if it began."""
    try:
        snapshot = await lock_receipt(st, event_id)
        if snapshot.active_replay_id is not None:
            return SkipReason.ALREADY_REPAIRING
        confirm = bulk.include_superseded
        begun = await request_repair(st, event_id, now, requested_by=bulk.id, confirm=confirm)
    except Superseded:
        return SkipReason.SUPERSEDED
    except IncidentAlreadyResolved:
        return SkipReason.INCIDENT_RESOLVED
    except RepairUrlMissing:
        return SkipReason.REPAIR_URL_MISSING
    except NotFound:
        return SkipReason.NOT_FOUND
    await st.fetch(_BEGIN, begun.replay_id, to_unix_ms(now), bulk.id, position)
    return None


def _outcome(state: str | None, cause: str | None) -> tuple[ItemState, SkipReason | None]:
    """What became of an item, from its repair. A success without the repair is a success too."""
    match state, cause:
        case None, _:
            return ItemState.SKIPPED, SkipReason.NOT_FOUND
        case RepairState.SUCCEEDED, _:
            return ItemState.SUCCEEDED, None
        case _, RepairCause.SUPERSEDED:
            return ItemState.SUCCEEDED, None
        case _, RepairCause.CLOSED:
            return ItemState.SKIPPED, SkipReason.CLOSED
        case _, RepairCause.STOPPED:
            return ItemState.SKIPPED, SkipReason.STOPPED
        case _:
            return ItemState.FAILED, None
