"""Finds which outbox rows a dispatcher leases next: urgent ones, due ones, and plain ones.

The head of a receipt is its oldest row. A head is free when no dispatcher has its lease. Each query
looks at a fixed number of rows, so the work of a claim is bounded. Used by `store.receipts.outbox`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    exists,
    func,
    literal_column,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncSession

from domain.temporal.outbox import URGENT_KINDS
from domain.values.round_robin import round_robin
from store.schema.tables import OUTBOX, RECEIPT_IS_UNDECIDED, RECEIPTS

DUE_WITHIN_SECONDS = 10
DUE_LOOKED_AT = 500
URGENT_LOOKED_AT = 100
# Of the oldest plain rows, and of the newest. A walk between them looks at more.
PLAIN_LOOKED_AT = 100
PLAIN_WALKED = 500
MOST_SERVED = 1_000
# At most one slot in so many goes to heads that were tried before, while others are free.
TRIED_PART = 4
_URGENT = OUTBOX.alias("urgent")
# Literals, not bound values: both databases use the partial index `outbox_urgent` only for
# literals.
_is_urgent = _URGENT.c.kind.in_(tuple(literal_column(f"'{kind.value}'") for kind in URGENT_KINDS))


Place = tuple[datetime | None, int]  # of a row: `claimed_until` and `id`


@dataclass(slots=True)
class ClaimWalk:
    """What a dispatcher remembers between its claims. It is a hint: nothing is lost with it.

    `due`, `fresh` and `tried` are its positions in the due receipts and in the plain rows. `served`
    has the projects that got slots, the last one at the end.
    """

    due: tuple[datetime, str] | None = None
    fresh: Place | None = None
    tried: Place | None = None
    served: dict[str, None] = field(default_factory=dict)

    def in_turn(self, heads: "Iterable[Head]") -> "list[Head]":
        """The heads, those of projects that were served longest ago first."""
        turns = {project_id: turn for turn, project_id in enumerate(self.served)}
        return sorted(heads, key=lambda head: turns.get(head.project_id, -1))

    def serve(self, heads: "Iterable[Head]") -> None:
        """Note that the projects of these heads got slots."""
        for head in heads:
            self.served.pop(head.project_id, None)
            self.served[head.project_id] = None
        while len(self.served) > MOST_SERVED:
            del self.served[next(iter(self.served))]


@dataclass(frozen=True, slots=True)
class Head:
    """The oldest row of a receipt, free to lease. `claimed_until` None: nobody has tried it yet."""

    row_id: int
    event_id: str
    project_id: str
    claimed_until: datetime | None

    @property
    def is_fresh(self) -> bool:
        return self.claimed_until is None

    @property
    def place(self) -> Place:
        return self.claimed_until, self.row_id


async def urgent_heads(session: AsyncSession, now: datetime) -> list[Head]:
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
    return list({head.row_id: head for head in (*oldest, *newest)}.values())


async def plain_heads(
    session: AsyncSession, now: datetime, slots: int, walk: ClaimWalk
) -> tuple[list[Head], bool]:
    """Untried heads, then those whose backoff is over, by the index `outbox_by_turn`.

    Of each: those among the oldest rows and, of projects that have fewer than `slots` there, those
    among the newest rows and in one further part at each call. The walk reaches every row. True:
    there may be more.
    """
    untried = OUTBOX.c.claimed_until.is_(None)
    fresh, walk.fresh, is_long = await _plain_heads(session, untried, slots, walk.fresh)
    is_over = OUTBOX.c.claimed_until <= now
    tried, walk.tried, is_long_too = await _plain_heads(session, is_over, slots, walk.tried)
    return fresh + tried, is_long or is_long_too


async def due_heads(session: AsyncSession, now: datetime, walk: ClaimWalk) -> list[Head]:
    """Heads of receipts near or past their deadline: those of the earliest deadlines, and one
    further part at each call.

    Each part has a fixed number of receipts, dispatched or not, so the work is bounded. The walk
    reaches every receipt.
    """
    first, last = await _due_part(session, now, after=None)
    if last is None:
        walk.due = None
        return first
    further, walk.due = await _due_part(session, now, after=walk.due or last)
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


def share_slots(heads: list[Head], slots: int, walk: ClaimWalk) -> list[Head]:
    """Share the slots: projects in turns, also over several claims; heads that failed before get at
    most a quarter while others are free.
    """
    turns = round_robin(walk.in_turn(heads), lambda head: head.project_id)
    fresh, tried = (
        [head for head in turns if head.is_fresh],
        [head for head in turns if not head.is_fresh],
    )
    again = tried[: max(min(1, slots), slots // TRIED_PART, slots - len(fresh))]
    chosen = (fresh[: slots - len(again)] + again)[:slots]
    walk.serve(chosen)
    return chosen


async def _plain_heads(
    session: AsyncSession, is_free: ColumnElement[bool], slots: int, after: Place | None
) -> tuple[list[Head], Place | None, bool]:
    """The heads, the position of the walk, and whether there are more rows than the oldest."""
    oldest, end = await _plain_part(session, is_free, limit=PLAIN_LOOKED_AT)
    if end is None:
        return oldest, None, False
    counted = Counter(head.project_id for head in oldest)
    known = [project_id for project_id, heads in counted.items() if heads >= slots]
    newest, _ = await _plain_part(
        session, is_free, _beyond(end), limit=PLAIN_LOOKED_AT, is_newest=True, known=known
    )
    walked = end if after is None else max(end, after, key=_order)
    further, after = await _plain_part(
        session, is_free, _beyond(walked), limit=PLAIN_WALKED, known=known
    )
    found = {head.row_id: head for head in (*oldest, *further, *newest)}
    return list(found.values()), after, True


async def _plain_part(
    session: AsyncSession,
    *conditions: ColumnElement[bool],
    limit: int,
    is_newest: bool = False,
    known: Sequence[str] = (),
) -> tuple[list[Head], Place | None]:
    """The heads among the first rows, or the newest, but for those of the known projects; and where
    the part ended, None if it has all rows.

    Scalar subqueries: no planner turns them into a scan of a table.
    """
    place = (OUTBOX.c.claimed_until, OUTBOX.c.id)
    order = [column.desc() for column in place] if is_newest else list(place)
    rows = select(*place, OUTBOX.c.event_id).where(*conditions).order_by(*order)
    last = (await session.execute(rows.limit(1).offset(limit - 1))).first()
    part = rows.limit(limit).subquery()
    older = OUTBOX.alias("older")
    first_id = select(func.min(older.c.id)).where(older.c.event_id == part.c.event_id)
    of_receipt = select(RECEIPTS.c.project_id).where(RECEIPTS.c.event_id == part.c.event_id)
    project_id = func.coalesce(of_receipt.scalar_subquery(), "")
    heads = select(part, project_id.label("project_id"))
    heads = heads.where(part.c.id == first_id.scalar_subquery(), project_id.not_in(known))
    return (
        sorted(await _read_heads(session, heads), key=lambda head: _order(head.place)),
        None if last is None else (last.claimed_until, last.id),
    )


def _beyond(place: Place) -> ColumnElement[bool]:
    """The rows after this one, among the untried or among the others."""
    until, row_id = place
    if until is None:
        return OUTBOX.c.id > row_id
    return tuple_(OUTBOX.c.claimed_until, OUTBOX.c.id) > (until, row_id)


def _order(place: Place) -> tuple[float, int]:
    until, row_id = place
    return 0.0 if until is None else until.timestamp(), row_id


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
    return Head(int(row.id), row.event_id, row.project_id or "", row.claimed_until)


def _is_free_head(now: datetime) -> tuple[ColumnElement[bool], ...]:
    older = OUTBOX.alias("older")
    has_older = exists().where(older.c.event_id == OUTBOX.c.event_id, older.c.id < OUTBOX.c.id)
    return or_(OUTBOX.c.claimed_until.is_(None), OUTBOX.c.claimed_until <= now), ~has_older
