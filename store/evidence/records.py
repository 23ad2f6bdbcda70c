"""Reads everything that is stored about one event, each kind in the order of its ids.

All rows are read, a page at a time, so that no statement is long. Attempts are few for each repair,
and are read for a page of repairs at once. Ids sort by time of creation, so
later rows never move earlier ones. Call it in one `Database.reading()`, which is one snapshot.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Row, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import AuditEntry, SubjectType
from domain.ids import EventId, IncidentId
from domain.incidents import Attempt, Repair, TimelineEntry
from domain.receipts import Receipt
from domain.results import Result
from store.receipts.pending_credit import pending_entries
from store.receipts.timeline import read_timeline
from store.schema.mappers import (
    ATTEMPT_COLUMNS,
    RECEIPT_COLUMNS,
    REPAIR_COLUMNS,
    attempt_from,
    audit_entry_from,
    repair_from,
    result_from,
)
from store.schema.tables import ALERTS, ATTEMPTS, AUDIT_LOG, RECEIPTS, REPAIRS, RESULTS

ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """An alert and what became of it.

    `destination` is the target, or the destination's id if the target is a secret. `about` is the
    repair that the alert reports, or the digest of a destination; None for other kinds.
    """

    kind: str
    channel: str
    destination: str
    about: str | None
    created_at: datetime
    tries: int
    last_error: str | None
    sent_at: datetime | None
    ended_at: datetime | None
    end_reason: str | None


async def read_results(session: AsyncSession, event_id: EventId) -> AsyncIterator[Result]:
    """Every result, oldest first. By the index `results_by_event`."""
    query = select(RESULTS).where(RESULTS.c.event_id == event_id)
    async for row in _rows(session, query, RESULTS.c.id):
        yield result_from(row)


async def read_repairs(session: AsyncSession, event_id: EventId) -> AsyncIterator[Repair]:
    """Every repair with every attempt, oldest first. By `repairs_by_event`, `attempts_by_event`."""
    query = select(*REPAIR_COLUMNS).where(REPAIRS.c.event_id == event_id)
    async for page in _pages(session, query, REPAIRS.c.replay_id):
        attempts = await _read_attempts(session, event_id, page[0].replay_id, page[-1].replay_id)
        for row in page:
            yield repair_from(row, attempts=attempts[row.replay_id])


async def read_alerts(session: AsyncSession, event_id: EventId) -> AsyncIterator[AlertRecord]:
    """Every alert, oldest first. By the index of `alerts.event_id`."""
    query = select(ALERTS).where(ALERTS.c.event_id == event_id)
    async for row in _rows(session, query, ALERTS.c.id):
        yield AlertRecord(
            kind=row.kind,
            channel=row.channel,
            destination=row.destination,
            about=row.replay_id or None,
            created_at=row.created_at,
            tries=row.tries,
            last_error=row.last_error,
            sent_at=row.sent_at,
            ended_at=row.ended_at,
            end_reason=row.end_reason,
        )


async def read_audit_entries(
    session: AsyncSession, event_id: EventId, incident_id: IncidentId | None
) -> AsyncIterator[AuditEntry]:
    """Every audit entry about the receipt or its incident, oldest first. By
    `audit_log_by_subject`.
    """
    types = (SubjectType.RECEIPT.value, SubjectType.INCIDENT.value)
    query = select(AUDIT_LOG).where(
        AUDIT_LOG.c.subject_id.in_([event_id, *([incident_id] if incident_id else [])]),
        AUDIT_LOG.c.subject_type.in_(types),
    )
    async for row in _rows(session, query, AUDIT_LOG.c.sequence):
        yield audit_entry_from(row)


async def read_whole_timeline(session: AsyncSession, receipt: Receipt) -> list[TimelineEntry]:
    """The timeline as pages show it, oldest first, with the credits that are not applied yet."""
    pages: list[tuple[TimelineEntry, ...]] = []
    cursor: str | None = None
    while True:
        page = await read_timeline(session, receipt, limit=ROWS_AT_ONCE, cursor=cursor)
        pages.append(page.entries)
        if (cursor := page.next_cursor) is None:
            break
    entries = [entry for page in reversed(pages) for entry in page]
    row = select(*RECEIPT_COLUMNS).where(RECEIPTS.c.event_id == receipt.event_id)
    pending = await pending_entries(session, (await session.execute(row)).one())
    return sorted([*entries, *pending], key=lambda entry: entry.at) if pending else entries


async def _read_attempts(
    session: AsyncSession, event_id: EventId, first: str, last: str
) -> Mapping[str, list[Attempt]]:
    """The attempts of the event's repairs from `first` to `last`, in their order."""
    attempts: defaultdict[str, list[Attempt]] = defaultdict(list)
    is_of_page = (ATTEMPTS.c.event_id == event_id, ATTEMPTS.c.replay_id.between(first, last))
    order = (ATTEMPTS.c.replay_id, ATTEMPTS.c.number)
    for row in await session.execute(select(*ATTEMPT_COLUMNS).where(*is_of_page).order_by(*order)):
        attempts[row.replay_id].append(attempt_from(row))
    return attempts


# Any: the columns of the query, and the type of its key.
async def _rows(
    session: AsyncSession, query: Select[Any], key: Column[Any]
) -> AsyncIterator[Row[Any]]:
    """The rows of the query in the order of their unique `key`, a page at a time."""
    async for page in _pages(session, query, key):
        for row in page:
            yield row


async def _pages(
    session: AsyncSession, query: Select[Any], key: Column[Any]
) -> AsyncIterator[Sequence[Row[Any]]]:
    """The same rows as pages. None is empty."""
    page = query.order_by(key).limit(ROWS_AT_ONCE)
    rows = (await session.execute(page)).all()
    while rows:
        yield rows
        last = getattr(rows[-1], key.key)
        rows = (
            (await session.execute(page.where(key > last))).all()
            if len(rows) == ROWS_AT_ONCE
            else []
        )
