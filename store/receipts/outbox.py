"""What the engine must still be told: claimed by the dispatcher under a lease, deleted when the engine has taken it.

An event's oldest row stands for the event: who has its lease has the event, so that what is said of one event is said in order
and by one dispatcher at a time. No lock is held while the engine is called. `store.receipts.state` and the front door write the
rows.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId
from domain.receipts import Receipt
from domain.values.round_robin import round_robin
from domain.values.timestamps import to_unix_ms
from store.db.sql import Statements
from store.schema import tables
from store.schema.mappers import RECEIPT_COLUMNS, RECEIPTS, receipt_from

OUTBOX = tables.Outbox.metadata.tables["outbox"]
# Longer than the slowest delivery, so that a claim is lost only with its process.
LEASE_SECONDS = 10
URGENT_KINDS = ("reprocess", "resolve", "expire", "restart")  # what a person asked for
# Both engines bound the values of one statement.
IDS_AT_ONCE = 5_000
DUE_WITHIN_SECONDS = 10
DUE_LOOKED_AT = 500
URGENT_LOOKED_AT = 100
TRIED_PART = 4  # of the places, one in so many is for what failed before
UNREADABLE_FOR = timedelta(minutes=10)
# An event's rows are sent in order: a requested restart waits no longer than this for older ones. As long as a lease.
RESTART_WITHIN = timedelta(seconds=10)
log = logging.getLogger(__name__)
_URGENT, _OTHERS = OUTBOX.alias("urgent"), OUTBOX.alias("others")
# Spelled out, not bound: only so do both engines see that the partial index `outbox_urgent` holds them all.
_is_urgent = _URGENT.c.kind.in_(tuple(literal_column(f"'{kind}'") for kind in URGENT_KINDS))


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One thing to tell: `kind` is start, result, reprocess, resolve, expire or restart; `fields` are JSON values."""

    id: int
    kind: str
    fields: dict[str, Any]  # Any: JSON, as the kind has it


@dataclass(frozen=True, slots=True)
class OutboxBatch:
    """Everything to tell about one event, oldest first."""

    event_id: EventId
    receipt: Receipt
    rows: tuple[OutboxRow, ...]
    is_due: bool = False  # claimed before its turn, since its deadline is near or past

    @property
    def is_urgent(self) -> bool:
        """Whether a person waits for what it says."""
        return any(row.kind in URGENT_KINDS for row in self.rows)


@dataclass(slots=True)
class DueWalk:
    """How far a dispatcher has looked through the receipts that are due; a hint, so that losing it loses nothing."""

    after: tuple[datetime, str] | None = None


@dataclass(frozen=True, slots=True)
class _Head:
    """An event's oldest row, which nobody holds. `is_fresh`: nobody has tried to tell it yet."""

    row_id: int
    event_id: str
    project_id: str
    is_fresh: bool


async def claim(
    session: AsyncSession,
    now: datetime,
    *,
    limit: int,
    due_limit: int = 0,
    urgent_limit: int = 0,
    lease_seconds: int = LEASE_SECONDS,
    walk: DueWalk | None = None,
) -> list[OutboxBatch]:
    """Events that nobody else is telling about, under a lease, each with all its rows; oldest first.

    Up to `limit` whatever they are; when there are more than that, up to `due_limit` in all, those first whose deadline is
    near or past; and besides up to `urgent_limit` of those that somebody waits for: a person asked. Projects take turns. What
    failed before gets a quarter of the places at most while there is anything else, so that it keeps nothing waiting.
    """
    urgent = await _urgent_heads(session, now, urgent_limit) if urgent_limit else []
    due: list[_Head] = []
    others: list[_Head] = []
    if limit:
        chosen = {head.event_id for head in urgent}
        others = [head for head in await _oldest_heads(session, now, limit + len(urgent)) if head.event_id not in chosen]
        if len(others) >= limit:
            found = [head for head in await _due_heads(session, now, walk or DueWalk()) if head.event_id not in chosen]
            due = _share(found, max(limit, due_limit))
            chosen |= {head.event_id for head in due}
            others = [head for head in others if head.event_id not in chosen]
        others = _share(others, max(0, limit - len(due)))
    heads = await _hold(session, now, [*urgent, *due, *others])
    if not heads:
        return []
    return await _lease(session, now, heads, due={head.event_id for head in due}, lease_seconds=lease_seconds)


async def _lease(
    session: AsyncSession, now: datetime, heads: list[str], *, due: set[str], lease_seconds: int
) -> list[OutboxBatch]:
    lease = update(OUTBOX).where(OUTBOX.c.event_id.in_(heads)).values(claimed_until=now + timedelta(seconds=lease_seconds))
    leased = await session.execute(lease.returning(OUTBOX.c.id, OUTBOX.c.event_id, OUTBOX.c.kind, OUTBOX.c.fields))
    rows: defaultdict[str, list[Row[Any]]] = defaultdict(list)
    for row in sorted(leased, key=lambda row: int(row.id)):
        rows[row.event_id].append(row)
    receipts = await session.execute(select(*RECEIPT_COLUMNS).where(RECEIPTS.c.event_id.in_(heads)))
    events = [event for row in receipts if (event := _event(row, rows[row.event_id], is_due=row.event_id in due))]
    if unreadable := set(heads) - {event.event_id for event in events}:
        log.error("the outbox has rows that cannot be read", extra={"event_ids": sorted(unreadable)[:10]})
        out_of_the_way = update(OUTBOX).where(OUTBOX.c.event_id.in_(unreadable))
        await session.execute(out_of_the_way.values(claimed_until=now + UNREADABLE_FOR))
    return sorted(events, key=lambda event: event.rows[0].id)


async def enqueue_signal(st: Statements, event_id: EventId, kind: str, now: datetime, **fields: object) -> None:
    """Put into the outbox what the workflow must be told: `result`, `reprocess`, `resolve` or `expire`."""
    await st.fetch(
        "INSERT INTO outbox (event_id, kind, fields, created_at) VALUES ($1, $2, $3, $4)",
        event_id,
        kind,
        json.dumps(fields, separators=(",", ":")),
        to_unix_ms(now),
    )


async def mark_delivered(session: AsyncSession, row_ids: list[int]) -> None:
    """The engine has taken these rows."""
    for ids in _in_parts(row_ids):
        await session.execute(delete(OUTBOX).where(OUTBOX.c.id.in_(ids)))


async def retry_later(session: AsyncSession, row_ids: list[int], until: datetime, *, now: datetime) -> None:
    """These rows could not be sent; they are not claimed again before `until`, or soon where a restart waits behind them."""
    has_restart = exists().where(_OTHERS.c.event_id == OUTBOX.c.event_id, _OTHERS.c.kind == "restart")
    for ids in _in_parts(row_ids):
        released = update(OUTBOX).where(OUTBOX.c.id.in_(ids))
        await session.execute(released.values(claimed_until=until))
        if (soon := now + RESTART_WITHIN) < until:
            await session.execute(released.where(has_restart).values(claimed_until=soon))


async def enqueue_start_again(session: AsyncSession, event_id: EventId, now: datetime) -> bool:
    """Have the engine told of an event once more, from its start; False when that is already waiting to be told."""
    waits = select(OUTBOX.c.id).where(OUTBOX.c.event_id == event_id, OUTBOX.c.kind == "start")
    if (await session.execute(waits.limit(1))).first() is not None:
        return False
    await session.execute(insert(OUTBOX).values(event_id=event_id, kind="start", fields="{}", created_at=now))
    return True


async def oldest_age(session: AsyncSession, now: datetime) -> timedelta | None:
    """How long the oldest row has been waiting; None when there is none."""
    oldest: datetime | None = await session.scalar(select(OUTBOX.c.created_at).order_by(OUTBOX.c.id).limit(1))
    return None if oldest is None else max(now - oldest, timedelta(0))


async def count(session: AsyncSession) -> int:
    """How many rows there are, claimed ones too."""
    counted: int | None = await session.scalar(select(func.count()).select_from(OUTBOX))
    return counted or 0


async def _urgent_heads(session: AsyncSession, now: datetime, limit: int) -> list[_Head]:
    """From both ends: what one project has asked for by the thousand keeps another's newest request waiting for no turn."""
    urgent = OUTBOX.c.event_id.in_(select(_URGENT.c.event_id).where(_is_urgent))
    query = _heads(now).where(urgent).limit(URGENT_LOOKED_AT)
    oldest = await _read_heads(session, query.order_by(OUTBOX.c.id))
    newest = await _read_heads(session, query.order_by(OUTBOX.c.id.desc())) if len(oldest) == URGENT_LOOKED_AT else []
    return _share(list({head.row_id: head for head in (*oldest, *newest)}.values()), limit)


async def _oldest_heads(session: AsyncSession, now: datetime, limit: int) -> list[_Head]:
    """The oldest that nobody has tried, then those whose back-off is over, by the index `outbox_by_turn`."""
    by_turn = _heads(now).order_by(OUTBOX.c.claimed_until, OUTBOX.c.id).limit(limit)
    fresh = await _read_heads(session, by_turn.where(OUTBOX.c.claimed_until.is_(None)))
    return fresh + await _read_heads(session, by_turn.where(OUTBOX.c.claimed_until <= now))


async def _due_heads(session: AsyncSession, now: datetime, walk: DueWalk) -> list[_Head]:
    """Those of the receipts whose deadline comes soon, or came: the next of all deadlines, and a further part each time.

    Each part is looked at whole, whether it was told or not, so that the work is bounded; and every receipt comes to be looked
    at, however many stand before it.
    """
    first, last = await _due_part(session, now, after=None)
    if last is None:
        walk.after = None
        return first
    further, walk.after = await _due_part(session, now, after=walk.after or last)
    return list({head.row_id: head for head in (*first, *further)}.values())


async def _due_part(
    session: AsyncSession, now: datetime, *, after: tuple[datetime, str] | None
) -> tuple[list[_Head], tuple[datetime, str] | None]:
    """The free heads of the next part, and where it ended; None at the end of all."""
    deadline_at, event_id = RECEIPTS.c.deadline_at, RECEIPTS.c.event_id
    # Spelled out, not bound: only so do both engines see that the partial index `receipts_due` holds them all.
    is_waiting = RECEIPTS.c.state == literal_column("'waiting'")
    is_due = deadline_at <= now + timedelta(seconds=DUE_WITHIN_SECONDS)
    query = select(event_id, RECEIPTS.c.project_id, deadline_at).where(is_waiting, is_due)
    if after is not None:
        query = query.where(deadline_at >= after[0], or_(deadline_at > after[0], event_id > after[1]))
    part = query.order_by(deadline_at, event_id).limit(DUE_LOOKED_AT).subquery()
    is_head = and_(OUTBOX.c.event_id == part.c.event_id, *_is_free_head(now))
    heads: Select[Any] = select(part.c.event_id, part.c.project_id, part.c.deadline_at, OUTBOX.c.id, OUTBOX.c.claimed_until)
    heads = heads.outerjoin_from(part, OUTBOX, is_head).order_by(part.c.deadline_at, part.c.event_id)
    rows = (await session.execute(heads)).all()
    end = (rows[-1].deadline_at, rows[-1].event_id) if len(rows) >= DUE_LOOKED_AT else None
    return [_head_from(row) for row in rows if row.id is not None], end


async def _hold(session: AsyncSession, now: datetime, heads: Iterable[_Head]) -> list[str]:
    """The events among these that are still free, held until the transaction ends."""
    row_ids = [head.row_id for head in heads]
    if not row_ids:
        return []
    free = select(OUTBOX.c.event_id).where(OUTBOX.c.id.in_(row_ids), *_is_free_head(now))
    return [row.event_id for row in await session.execute(free.with_for_update(skip_locked=True, of=OUTBOX))]


def _share(heads: list[_Head], places: int) -> list[_Head]:
    """Who gets a place: projects in turns, and what failed before at most a quarter while there is anything else."""
    turns = round_robin(heads, lambda head: head.project_id)
    fresh, tried = [head for head in turns if head.is_fresh], [head for head in turns if not head.is_fresh]
    again = tried[: max(min(1, places), places // TRIED_PART, places - len(fresh))]
    return (fresh[: places - len(again)] + again)[:places]


def _heads(now: datetime) -> Select[Any]:
    """The oldest row of each event, where nobody has its lease."""
    heads = select(OUTBOX.c.id, OUTBOX.c.event_id, OUTBOX.c.claimed_until, RECEIPTS.c.project_id).select_from(OUTBOX)
    # Without a receipt it must be looked at too, to be put out of the way.
    return heads.outerjoin(RECEIPTS, RECEIPTS.c.event_id == OUTBOX.c.event_id).where(*_is_free_head(now))


async def _read_heads(session: AsyncSession, query: Select[Any]) -> list[_Head]:
    return [_head_from(row) for row in await session.execute(query)]


def _head_from(row: Row[Any]) -> _Head:
    return _Head(int(row.id), row.event_id, row.project_id or "", is_fresh=row.claimed_until is None)


def _is_free_head(now: datetime) -> tuple[ColumnElement[bool], ...]:
    older = OUTBOX.alias("older")
    has_older = exists().where(older.c.event_id == OUTBOX.c.event_id, older.c.id < OUTBOX.c.id)
    return or_(OUTBOX.c.claimed_until.is_(None), OUTBOX.c.claimed_until <= now), ~has_older


def _in_parts(ids: list[int]) -> list[list[int]]:
    return [ids[first : first + IDS_AT_ONCE] for first in range(0, len(ids), IDS_AT_ONCE)]


def _event(receipt: Row[Any], rows: list[Row[Any]], *, is_due: bool) -> OutboxBatch | None:
    """None when a row cannot be read: a newer version wrote it, or somebody by hand."""
    try:
        told = tuple(OutboxRow(id=row.id, kind=row.kind, fields=json.loads(row.fields)) for row in rows)
        return OutboxBatch(EventId(receipt.event_id), receipt_from(receipt), told, is_due=is_due)
    except (ValueError, TypeError, AttributeError):
        return None
