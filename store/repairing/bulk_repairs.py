"""Bulk repairs: stored with their members, read, listed, paused, resumed, aborted.

Their steps are in `store.repairing.bulk_steps`. Called by the operations.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import BulkId, EventId, IncidentId, ProjectId
from domain.repairing.bulk import BulkItem, BulkRepair, BulkState, Counts, ItemState, Plan
from store.crypto.tokens import new_bulk_id
from store.db.paging import Page, read_cursor, write_cursor
from store.schema.repairing_mappers import bulk_from, bulk_item_from
from store.schema.tables import BULK_IS_UNDONE, BULK_REPAIR_ITEMS, BULK_REPAIRS

# Of one project at once: each has a workflow.
MOST_UNDONE = 10
_INSERTED_AT_ONCE = 1_000
_BULK_CURSOR = re.compile(r"(blk_[0-9a-f]{32})")
_ITEM_CURSOR = re.compile(r"(\d{1,9})")


@dataclass(frozen=True, slots=True)
class NewBulkRepair:
    """A bulk repair to store. `members` are its incidents with their receipts, in order."""

    reason: str
    requested_by: str
    plan: Plan
    include_superseded: bool
    members: Sequence[tuple[IncidentId, EventId]]


async def add_bulk_repair(
    session: AsyncSession, project_id: ProjectId, new: NewBulkRepair, now: datetime
) -> BulkId:
    """Store a bulk repair. A worker starts its workflow.

    Raises: ValidationFailed: `MOST_UNDONE` of the project are not done.
    """
    undone = select(BULK_REPAIRS.c.id).where(
        BULK_REPAIRS.c.project_id == project_id, text(BULK_IS_UNDONE)
    )
    if len((await session.execute(undone.limit(MOST_UNDONE))).all()) >= MOST_UNDONE:
        message = f"{MOST_UNDONE} bulk repairs of this project are not done: wait, or abort one."
        raise ValidationFailed(errors=(FieldError("", "too_many", message),))
    bulk_id = new_bulk_id()
    await session.execute(insert(BULK_REPAIRS).values(**_row(bulk_id, project_id, new, now)))
    rows = [
        {
            "bulk_id": bulk_id,
            "position": position,
            "incident_id": incident_id,
            "event_id": event_id,
            "state": ItemState.WAITING.value,
            "tries": 0,
        }
        for position, (incident_id, event_id) in enumerate(new.members, 1)
    ]
    for start in range(0, len(rows), _INSERTED_AT_ONCE):
        await session.execute(insert(BULK_REPAIR_ITEMS), rows[start : start + _INSERTED_AT_ONCE])
    return bulk_id


async def read_bulk_repair(
    session: AsyncSession, project_id: ProjectId | None, bulk_id: BulkId, *, locked: bool = False
) -> BulkRepair:
    """The bulk repair with its counts; of any project for None. Raises: NotFound."""
    query = select(BULK_REPAIRS).where(BULK_REPAIRS.c.id == bulk_id)
    if project_id is not None:
        query = query.where(BULK_REPAIRS.c.project_id == project_id)
    row = (await session.execute(query.with_for_update() if locked else query)).first()
    if row is None:
        raise NotFound
    return bulk_from(row, counts=await count_items(session, bulk_id))


async def list_bulk_repairs(
    session: AsyncSession,
    project_ids: Sequence[ProjectId] | None,
    *,
    limit: int,
    cursor: str | None = None,
) -> Page[BulkRepair]:
    """A page of the bulk repairs of these projects, newest first; of all projects for None."""
    query = select(BULK_REPAIRS).order_by(BULK_REPAIRS.c.id.desc()).limit(limit + 1)
    if project_ids is not None:
        query = query.where(BULK_REPAIRS.c.project_id.in_(project_ids))
    if cursor is not None:
        query = query.where(BULK_REPAIRS.c.id < read_cursor(cursor, _BULK_CURSOR)[1])
    rows = (await session.execute(query)).all()
    shown = [bulk_from(row, counts=await count_items(session, row.id)) for row in rows[:limit]]
    return Page(tuple(shown), write_cursor(shown[-1].id) if len(rows) > limit else None)


async def list_items(
    session: AsyncSession, bulk_id: BulkId, *, limit: int, cursor: str | None = None
) -> Page[BulkItem]:
    """A page of the items, in their order."""
    after = 0 if cursor is None else int(read_cursor(cursor, _ITEM_CURSOR)[1])
    of = BULK_REPAIR_ITEMS.c
    query = select(BULK_REPAIR_ITEMS).where(of.bulk_id == bulk_id, of.position > after)
    rows = (await session.execute(query.order_by(of.position).limit(limit + 1))).all()
    shown = [bulk_item_from(row) for row in rows[:limit]]
    last = str(shown[-1].position) if shown else ""
    return Page(tuple(shown), write_cursor(last) if len(rows) > limit else None)


async def count_items(session: AsyncSession, bulk_id: str) -> Counts:
    """The items by state, by the index `bulk_repair_items_by_state`."""
    of = BULK_REPAIR_ITEMS.c
    query = select(of.state, func.count()).where(of.bulk_id == bulk_id).group_by(of.state)
    found: dict[str, int] = dict(tuple(row) for row in await session.execute(query))
    return Counts(**{state.value: found.get(state.value, 0) for state in ItemState})


async def set_state(
    session: AsyncSession,
    project_id: ProjectId,
    bulk_id: BulkId,
    to: BulkState,
    now: datetime,
) -> tuple[BulkRepair, bool]:
    """Pause, resume or abort a bulk repair, and let its workflow be signalled.

    One that has ended, or is in that state, stays as it is. Returns it, and whether it changed.

    Raises: NotFound.
    """
    before = await read_bulk_repair(session, project_id, bulk_id, locked=True)
    if before.has_ended or before.state == to:
        return before, False
    values: dict[str, Any] = {  # Any: each column has its type
        "state": to.value,
        "changed_at": now,
        "version": BULK_REPAIRS.c.version + 1,
    }
    if to is BulkState.ABORTED:
        values["ended_at"] = now
    await session.execute(update(BULK_REPAIRS).where(BULK_REPAIRS.c.id == bulk_id).values(**values))
    return await read_bulk_repair(session, project_id, bulk_id), True


def _row(
    bulk_id: BulkId, project_id: ProjectId, new: NewBulkRepair, now: datetime
) -> dict[str, object]:
    return {
        "id": bulk_id,
        "project_id": project_id,
        "state": BulkState.RUNNING.value,
        "reason": new.reason,
        "requested_by": new.requested_by,
        "first_count": new.plan.first,
        "then_count": new.plan.then,
        "per_minute": new.plan.per_minute,
        "stop_at_failed_percent": new.plan.stop_at_failed_percent,
        "include_superseded": new.include_superseded,
        "created_at": now,
        "changed_at": now,
        "begun": 0,
        "version": 1,
        "delivered_version": 0,
    }
