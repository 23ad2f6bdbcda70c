"""Finds which outbox rows a dispatcher leases next: urgent ones, due ones, and plain ones.

The head of a receipt is its oldest row. A head is free when no dispatcher has its lease. Each query
looks at a fixed number of rows, so the work of a claim is bounded. Used by `store.receipts.outbox`.

Statistics may be old or missing, so no planner is left a choice of index or join: a part is read in
the order of one index, and what belongs to its rows by scalar queries, each with an order that only
one index has.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Label,
    Row,
    ScalarSelect,
    TextClause,
    column,
    func,
    literal_column,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncSession

from domain.temporal.outbox import URGENT_KINDS
from domain.temporal.outbox_turns import ClaimWalk, Head, Place, in_order, order
from store.schema.tables import OUTBOX, RECEIPT_IS_UNDECIDED, RECEIPTS

DUE_WITHIN_SECONDS = 10
DUE_LOOKED_AT = 500
# Of the oldest rows, and of the newest. A walk between them looks at more.
ENDS_LOOKED_AT = 100
WALKED = 500
_claimed_until, _id, _event_id, _kind = (
    column(name, OUTBOX.c[name].type) for name in ("claimed_until", "id", "event_id", "kind")
)
# Literals, not bound values: both databases use the partial index `outbox_urgent` only for
# literals.
_is_urgent = _kind.in_(tuple(literal_column(f"'{kind.value}'") for kind in URGENT_KINDS))


async def urgent_heads(session: AsyncSession, now: datetime, walk: ClaimWalk) -> list[Head]:
    """Heads with operator requests, by the index `outbox_urgent`.

    Those of the first and last receipts by id, and of one further part at each call: thousands from
    one project do not delay another's. The walk reaches every receipt.
    """
    oldest, end = await _urgent_part(session, now, limit=ENDS_LOOKED_AT)
    if end is None:
        walk.urgent = None
        return in_order(oldest)
    newest, _ = await _urgent_part(session, now, limit=ENDS_LOOKED_AT, is_newest=True)
    after = end if walk.urgent is None else max(end, walk.urgent)
    further, walk.urgent = await _urgent_part(session, now, limit=WALKED, after=after)
    return in_order((*oldest, *newest, *further))


async def plain_heads(
    session: AsyncSession, now: datetime, slots: int, walk: ClaimWalk
) -> tuple[list[Head], bool]:
    """Untried heads, then those whose backoff is over, by the index `outbox_by_turn`.

    Of each: those among the oldest rows and, of projects that have fewer than `slots` there, those
    among the newest rows and in one further part at each call. The walk reaches every row. True:
    there may be more.
    """
    untried, is_over = _claimed_until.is_(None), _claimed_until <= now
    fresh, walk.fresh, is_long = await _plain_heads(session, untried, slots, walk.fresh)
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
    # By the receipts: with the ids, PostgreSQL might read `outbox_by_turn` to its end.
    event_ids = [head.event_id for head in heads]
    if not event_ids:
        return []
    free = select(OUTBOX.c.event_id).where(OUTBOX.c.event_id.in_(event_ids))
    is_free = or_(OUTBOX.c.claimed_until.is_(None), OUTBOX.c.claimed_until <= now)
    free = free.where(is_free, OUTBOX.c.id == _first(session, OUTBOX, "id"))
    return [
        row.event_id
        for row in await session.execute(free.with_for_update(skip_locked=True, of=OUTBOX))
    ]


async def _urgent_part(
    session: AsyncSession,
    now: datetime,
    *,
    limit: int,
    after: str = "",
    is_newest: bool = False,
) -> tuple[list[Head], str | None]:
    """The free heads of the first receipts with operator requests, or of the last ones; and where
    the part ended, None if it has all of them.
    """
    asked = select(_event_id).select_from(_by(session, "outbox_urgent"))
    asked = asked.where(_is_urgent, _event_id > after)
    asked = asked.order_by(_event_id.desc() if is_newest else _event_id)
    part = asked.limit(limit).subquery()
    heads = select(part, *_head_of(session, part), _project_id(session, part))
    rows = (await session.execute(heads)).all()
    end = max(row.event_id for row in rows) if len(rows) == limit else None
    return _free_heads(rows, now), end


async def _plain_heads(
    session: AsyncSession, is_free: ColumnElement[bool], slots: int, after: Place | None
) -> tuple[list[Head], Place | None, bool]:
    """The heads, the position of the walk, and whether there are more rows than the oldest."""
    oldest, end = await _plain_part(session, is_free, limit=ENDS_LOOKED_AT)
    if end is None:
        return in_order(oldest), None, False
    counted = Counter(head.project_id for head in oldest)
    known = [project_id for project_id, heads in counted.items() if heads >= slots]
    newest, _ = await _plain_part(
        session, is_free, _beyond(end), limit=ENDS_LOOKED_AT, is_newest=True, known=known
    )
    walked = end if after is None else max(end, after, key=order)
    further, after = await _plain_part(session, is_free, _beyond(walked), limit=WALKED, known=known)
    return in_order((*oldest, *further, *newest)), after, True


async def _plain_part(
    session: AsyncSession,
    *conditions: ColumnElement[bool],
    limit: int,
    is_newest: bool = False,
    known: Sequence[str] = (),
) -> tuple[list[Head], Place | None]:
    """The heads among the first rows, or the newest, but for those of the known projects; and where
    the part ended, None if it has all rows.
    """
    turn = [place.desc() if is_newest else place for place in (_claimed_until, _id)]
    rows = select(_claimed_until, _id, _event_id).select_from(_by(session, "outbox_by_turn"))
    rows = rows.where(*conditions).order_by(*turn)
    last = (await session.execute(rows.limit(1).offset(limit - 1))).first()
    part = rows.limit(limit).subquery()
    project_id = _project_id(session, part)
    heads = select(part, project_id).where(part.c.id == _first(session, part, "id"))
    heads = heads.where(project_id.element.not_in(known))
    found = [_head_from(row) for row in await session.execute(heads)]
    return found, None if last is None else (last.claimed_until, last.id)


def _is_sqlite(session: AsyncSession) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def _by(session: AsyncSession, index: str, *, alias: str = "outbox") -> TextClause:
    """The outbox, read by this index. With statistics, SQLite might choose another one."""
    by_index = f" INDEXED BY {index}" if _is_sqlite(session) else ""
    return text(f"outbox AS {alias}{by_index}")


def _first(session: AsyncSession, rows: FromClause, name: str) -> ScalarSelect[Any]:
    """A column of the oldest row of a receipt, by the index `outbox_by_event`."""
    value, event_id, row_id = (
        literal_column(f"oldest.{one}", OUTBOX.c[one].type) for one in (name, "event_id", "id")
    )
    first = select(value).select_from(_by(session, "outbox_by_event", alias="oldest"))
    first = first.where(_is_same(session, event_id, rows.c.event_id)).correlate(rows)
    return first.order_by(event_id, row_id).limit(1).scalar_subquery()


def _head_of(session: AsyncSession, rows: FromClause) -> list[Label[Any]]:
    return [_first(session, rows, name).label(name) for name in ("id", "claimed_until")]


def _project_id(session: AsyncSession, rows: FromClause) -> Label[Any]:
    """The project of a receipt, by its primary key; empty without a receipt: such a row must be
    found too, so that it is backed off.
    """
    receipt = select(RECEIPTS.c.project_id).correlate(rows).order_by(RECEIPTS.c.event_id).limit(1)
    receipt = receipt.where(_is_same(session, RECEIPTS.c.event_id, rows.c.event_id))
    return func.coalesce(receipt.scalar_subquery(), "").label("project_id")


def _is_same(
    session: AsyncSession, event_id: ColumnElement[Any], other: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Whether both are equal. As a range, PostgreSQL does not drop the column from an order."""
    return event_id == other if _is_sqlite(session) else event_id.between(other, other)


def _beyond(place: Place) -> ColumnElement[bool]:
    """The rows after this one, among the untried or among the others."""
    until, row_id = place
    return _id > row_id if until is None else tuple_(_claimed_until, _id) > (until, row_id)


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
    # Sorted again, in case that the part is not read in its order.
    heads = select(part, *_head_of(session, part)).order_by(part.c.deadline_at, part.c.event_id)
    rows = (await session.execute(heads)).all()
    end = (rows[-1].deadline_at, rows[-1].event_id) if len(rows) >= DUE_LOOKED_AT else None
    return _free_heads(rows, now), end


def _free_heads(rows: Iterable[Row[Any]], now: datetime) -> list[Head]:
    """Those of the heads that exist and have no lease; each once."""
    heads = {row.id: _head_from(row) for row in rows if row.id is not None}
    return [one for one in heads.values() if one.claimed_until is None or one.claimed_until <= now]


def _head_from(row: Row[Any]) -> Head:
    return Head(int(row.id), row.event_id, row.project_id or "", row.claimed_until)
