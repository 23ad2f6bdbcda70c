"""Finds which receipts' outbox rows a dispatcher leases next: urgent ones, due ones, and the
oldest.

The head of a receipt is its oldest row. A head is free when no dispatcher has its lease. Used by
`store.receipts.outbox`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, exists, literal_column, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.temporal.outbox import URGENT_KINDS
from domain.values.round_robin import round_robin
from store.schema.tables import OUTBOX, RECEIPT_IS_UNDECIDED, RECEIPTS

DUE_WITHIN_SECONDS = 10
DUE_LOOKED_AT = 500
URGENT_LOOKED_AT = 100
# At most one slot in so many goes to heads that were tried before, while others are free.
TRIED_PART = 4
_URGENT = OUTBOX.alias("urgent")
# Literals, not bound values: both databases use the partial index `outbox_urgent` only for
# literals.
_is_urgent = _URGENT.c.kind.in_(tuple(literal_column(f"'{kind.value}'") for kind in URGENT_KINDS))


@dataclass(slots=True)
class DueWalk:
    """A dispatcher's position in the due receipts. It is a hint: nothing is lost with it."""

    after: tuple[datetime, str] | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The oldest row of a receipt, free to lease. `is_fresh`: no dispatcher has tried it yet."""

    row_id: int
    event_id: str
    project_id: str
    is_fresh: bool


async def urgent_heads(session: AsyncSession, now: datetime, limit: int) -> list[Head]:
    """Heads with operator requests, from both ends: thousands from one project do not delay
    another's newest one.
    """
    urgent = OUTBOX.c.event_id.in_(select(_URGENT.c.event_id).where(_is_urgent))
    query = _heads(now).where(urgent).limit(URGENT_LOOKED_AT)
    oldest = await _read_heads(session, query.order_by(OUTBOX.c.id))
    newest = (
        await _read_heads(session, query.order_by(OUTBOX.c.id.desc()))
        if len(oldest) == URGENT_LOOKED_AT
        else []
    )
    return share_slots(list({head.row_id: head for head in (*oldest, *newest)}.values()), limit)


async def oldest_heads(session: AsyncSession, now: datetime, limit: int) -> list[Head]:
    """The oldest untried heads, then those whose backoff is over, by the index `outbox_by_turn`."""
    by_turn = _heads(now).order_by(OUTBOX.c.claimed_until, OUTBOX.c.id).limit(limit)
    fresh = await _read_heads(session, by_turn.where(OUTBOX.c.claimed_until.is_(None)))
    return fresh + await _read_heads(session, by_turn.where(OUTBOX.c.claimed_until <= now))


async def due_heads(session: AsyncSession, now: datetime, walk: DueWalk) -> list[Head]:
    """Heads of receipts near or past their deadline: those of the earliest deadlines, and one
    further part at each call.

    Each part has a fixed number of receipts, dispatched or not, so the work is bounded. The walk
    reaches every receipt.
    """
    first, last = await _due_part(session, now, after=None)
    if last is None:
        walk.after = None
        return first
    further, walk.after = await _due_part(session, now, after=walk.after or last)
    return list({head.row_id: head for head in (*first, *further)}.values())


async def lock_free_heads(session: AsyncSession, now: datetime, heads: Iterable[Head]) -> list[str]:
    """Lock the heads that are still free until the transaction ends; returns their receipts."""
    row_ids = [head.row_id for head in heads]
    if not row_ids:
        return []
    free = select(OUTBOX.c.event_id).where(OUTBOX.c.id.in_(row_ids), *_is_free_head(now))
    return [
        row.event_id
        for row in await session.execute(free.with_for_update(skip_locked=True, of=OUTBOX))
    ]


def share_slots(heads: list[Head], slots: int) -> list[Head]:
    """Share the slots: projects in turns; heads that failed before get at most a quarter while
    others are free.
    """
    turns = round_robin(heads, lambda head: head.project_id)
    fresh, tried = (
        [head for head in turns if head.is_fresh],
        [head for head in turns if not head.is_fresh],
    )
    again = tried[: max(min(1, slots), slots // TRIED_PART, slots - len(fresh))]
    return (fresh[: slots - len(again)] + again)[:slots]


async def _due_part(
    session: AsyncSession, now: datetime, *, after: tuple[datetime, str] | None
) -> tuple[list[Head], tuple[datetime, str] | None]:
    """The free heads of the next part, and where it ended; None after the last part."""
    deadline_at, event_id = RECEIPTS.c.deadline_at, RECEIPTS.c.event_id
    is_undecided = text(RECEIPT_IS_UNDECIDED)
    is_due = deadline_at <= now + timedelta(seconds=DUE_WITHIN_SECONDS)
    query = select(event_id, RECEIPTS.c.project_id, deadline_at).where(is_undecided, is_due)
    if after is not None:
        query = query.where(
            deadline_at >= after[0], or_(deadline_at > after[0], event_id > after[1])
        )
    part = query.order_by(deadline_at, event_id).limit(DUE_LOOKED_AT).subquery()
    is_head = and_(OUTBOX.c.event_id == part.c.event_id, *_is_free_head(now))
    heads: Select[Any] = select(
        part.c.event_id, part.c.project_id, part.c.deadline_at, OUTBOX.c.id, OUTBOX.c.claimed_until
    )
    heads = heads.outerjoin_from(part, OUTBOX, is_head).order_by(
        part.c.deadline_at, part.c.event_id
    )
    rows = (await session.execute(heads)).all()
    end = (rows[-1].deadline_at, rows[-1].event_id) if len(rows) >= DUE_LOOKED_AT else None
    return [_head_from(row) for row in rows if row.id is not None], end


def _heads(now: datetime) -> Select[Any]:
    """The free heads: the oldest row of each receipt, unless it is leased."""
    heads = select(
        OUTBOX.c.id, OUTBOX.c.event_id, OUTBOX.c.claimed_until, RECEIPTS.c.project_id
    ).select_from(OUTBOX)
    # An outer join: a row without a receipt must be found too, so that it is backed off.
    return heads.outerjoin(RECEIPTS, RECEIPTS.c.event_id == OUTBOX.c.event_id).where(
        *_is_free_head(now)
    )


async def _read_heads(session: AsyncSession, query: Select[Any]) -> list[Head]:
    return [_head_from(row) for row in await session.execute(query)]


def _head_from(row: Row[Any]) -> Head:
    return Head(int(row.id), row.event_id, row.project_id or "", is_fresh=row.claimed_until is None)


def _is_free_head(now: datetime) -> tuple[ColumnElement[bool], ...]:
    older = OUTBOX.alias("older")
    has_older = exists().where(older.c.event_id == OUTBOX.c.event_id, older.c.id < OUTBOX.c.id)
    return or_(OUTBOX.c.claimed_until.is_(None), OUTBOX.c.claimed_until <= now), ~has_older
