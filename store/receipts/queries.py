"""Queries of receipts and incidents, for pages and REST.

Lists and counts run in `Database.searching`, which limits their time, single reads in `reading`.

`project_id` None means every project (the console); REST passes the caller's. Lists are paged by
keyset on the instant, or another number, and the id (`store.receipts.lists.pages`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    TextClause,
    func,
    literal,
    select,
    text,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, IncidentId, ProjectId, ReplayId
from domain.incidents import Incident, IncidentState, Repair, TimelineEntry
from domain.receipts import Receipt, ReceiptState
from domain.sources.events import SeenBy
from store.db.paging import Page
from store.db.sql import SessionStatements
from store.receipts.lists.amounts import amounts_at_risk, summed
from store.receipts.lists.filters import ListFilters as ListFilters
from store.receipts.lists.order import Key, event_list, incident_list
from store.receipts.lists.pages import keys_of, live_projects, page_of_ids, prefer_indexes
from store.receipts.pending_credit import credited_receipts, pending_entries
from store.receipts.rows.details import (
    incidents_from,
    incidents_of,
    of_project,
    select_repairs,
)
from store.receipts.timeline import read_timeline
from store.schema.mappers import RECEIPT_COLUMNS
from store.schema.tables import (
    INCIDENT_IS_REPAIRED,
    INCIDENTS,
    RECEIPTS,
    REPAIRS,
)

WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class EventRow:
    receipt: Receipt
    incident: Incident | None


@dataclass(frozen=True, slots=True)
class IncidentRow:
    incident: Incident
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class RepairFull:
    """A repair with its receipt and incident."""

    receipt: Receipt
    incident: Incident
    repair: Repair


@dataclass(frozen=True, slots=True)
class EventFull:
    """A receipt in full: its newest repairs and a page of its timeline, both oldest first.

    `timeline_cursor` continues with older entries; None when there are none. `sources` are those
    that saw the event at the provider: `operations.events` adds them.
    """

    receipt: Receipt
    incident: Incident | None
    repairs: tuple[Repair, ...]
    timeline: tuple[TimelineEntry, ...]
    timeline_cursor: str | None
    sources: tuple[SeenBy, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """Waiting receipts, unresolved incidents by state, and those that ended in success within the
    last seven days. `at_risk` is the sum of the unresolved incidents' amounts for each currency.
    """

    waiting: int
    open: int
    repairing: int
    repaired_this_week: int
    at_risk: tuple[tuple[str, int], ...] = ()


async def list_events(
    session: AsyncSession,
    filters: ListFilters,
    *,
    limit: int,
    cursor: str | None,
    sort: str | None = None,
) -> Page[EventRow]:
    """A page of events; newest first without `sort`.

    Raises: ValidationFailed for an invalid cursor, search or order.
    """
    table = event_list(sort)
    ids, next_cursor = await page_of_ids(session, table, filters, limit=limit, cursor=cursor)
    query = select(*RECEIPT_COLUMNS).where(RECEIPTS.c.event_id.in_(ids))
    found = {row.event_id: row for row in await session.execute(query)} if ids else {}
    incidents = await incidents_of(session, ids)
    receipts = await credited_receipts(session, [found[one] for one in ids if one in found])
    return Page(
        tuple(EventRow(receipt, incidents.get(receipt.event_id)) for receipt in receipts),
        next_cursor,
    )


async def list_incidents(
    session: AsyncSession,
    filters: ListFilters,
    *,
    limit: int,
    cursor: str | None,
    sort: str | None = None,
) -> Page[IncidentRow]:
    """A page of incidents; newest first without `sort`.

    Raises: ValidationFailed for an invalid cursor, search or order.
    """
    table = incident_list(sort)
    ids, next_cursor = await page_of_ids(session, table, filters, limit=limit, cursor=cursor)
    query = select(INCIDENTS).where(INCIDENTS.c.id.in_(ids))
    found = {row.id: row for row in await session.execute(query)} if ids else {}
    return Page(
        await rows_with_receipts(session, [found[one] for one in ids if one in found]), next_cursor
    )


async def neighbour(
    session: AsyncSession, filters: ListFilters, *, sort: str, beyond: Key
) -> EventId | None:
    """The event of the first incident of a list beyond a key; None at its end.

    Raises: ValidationFailed for an invalid search.
    """
    keys = await keys_of(session, incident_list(sort), filters, count=1, beyond=beyond)
    if not keys:
        return None
    query = select(INCIDENTS.c.event_id).where(INCIDENTS.c.id == keys[0].id)
    return await session.scalar(query)


async def read_event_row(
    session: AsyncSession, project_id: ProjectId | None, event_id: EventId
) -> EventRow | None:
    """The event and its incident; None when there is no such event in the project."""
    row = await _receipt_row(session, project_id, event_id)
    return None if row is None else await _event_row(session, row)


async def read_event(
    session: AsyncSession,
    project_id: ProjectId | None,
    event_id: EventId,
    *,
    cursor: str | None = None,
) -> EventFull | None:
    """The event in full; None when there is no such event in the project.

    `cursor` selects an older part of the timeline. Raises: ValidationFailed for an invalid cursor.
    """
    row = await _receipt_row(session, project_id, event_id)
    if row is None:
        return None
    event = await _event_row(session, row)
    page = await read_timeline(session, event.receipt, cursor=cursor)
    # Credits that are not applied yet belong to the newest page.
    pending = [] if cursor else await pending_entries(session, row)
    entries = tuple(sorted((*page.entries, *pending), key=lambda entry: entry.at))
    repairs = await select_repairs(session, REPAIRS.c.event_id == event_id)
    return EventFull(event.receipt, event.incident, repairs, entries, page.next_cursor)


async def read_repair(
    session: AsyncSession, event_id: EventId, replay_id: ReplayId
) -> RepairFull | None:
    """The repair with its receipt and incident, without the timeline; None when the event has no
    such repair.
    """
    row = (
        await session.execute(select(*RECEIPT_COLUMNS).where(RECEIPTS.c.event_id == event_id))
    ).first()
    repairs = await select_repairs(
        session, (REPAIRS.c.event_id == event_id) & (REPAIRS.c.replay_id == replay_id)
    )
    incident = (await incidents_of(session, [event_id])).get(event_id)
    if row is None or incident is None or not repairs:
        return None
    return RepairFull((await credited_receipts(session, [row]))[0], incident, repairs[0])


async def _receipt_row(
    session: AsyncSession, project_id: ProjectId | None, event_id: EventId
) -> Row[Any] | None:
    query = select(*RECEIPT_COLUMNS).where(
        RECEIPTS.c.event_id == event_id, *of_project(RECEIPTS.c.project_id, project_id)
    )
    return (await session.execute(query)).first()


async def _event_row(session: AsyncSession, row: Row[Any]) -> EventRow:
    (receipt,) = await credited_receipts(session, [row])
    return EventRow(
        receipt, (await incidents_of(session, [receipt.event_id])).get(receipt.event_id)
    )


async def read_incident(
    session: AsyncSession, project_id: ProjectId | None, incident_id: IncidentId
) -> IncidentRow | None:
    """The incident and its receipt; None when there is no such incident in the project."""
    query = select(INCIDENTS).where(
        INCIDENTS.c.id == incident_id, *of_project(INCIDENTS.c.project_id, project_id)
    )
    found = await rows_with_receipts(session, (await session.execute(query)).all())
    return found[0] if found else None


async def counts(
    session: AsyncSession,
    project_id: ProjectId | None,
    now: datetime,
    *,
    within: tuple[ProjectId, ...] | None = None,
    scope: tuple[ProjectId, ...] | None = None,
) -> Counts:
    """The counts of the home page; `within` and `scope` as in `ListFilters`."""
    await prefer_indexes(SessionStatements(session))
    if scope is None:
        scope = await live_projects(session, project_id, within)
    of_receipts, of_incidents = (table.c.project_id.in_(scope) for table in (RECEIPTS, INCIDENTS))
    state, resolved_at = INCIDENTS.c.state, INCIDENTS.c.resolved_at

    # Any: a name and two numbers, as `amounts_at_risk` has them.
    def count(name: str, *conditions: ColumnElement[bool] | TextClause) -> Select[Any]:
        columns: list[ColumnElement[Any]] = [literal(name), func.count(), literal(0)]
        return select(*columns).where(*conditions)

    counted = union_all(
        count("waiting", of_receipts, RECEIPTS.c.state == ReceiptState.WAITING.value),
        count("open", of_incidents, state == IncidentState.OPEN.value),
        count("repairing", of_incidents, state == IncidentState.REPAIRING.value),
        count("repaired", of_incidents, text(INCIDENT_IS_REPAIRED), resolved_at > now - WEEK),
        amounts_at_risk(scope),
    )
    # The names have lower-case letters, currencies have none.
    rows = [(name, int(high), int(low)) for name, high, low in await session.execute(counted)]
    numbers = {name: number for name, number, _ in rows if name.islower()}
    return Counts(
        waiting=numbers["waiting"],
        open=numbers["open"],
        repairing=numbers["repairing"],
        repaired_this_week=numbers["repaired"],
        at_risk=summed(row for row in rows if not row[0].islower()),
    )


async def rows_with_receipts(
    session: AsyncSession, rows: Sequence[Row[Any]]
) -> tuple[IncidentRow, ...]:
    """Stored incidents with their receipts, in the same order."""
    query = select(*RECEIPT_COLUMNS).where(RECEIPTS.c.event_id.in_([row.event_id for row in rows]))
    found = (await session.execute(query)).all() if rows else []
    receipts = {receipt.event_id: receipt for receipt in await credited_receipts(session, found)}
    return tuple(
        IncidentRow(incident, receipts[incident.event_id])
        for incident in await incidents_from(session, rows)
    )
