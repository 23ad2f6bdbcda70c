"""What the engine must still be told: claimed by the dispatcher under a lease, deleted when the engine has taken it.

An event's oldest row stands for the event: who has its lease has the event, so that what is said of one event is said in order
and by one dispatcher at a time. No lock is held while the engine is called. `store.standing` and the front door write the rows.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, exists, func, insert, literal_column, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId
from domain.receipts import Receipt
from store import tables
from store.conversions import RECEIPT_COLUMNS, RECEIPTS, receipt_from

OUTBOX = tables.Outbox.metadata.tables["outbox"]
URGENT_KINDS = ("reprocess", "resolve", "expire")  # what a person asked for
# Both engines bound the values of one statement.
IDS_AT_ONCE = 5_000
DUE_WITHIN_SECONDS = 10
DUE_LOOKED_AT = 500
# Longer than an incident takes to open when nothing is in its way; and what is overdue for longer is another trouble.
OVERDUE_FROM_SECONDS, OVERDUE_TO_SECONDS = 2, 120
_URGENT = OUTBOX.alias("urgent")
# Spelled out, not bound: only so do both engines see that the partial index `outbox_urgent` holds them all.
_is_urgent = _URGENT.c.kind.in_(tuple(literal_column(f"'{kind}'") for kind in URGENT_KINDS))


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One thing to tell: `kind` is start, result, reprocess, resolve or expire; `fields` are JSON values."""

    id: int
    kind: str
    fields: dict[str, Any]  # Any: JSON, as the kind has it


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """Everything to tell about one event, oldest first."""

    event_id: EventId
    receipt: Receipt
    rows: tuple[OutboxRow, ...]
    is_due: bool = False  # claimed before its turn, since its deadline is near or past

    @property
    def is_urgent(self) -> bool:
        """Whether a person waits for what it says."""
        return any(row.kind in URGENT_KINDS for row in self.rows)


async def claim(
    session: AsyncSession, now: datetime, *, limit: int, due_limit: int = 0, urgent_limit: int = 0, lease_seconds: int = 10
) -> list[OutboxEvent]:
    """Events that nobody else is telling about, under a lease, each with all its rows; oldest first.

    Up to `limit` whatever they are; when there are more than that, up to `due_limit` in all, those first whose deadline is near
    or past; and besides up to `urgent_limit` of those that somebody waits for: a person asked.
    """
    urgent = OUTBOX.c.event_id.in_(select(_URGENT.c.event_id).where(_is_urgent))
    heads = [row.event_id for row in await session.execute(_free_heads(now, urgent_limit, urgent))] if urgent_limit else []
    due: list[str] = []
    if limit:
        others = OUTBOX.c.event_id.not_in(heads)
        oldest = [row.event_id for row in await session.execute(_free_heads(now, limit, others))]
        if len(oldest) == limit:
            due = [row.event_id for row in await session.execute(_due_heads(now, max(limit, due_limit), others))]
            oldest = [event_id for event_id in oldest if event_id not in due][: max(0, limit - len(due))]
        heads += due + oldest
    if not heads:
        return []
    leased_until = now + timedelta(seconds=lease_seconds)
    lease = update(OUTBOX).where(OUTBOX.c.event_id.in_(heads)).values(claimed_until=leased_until)
    leased = await session.execute(lease.returning(OUTBOX.c.id, OUTBOX.c.event_id, OUTBOX.c.kind, OUTBOX.c.fields))
    rows: defaultdict[str, list[OutboxRow]] = defaultdict(list)
    for row in sorted(leased, key=lambda row: int(row.id)):
        rows[row.event_id].append(OutboxRow(id=row.id, kind=row.kind, fields=json.loads(row.fields)))
    receipts = await session.execute(select(*RECEIPT_COLUMNS).where(RECEIPTS.c.event_id.in_(heads)))
    events = (_event(row, rows[row.event_id], is_due=row.event_id in due) for row in receipts)
    return sorted(events, key=lambda event: event.rows[0].id)


async def settle(session: AsyncSession, row_ids: list[int]) -> None:
    """The engine has taken these rows."""
    for ids in _in_parts(row_ids):
        await session.execute(delete(OUTBOX).where(OUTBOX.c.id.in_(ids)))


async def release(session: AsyncSession, row_ids: list[int], until: datetime) -> None:
    """These rows could not be told; they are not claimed again before `until`."""
    for ids in _in_parts(row_ids):
        await session.execute(update(OUTBOX).where(OUTBOX.c.id.in_(ids)).values(claimed_until=until))


async def tell_again(session: AsyncSession, event_id: EventId, now: datetime) -> bool:
    """Have the engine told of an event once more, from its start; False when that is already waiting to be told."""
    waits = select(OUTBOX.c.id).where(OUTBOX.c.event_id == event_id, OUTBOX.c.kind == "start")
    if (await session.execute(waits.limit(1))).first() is not None:
        return False
    await session.execute(insert(OUTBOX).values(event_id=event_id, kind="start", fields="{}", created_at=now))
    return True


async def count_overdue(session: AsyncSession, now: datetime) -> int:
    """How many receipts are a little past their deadline without an incident, though nothing waits to be told of them."""
    is_waiting = RECEIPTS.c.state == literal_column("'waiting'")
    since, until = now - timedelta(seconds=OVERDUE_TO_SECONDS), now - timedelta(seconds=OVERDUE_FROM_SECONDS)
    is_told = ~exists().where(OUTBOX.c.event_id == RECEIPTS.c.event_id)
    overdue = select(func.count()).select_from(RECEIPTS).where(is_waiting, RECEIPTS.c.deadline_at.between(since, until), is_told)
    return await session.scalar(overdue) or 0


async def oldest_age(session: AsyncSession, now: datetime) -> timedelta | None:
    """How long the oldest row has been waiting; None when there is none."""
    oldest: datetime | None = await session.scalar(select(OUTBOX.c.created_at).order_by(OUTBOX.c.id).limit(1))
    return None if oldest is None else max(now - oldest, timedelta(0))


async def count(session: AsyncSession) -> int:
    """How many rows there are, claimed ones too."""
    counted: int | None = await session.scalar(select(func.count()).select_from(OUTBOX))
    return counted or 0


def _free_heads(now: datetime, limit: int, wanted: ColumnElement[bool]) -> Select[Any]:
    """The oldest row of each event, where nobody has its lease; the oldest events first."""
    heads = select(OUTBOX.c.event_id).where(*_is_free_head(now), wanted).order_by(OUTBOX.c.id).limit(limit)
    return heads.with_for_update(skip_locked=True, of=OUTBOX)


def _due_heads(now: datetime, limit: int, wanted: ColumnElement[bool]) -> Select[Any]:
    """The same of those receipts whose deadline comes soon, or came: the next of all deadlines, and told already or not."""
    is_due = RECEIPTS.c.deadline_at <= now + timedelta(seconds=DUE_WITHIN_SECONDS)
    # Spelled out, not bound: only so do both engines see that the partial index `receipts_due` holds them all.
    is_waiting = RECEIPTS.c.state == literal_column("'waiting'")
    by_deadline = select(RECEIPTS.c.event_id, RECEIPTS.c.deadline_at).where(is_waiting, is_due).order_by(RECEIPTS.c.deadline_at)
    due = by_deadline.limit(DUE_LOOKED_AT).subquery()
    heads = select(OUTBOX.c.event_id).join(due, due.c.event_id == OUTBOX.c.event_id).where(*_is_free_head(now), wanted)
    return heads.order_by(due.c.deadline_at).limit(limit).with_for_update(skip_locked=True, of=OUTBOX)


def _is_free_head(now: datetime) -> tuple[ColumnElement[bool], ...]:
    older = OUTBOX.alias("older")
    has_older = exists().where(older.c.event_id == OUTBOX.c.event_id, older.c.id < OUTBOX.c.id)
    return or_(OUTBOX.c.claimed_until.is_(None), OUTBOX.c.claimed_until <= now), ~has_older


def _in_parts(ids: list[int]) -> list[list[int]]:
    return [ids[first : first + IDS_AT_ONCE] for first in range(0, len(ids), IDS_AT_ONCE)]


def _event(receipt: Row[Any], rows: list[OutboxRow], *, is_due: bool) -> OutboxEvent:
    return OutboxEvent(event_id=EventId(receipt.event_id), receipt=receipt_from(receipt), rows=tuple(rows), is_due=is_due)
