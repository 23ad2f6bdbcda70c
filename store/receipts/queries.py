"""Queries of receipts and incidents, for pages and REST; best called in `Database.reading()`.

`project_id` None means every project (the console); REST passes the caller's. Lists are newest
first, paged by keyset on the ids, which are ordered by time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, IncidentId, ProjectId, ReplayId
from domain.incidents import Incident, IncidentState, Repair, Resolution, TimelineEntry
from domain.receipts import Provider, Receipt, ReceiptState
from store.db.paging import Page, page_of_rows
from store.receipts.pending_credit import credited_receipts, pending_entries
from store.receipts.rows.details import (
    in_projects,
    incidents_from,
    incidents_of,
    of_project,
    select_repairs,
)
from store.receipts.timeline import read_timeline
from store.schema.mappers import RECEIPT_COLUMNS
from store.schema.tables import INCIDENTS, PROJECTS, RECEIPTS, REPAIRS

WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class ListFilters:
    """The filters of a list; None or empty means no filter. `states` are those of receipts or
    incidents, as the list is.

    `project_id` is always given, because None means every project. `within` are the reader's
    projects, None for all. `created_after` and `created_before` exclude the instant itself. `q`
    matches part of the internal reference or of the provider's id, or a whole id of ours.
    """

    project_id: ProjectId | None
    within: tuple[ProjectId, ...] | None = None
    states: tuple[str, ...] = ()
    provider: str | None = None
    event_type: str | None = None
    effect_type: str | None = None
    internal_reference: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    q: str | None = None


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

    `timeline_cursor` continues with older entries; None when there are none.
    """

    receipt: Receipt
    incident: Incident | None
    repairs: tuple[Repair, ...]
    timeline: tuple[TimelineEntry, ...]
    timeline_cursor: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Waiting receipts, unresolved incidents by state, and those that ended in success within the
    last seven days.
    """

    waiting: int
    open: int
    repairing: int
    repaired_this_week: int


async def list_events(
    session: AsyncSession, filters: ListFilters, *, limit: int, cursor: str | None
) -> Page[EventRow]:
    """A page of events. Raises: ValidationFailed for an invalid cursor."""
    query = select(*RECEIPT_COLUMNS).where(
        *_receipt_conditions(filters), *_created(filters, RECEIPTS.c.accepted_at)
    )
    if filters.states:
        query = query.where(RECEIPTS.c.state.in_(filters.states))
    rows, next_cursor = await page_of_rows(
        session, query, RECEIPTS.c.event_id, limit=limit, cursor=cursor
    )
    incidents = await incidents_of(session, [row.event_id for row in rows])
    receipts = await credited_receipts(session, rows)
    return Page(
        tuple(EventRow(receipt, incidents.get(receipt.event_id)) for receipt in receipts),
        next_cursor,
    )


async def list_incidents(
    session: AsyncSession, filters: ListFilters, *, limit: int, cursor: str | None
) -> Page[IncidentRow]:
    """A page of incidents. Raises: ValidationFailed for an invalid cursor."""
    query = select(INCIDENTS).join(RECEIPTS, RECEIPTS.c.event_id == INCIDENTS.c.event_id)
    query = query.where(*_receipt_conditions(filters), *_created(filters, INCIDENTS.c.opened_at))
    if filters.project_id is not None:
        query = query.where(INCIDENTS.c.project_id == filters.project_id)
    if filters.states:
        query = query.where(INCIDENTS.c.state.in_(filters.states))
    rows, next_cursor = await page_of_rows(
        session, query, INCIDENTS.c.id, limit=limit, cursor=cursor
    )
    return Page(await _with_receipts(session, rows), next_cursor)


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
    found = await _with_receipts(session, (await session.execute(query)).all())
    return found[0] if found else None


async def find_by_provider_event(
    session: AsyncSession,
    project_id: ProjectId | None,
    *,
    provider: Provider,
    provider_event_id: str,
) -> list[Receipt]:
    """The receipts of one of the provider's events, one for each effect, newest first."""
    query = select(*RECEIPT_COLUMNS).where(
        RECEIPTS.c.provider == provider.value,
        RECEIPTS.c.provider_event_id == provider_event_id,
        *of_project(RECEIPTS.c.project_id, project_id),
    )
    rows = await session.execute(query.order_by(RECEIPTS.c.event_id.desc()))
    return await credited_receipts(session, rows.all())


async def counts(
    session: AsyncSession,
    project_id: ProjectId | None,
    now: datetime,
    *,
    within: tuple[ProjectId, ...] | None = None,
) -> Counts:
    """The counts of the home page; `within` as in `ListFilters`."""
    waiting = select(func.count()).where(
        RECEIPTS.c.state == ReceiptState.WAITING.value,
        *of_project(RECEIPTS.c.project_id, project_id),
        *in_projects(RECEIPTS.c.project_id, within),
    )
    state, recovered = INCIDENTS.c.state, INCIDENTS.c.resolution != Resolution.MANUAL.value
    incidents = select(
        func.count().filter(state == IncidentState.OPEN.value).label("open"),
        func.count().filter(state == IncidentState.REPAIRING.value).label("repairing"),
        func.count().filter(recovered, INCIDENTS.c.resolved_at > now - WEEK).label("repaired"),
    ).where(
        *of_project(INCIDENTS.c.project_id, project_id),
        *in_projects(INCIDENTS.c.project_id, within),
    )
    row = (await session.execute(incidents)).one()
    return Counts(
        waiting=await session.scalar(waiting) or 0,
        open=row.open,
        repairing=row.repairing,
        repaired_this_week=row.repaired,
    )


def _receipt_conditions(filters: ListFilters) -> list[ColumnElement[bool]]:
    equal = ("project_id", "provider", "event_type", "effect_type", "internal_reference")
    wanted = {name: getattr(filters, name) for name in equal}
    conditions = [RECEIPTS.c[name] == value for name, value in wanted.items() if value is not None]
    conditions.extend(in_projects(RECEIPTS.c.project_id, filters.within))
    # The rows of a deleted project are being erased.
    deleted = select(PROJECTS.c.id).where(PROJECTS.c.deleted_at.is_not(None))
    conditions.append(RECEIPTS.c.project_id.not_in(deleted))
    if filters.q is not None and (q := filters.q.strip()):
        of_incident = select(INCIDENTS.c.event_id).where(INCIDENTS.c.id == q)
        columns = (RECEIPTS.c.internal_reference, RECEIPTS.c.provider_event_id)
        in_texts = [column.icontains(q, autoescape=True) for column in columns]
        ids = (RECEIPTS.c.event_id == q, RECEIPTS.c.event_id.in_(of_incident))
        conditions.append(or_(*ids, *in_texts))
    return conditions


def _created(filters: ListFilters, at: ColumnElement[datetime]) -> list[ColumnElement[bool]]:
    after = [] if filters.created_after is None else [at > filters.created_after]
    return after if filters.created_before is None else [*after, at < filters.created_before]


async def _with_receipts(
    session: AsyncSession, rows: Sequence[Row[Any]]
) -> tuple[IncidentRow, ...]:
    query = select(*RECEIPT_COLUMNS).where(RECEIPTS.c.event_id.in_([row.event_id for row in rows]))
    found = (await session.execute(query)).all() if rows else []
    receipts = {receipt.event_id: receipt for receipt in await credited_receipts(session, found)}
    return tuple(
        IncidentRow(incident, receipts[incident.event_id])
        for incident in await incidents_from(session, rows)
    )
