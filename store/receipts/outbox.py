"""The outbox: signals that Temporal must still receive, leased by the dispatcher and deleted when
Temporal has accepted them.

A receipt's rows are leased together: whoever leases its oldest row has them all, so signals of one
receipt are sent in order and by one dispatcher at a time. No lock is held while Temporal is called.
Transitions and ingest insert the rows.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import (
    Row,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId
from domain.receipts import Receipt
from domain.temporal.outbox import URGENT_KINDS, OutboxKind
from domain.temporal.outbox_turns import ClaimWalk, Head, share_slots, slots_beside
from domain.values.timestamps import to_unix_ms
from store.db.sql import SessionStatements, Statements, each, lock_free_rows, look_up_rows
from store.receipts.outbox_heads import (
    due_heads,
    lock_free_heads,
    plain_heads,
    urgent_heads,
)
from store.schema.mappers import RECEIPT_COLUMNS, receipt_from
from store.schema.tables import OUTBOX, RECEIPTS

# Longer than the slowest delivery, so that only a process that dies loses a lease.
LEASE_SECONDS = 10
# Both databases limit the number of values in one statement.
IDS_AT_ONCE = 5_000
UNREADABLE_FOR = timedelta(minutes=10)
# A receipt's rows are sent in order: a requested restart waits at most one lease for older rows.
RESTART_WITHIN = timedelta(seconds=10)
log = structlog.get_logger(__name__)
_OTHERS = OUTBOX.alias("others")
_UNCLAIMED = (
    "SELECT id FROM outbox WHERE event_id = $1 AND (claimed_until IS NULL OR claimed_until <= $2)"
    " ORDER BY id LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One start or signal. `kind` is an `OutboxKind`, or one that a newer version has written.
    `fields` are JSON values.
    """

    id: int
    kind: str
    fields: dict[str, Any]  # Any: JSON, as the kind has it


@dataclass(frozen=True, slots=True)
class OutboxBatch:
    """All outbox rows of one receipt, oldest first."""

    event_id: EventId
    receipt: Receipt
    rows: tuple[OutboxRow, ...]
    is_due: bool = False  # leased out of turn, because its deadline is near or past

    @property
    def is_urgent(self) -> bool:
        """Whether an operator waits for one of the signals."""
        return any(row.kind in URGENT_KINDS for row in self.rows)


async def claim(
    session: AsyncSession,
    now: datetime,
    *,
    limit: int,
    due_limit: int = 0,
    urgent_limit: int = 0,
    lease_seconds: int = LEASE_SECONDS,
    walk: ClaimWalk | None = None,
) -> list[OutboxBatch]:
    """Lease receipts from the outbox, each with all its rows; returns them oldest first.

    1. Up to `limit` receipts, the oldest of each project first.
    2. If more than `limit` are free, receipts near or past their deadline come first, up to
       `due_limit` in all. A quarter of the slots stays for projects that have no such receipt.
    3. In addition, up to `urgent_limit` receipts with operator requests.

    Projects take turns. Receipts that failed before get at most a quarter of the slots while others
    are free. `walk` is the position in the rows, and whose turn it is; it advances with each call.
    """
    walk = walk or ClaimWalk()
    await look_up_rows(SessionStatements(session))
    found = await urgent_heads(session, now, walk) if urgent_limit else []
    urgent = share_slots(found, urgent_limit, walk)
    due: list[Head] = []
    others: list[Head] = []
    kept = 0
    if limit:
        chosen = {head.event_id for head in urgent}
        plain, has_more = await plain_heads(session, now, limit, walk)
        others = [head for head in plain if head.event_id not in chosen]
        if has_more or len(others) >= limit:
            found = await due_heads(session, now, walk)
            found = [head for head in found if head.event_id not in chosen]
            kept = slots_beside(found, others, limit, max(limit, due_limit))
            due = share_slots(found, max(limit, due_limit) - kept, walk)
            chosen |= {head.event_id for head in due}
            others = [head for head in others if head.event_id not in chosen]
        others = share_slots(others, max(kept, limit - len(due)), walk)
    heads = await lock_free_heads(session, now, [*urgent, *due, *others])
    if not heads:
        return []
    return await _lease(
        session, now, heads, due={head.event_id for head in due}, lease_seconds=lease_seconds
    )


async def _lease(
    session: AsyncSession, now: datetime, heads: list[str], *, due: set[str], lease_seconds: int
) -> list[OutboxBatch]:
    lease = (
        update(OUTBOX)
        .where(OUTBOX.c.event_id.in_(heads))
        .values(claimed_until=now + timedelta(seconds=lease_seconds))
    )
    leased = await session.execute(
        lease.returning(OUTBOX.c.id, OUTBOX.c.event_id, OUTBOX.c.kind, OUTBOX.c.fields)
    )
    rows: defaultdict[str, list[Row[Any]]] = defaultdict(list)
    for row in sorted(leased, key=lambda row: int(row.id)):
        rows[row.event_id].append(row)
    # Only the primary key has this order, so no planner chooses another index.
    of_heads = select(*RECEIPT_COLUMNS).where(RECEIPTS.c.event_id.in_(heads))
    receipts = await session.execute(of_heads.order_by(RECEIPTS.c.event_id))
    events = [
        event
        for row in receipts
        if (event := _event(row, rows[row.event_id], is_due=row.event_id in due))
    ]
    if unreadable := set(heads) - {event.event_id for event in events}:
        log.error("outbox_rows_unreadable", event_ids=sorted(unreadable)[:10])
        out_of_the_way = update(OUTBOX).where(OUTBOX.c.event_id.in_(unreadable))
        await session.execute(out_of_the_way.values(claimed_until=now + UNREADABLE_FOR))
    return sorted(events, key=lambda event: event.rows[0].id)


async def has_unclaimed(st: Statements, event_id: EventId, now: datetime) -> bool:
    """Whether the outbox has an unclaimed row of the receipt, so that its run will read the store.

    The row is locked, so that it is claimed after this commit or not counted. A row that is locked
    already is being claimed.
    """
    locked = _UNCLAIMED + lock_free_rows(st.dialect)
    return bool(await st.fetch(locked, event_id, to_unix_ms(now)))


async def enqueue_signal(
    st: Statements, event_id: EventId, kind: OutboxKind, now: datetime, **fields: object
) -> None:
    """Insert a signal for the workflow, or a restart of its run."""
    await st.fetch(
        "INSERT INTO outbox (event_id, kind, fields, created_at) VALUES ($1, $2, $3, $4)",
        event_id,
        kind.value,
        json.dumps(fields, separators=(",", ":")),
        to_unix_ms(now),
    )


async def enqueue_starts(st: Statements, event_ids: Sequence[EventId], now: datetime) -> None:
    """Insert the start of each workflow, in this order, in one statement."""
    given = each(st.dialect, "$1")
    await st.fetch(
        "INSERT INTO outbox (event_id, kind, fields, created_at) "  # noqa: S608 - constants only
        f"SELECT given.value, '{OutboxKind.START.value}', '{{}}', CAST($2 AS BIGINT) FROM {given}",
        json.dumps(event_ids),
        to_unix_ms(now),
    )


async def mark_delivered(session: AsyncSession, row_ids: list[int]) -> None:
    """Delete rows that Temporal has accepted."""
    for ids in _in_parts(row_ids):
        await session.execute(delete(OUTBOX).where(OUTBOX.c.id.in_(ids)))


async def retry_later(
    session: AsyncSession, row_ids: list[int], until: datetime, *, now: datetime
) -> None:
    """Back off rows that could not be sent until `until`; sooner where a restart waits behind
    them.
    """
    has_restart = exists().where(
        _OTHERS.c.event_id == OUTBOX.c.event_id, _OTHERS.c.kind == OutboxKind.RESTART.value
    )
    for ids in _in_parts(row_ids):
        released = update(OUTBOX).where(OUTBOX.c.id.in_(ids))
        await session.execute(released.values(claimed_until=until))
        if (soon := now + RESTART_WITHIN) < until:
            await session.execute(released.where(has_restart).values(claimed_until=soon))


async def enqueue_start_again(session: AsyncSession, event_id: EventId, now: datetime) -> bool:
    """Enqueue the start of a receipt's workflow again; False when a start is already in the
    outbox.
    """
    is_start = OUTBOX.c.kind == OutboxKind.START.value
    waits = select(OUTBOX.c.id).where(OUTBOX.c.event_id == event_id, is_start)
    if (await session.execute(waits.limit(1))).first() is not None:
        return False
    await session.execute(
        insert(OUTBOX).values(
            event_id=event_id, kind=OutboxKind.START.value, fields="{}", created_at=now
        )
    )
    return True


async def oldest_age(session: AsyncSession, now: datetime) -> timedelta | None:
    """The age of the oldest row; None without rows."""
    oldest: datetime | None = await session.scalar(
        select(OUTBOX.c.created_at).order_by(OUTBOX.c.id).limit(1)
    )
    return None if oldest is None else max(now - oldest, timedelta(0))


async def count(session: AsyncSession) -> int:
    """The number of rows, including leased ones."""
    counted: int | None = await session.scalar(select(func.count()).select_from(OUTBOX))
    return counted or 0


def _in_parts(ids: list[int]) -> list[list[int]]:
    return [ids[first : first + IDS_AT_ONCE] for first in range(0, len(ids), IDS_AT_ONCE)]


def _event(receipt: Row[Any], rows: list[Row[Any]], *, is_due: bool) -> OutboxBatch | None:
    """The rows as a batch; None when one is unreadable: a newer version wrote it, or a manual
    change.
    """
    try:
        signals = tuple(
            OutboxRow(id=row.id, kind=row.kind, fields=json.loads(row.fields)) for row in rows
        )
        return OutboxBatch(EventId(receipt.event_id), receipt_from(receipt), signals, is_due=is_due)
    except (ValueError, TypeError, AttributeError):
        return None
