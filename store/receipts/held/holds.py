"""The holds of projects: added, removed, listed, and matched with an incident.

`lock_matching_hold` locks the hold that it finds until the transaction ends. The end of a hold
waits for that lock, so every repair that it holds is stored before its repairs are released. Called
by `store.receipts.repairs`, the operations and the worker's loop.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import EventId, HoldId, ProjectId
from domain.repairing.holds import HELD_COUNTED, Hold
from domain.values.timestamps import to_unix_ms
from store.crypto.tokens import new_hold_id
from store.db.sql import Statements
from store.schema.repairing_mappers import hold_from
from store.schema.tables import HOLD_IS_ACTIVE, HOLDS, REPAIR_IS_HELD, REPAIRS

# Of one project at once: each request of a repair reads them.
MOST_HOLDS = 200
_MATCHING = """
SELECT h.id FROM holds h JOIN receipts r ON r.project_id = h.project_id
WHERE r.event_id = $1 AND h.ended_at IS NULL
  AND (h.until_at IS NULL OR h.until_at > $2)
  AND (h.effect_type IS NULL OR h.effect_type = r.effect_type)
  AND (h.internal_reference IS NULL OR h.internal_reference = r.internal_reference)
ORDER BY h.id LIMIT 1"""


@dataclass(frozen=True, slots=True)
class NewHold:
    """A hold to add. Neither effect type nor reference: it is of all incidents."""

    effect_type: str | None
    internal_reference: str | None
    reason: str
    until: datetime | None


async def matching_hold(st: Statements, event_id: EventId, now: datetime) -> HoldId | None:
    """The first active hold that matches the receipt's incident; None if there is none."""
    for (hold_id,) in await st.fetch(_MATCHING, event_id, to_unix_ms(now)):
        return HoldId(hold_id)
    return None


async def lock_matching_hold(st: Statements, event_id: EventId, now: datetime) -> HoldId | None:
    """`matching_hold`, which cannot end before this transaction does."""
    locks = " FOR SHARE OF h" if st.dialect == "postgresql" else ""
    for (hold_id,) in await st.fetch(_MATCHING + locks, event_id, to_unix_ms(now)):
        return HoldId(hold_id)
    return None


async def add_hold(
    session: AsyncSession, project_id: ProjectId, new: NewHold, now: datetime, *, created_by: str
) -> Hold:
    """Add a hold, active from this transaction on.

    Raises: ValidationFailed: the project has `MOST_HOLDS` active ones.
    """
    active = select(HOLDS.c.id).where(HOLDS.c.project_id == project_id, text(HOLD_IS_ACTIVE))
    if len((await session.execute(active.limit(MOST_HOLDS))).all()) >= MOST_HOLDS:
        message = f"A project has at most {MOST_HOLDS} holds: remove one first."
        raise ValidationFailed(errors=(FieldError("", "too_many", message),))
    values = {
        "id": new_hold_id(),
        "project_id": project_id,
        "effect_type": new.effect_type,
        "internal_reference": new.internal_reference,
        "reason": new.reason,
        "until_at": new.until,
        "created_at": now,
        "created_by": created_by,
    }
    row = (await session.execute(HOLDS.insert().values(**values).returning(HOLDS))).one()
    return hold_from(row, held=0)


async def list_holds(session: AsyncSession, project_id: ProjectId) -> list[Hold]:
    """The project's active holds, oldest first, each with the number of repairs that it holds."""
    query = select(HOLDS).where(HOLDS.c.project_id == project_id, text(HOLD_IS_ACTIVE))
    rows = (await session.execute(query.order_by(HOLDS.c.id).limit(MOST_HOLDS))).all()
    return [hold_from(row, held=await count_held(session, row.id)) for row in rows]


async def read_hold(session: AsyncSession, project_id: ProjectId, hold_id: HoldId) -> Hold:
    """The project's hold, active or ended. Raises: NotFound."""
    query = select(HOLDS).where(HOLDS.c.id == hold_id, HOLDS.c.project_id == project_id)
    row = (await session.execute(query)).first()
    if row is None:
        raise NotFound
    return hold_from(row, held=await count_held(session, hold_id))


async def end_hold(
    session: AsyncSession, project_id: ProjectId, hold_id: HoldId, now: datetime
) -> Hold:
    """End the hold now. A second time changes nothing. Raises: NotFound."""
    hold = await read_hold(session, project_id, hold_id)
    is_active = (HOLDS.c.id == hold_id, HOLDS.c.ended_at.is_(None))
    await session.execute(update(HOLDS).where(*is_active).values(ended_at=now))
    return hold


async def count_held(session: AsyncSession, hold_id: str) -> int:
    """How many repairs the hold holds, at most `HELD_COUNTED`, by the index `repairs_held`."""
    held = select(REPAIRS.c.replay_id).where(REPAIRS.c.hold_id == hold_id, text(REPAIR_IS_HELD))
    counted = held.limit(HELD_COUNTED).subquery()
    return await session.scalar(select(func.count()).select_from(counted)) or 0
