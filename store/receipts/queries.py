"""What pages, lists and the reconciler read of receipts and incidents. Writes nothing; best called in `Database.reading()`.

`project_id` None means every project (the console's view); REST passes the caller's. Lists are newest first, by keyset on the
ids, which are ordered by time.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, IncidentId, ProjectId, ReplayId
from domain.incidents import Attempt, Incident, IncidentState, Repair, RepairState, Resolution, TimelineEntry
from domain.receipts import Provider, Receipt, ReceiptState
from store.db.paging import Page, page_of_rows
from store.receipts.outage_credit import credited_receipts, pending_entries
from store.receipts.timeline import read_timeline
from store.schema import tables
from store.schema.mappers import (
    RECEIPT_COLUMNS,
    RECEIPTS,
    attempt_from,
    incident_from,
    repair_from,
)

PROJECTS = tables.Project.metadata.tables["projects"]
INCIDENTS = tables.Incident.metadata.tables["incidents"]
REPAIRS = tables.Repair.metadata.tables["repairs"]
ATTEMPTS = tables.Attempt.metadata.tables["attempts"]
# Of one event. An attempt of a repair is on the timeline too, and that is paged.
REPAIRS_SHOWN = 100
ATTEMPTS_SHOWN = 1_000
WEEK = timedelta(days=7)
_ACTIVE = (RepairState.CALLING.value, RepairState.AWAITING_RESULT.value)


@dataclass(frozen=True, slots=True)
class ListFilters:
    """What a list is narrowed to; None or empty means no filter. `states` are a receipt's or an incident's, as the list is.

    `within` are the projects that the reader belongs to, None for all. `created_after` and `created_before` exclude the instant
    itself; `q` looks for a part of the reference or of the provider's id, or for one of our ids.
    """

    project_id: ProjectId | None = None
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
    """A repair with what it is of."""

    receipt: Receipt
    incident: Incident
    repair: Repair


@dataclass(frozen=True, slots=True)
class EventFull:
    """What is known of an event: its newest repairs and a page of its timeline, both oldest first.

    `timeline_cursor` continues with older entries; None: the timeline begins with the first one.
    """

    receipt: Receipt
    incident: Incident | None
    repairs: tuple[Repair, ...]
    timeline: tuple[TimelineEntry, ...]
    timeline_cursor: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Waiting receipts, unresolved incidents by state, and those that ended in success within the last seven days."""

    waiting: int
    open: int
    repairing: int
    repaired_this_week: int


async def list_events(session: AsyncSession, filters: ListFilters, *, limit: int, cursor: str | None) -> Page[EventRow]:
    """A page of events. Raises: ValidationFailed for a cursor that is not ours."""
    query = select(*RECEIPT_COLUMNS).where(*_receipt_conditions(filters), *_created(filters, RECEIPTS.c.accepted_at))
    if filters.states:
        query = query.where(RECEIPTS.c.state.in_(filters.states))
    rows, next_cursor = await page_of_rows(session, query, RECEIPTS.c.event_id, limit=limit, cursor=cursor)
    incidents = await _incidents_of(session, [row.event_id for row in rows])
    receipts = await credited_receipts(session, rows)
    return Page(tuple(EventRow(receipt, incidents.get(receipt.event_id)) for receipt in receipts), next_cursor)


async def list_incidents(session: AsyncSession, filters: ListFilters, *, limit: int, cursor: str | None) -> Page[IncidentRow]:
    """A page of incidents. Raises: ValidationFailed for a cursor that is not ours."""
    query = select(INCIDENTS).join(RECEIPTS, RECEIPTS.c.event_id == INCIDENTS.c.event_id)
    query = query.where(*_receipt_conditions(filters), *_created(filters, INCIDENTS.c.opened_at))
    if filters.project_id is not None:
        query = query.where(INCIDENTS.c.project_id == filters.project_id)
    if filters.states:
        query = query.where(INCIDENTS.c.state.in_(filters.states))
    rows, next_cursor = await page_of_rows(session, query, INCIDENTS.c.id, limit=limit, cursor=cursor)
    return Page(await _with_receipts(session, rows), next_cursor)


async def read_event_row(session: AsyncSession, project_id: ProjectId | None, event_id: EventId) -> EventRow | None:
    """The event and its incident; None when there is no such event in the project."""
    row = await _receipt_row(session, project_id, event_id)
    return None if row is None else await _event_row(session, row)


async def read_event(
    session: AsyncSession, project_id: ProjectId | None, event_id: EventId, *, cursor: str | None = None
) -> EventFull | None:
    """The event with what became of it; None when there is no such event in the project.

    `cursor` asks for an older part of the timeline. Raises: ValidationFailed when it is none of ours.
    """
    row = await _receipt_row(session, project_id, event_id)
    if row is None:
        return None
    event = await _event_row(session, row)
    page = await read_timeline(session, event.receipt, cursor=cursor)
    # A credit that is not applied yet belongs to the newest part.
    pending = [] if cursor else await pending_entries(session, row)
    entries = tuple(sorted((*page.entries, *pending), key=lambda entry: entry.at))
    repairs = await _repairs(session, REPAIRS.c.event_id == event_id)
    return EventFull(event.receipt, event.incident, repairs, entries, page.next_cursor)


async def read_repair(session: AsyncSession, event_id: EventId, replay_id: ReplayId) -> RepairFull | None:
    """The repair, its receipt and its incident, and nothing of what was said; None when the event has no such repair."""
    row = (await session.execute(select(*RECEIPT_COLUMNS).where(RECEIPTS.c.event_id == event_id))).first()
    repairs = await _repairs(session, (REPAIRS.c.event_id == event_id) & (REPAIRS.c.replay_id == replay_id))
    incident = (await _incidents_of(session, [event_id])).get(event_id)
    if row is None or incident is None or not repairs:
        return None
    return RepairFull((await credited_receipts(session, [row]))[0], incident, repairs[0])


async def _receipt_row(session: AsyncSession, project_id: ProjectId | None, event_id: EventId) -> Row[Any] | None:
    query = select(*RECEIPT_COLUMNS).where(RECEIPTS.c.event_id == event_id, *_of_project(RECEIPTS.c.project_id, project_id))
    return (await session.execute(query)).first()


async def _event_row(session: AsyncSession, row: Row[Any]) -> EventRow:
    (receipt,) = await credited_receipts(session, [row])
    return EventRow(receipt, (await _incidents_of(session, [receipt.event_id])).get(receipt.event_id))


async def read_incident(session: AsyncSession, project_id: ProjectId | None, incident_id: IncidentId) -> IncidentRow | None:
    """The incident and its receipt; None when there is no such incident in the project."""
    query = select(INCIDENTS).where(INCIDENTS.c.id == incident_id, *_of_project(INCIDENTS.c.project_id, project_id))
    found = await _with_receipts(session, (await session.execute(query)).all())
    return found[0] if found else None


async def find_by_provider_event(
    session: AsyncSession, project_id: ProjectId | None, *, provider: Provider, provider_event_id: str
) -> list[Receipt]:
    """The receipts of one event of the provider, one for each effect, newest first."""
    query = select(*RECEIPT_COLUMNS).where(
        RECEIPTS.c.provider == provider.value,
        RECEIPTS.c.provider_event_id == provider_event_id,
        *_of_project(RECEIPTS.c.project_id, project_id),
    )
    return await credited_receipts(session, (await session.execute(query.order_by(RECEIPTS.c.event_id.desc()))).all())


async def counts(
    session: AsyncSession, project_id: ProjectId | None, now: datetime, *, within: tuple[ProjectId, ...] | None = None
) -> Counts:
    """How much is waiting, wrong, in repair, and was made good; `within` as in `ListFilters`."""
    waiting = select(func.count()).where(
        RECEIPTS.c.state == ReceiptState.WAITING.value,
        *_of_project(RECEIPTS.c.project_id, project_id),
        *_within(RECEIPTS.c.project_id, within),
    )
    state, recovered = INCIDENTS.c.state, INCIDENTS.c.resolution != Resolution.MANUAL.value
    incidents = select(
        func.count().filter(state == IncidentState.OPEN.value).label("open"),
        func.count().filter(state == IncidentState.REPAIRING.value).label("repairing"),
        func.count().filter(recovered, INCIDENTS.c.resolved_at > now - WEEK).label("repaired"),
    ).where(*_of_project(INCIDENTS.c.project_id, project_id), *_within(INCIDENTS.c.project_id, within))
    row = (await session.execute(incidents)).one()
    return Counts(
        waiting=await session.scalar(waiting) or 0, open=row.open, repairing=row.repairing, repaired_this_week=row.repaired
    )


async def open_receipts(session: AsyncSession, *, after: EventId | None, limit: int) -> list[tuple[EventId, ReceiptState]]:
    """Receipts that have not ended, in the order of their ids, from the one after `after`."""
    # Spelled out, not bound: only so do both engines see that the partial index `receipts_unended` holds them all.
    is_unended = RECEIPTS.c.state.in_((literal_column("'waiting'"), literal_column("'incident'")))
    query = select(RECEIPTS.c.event_id, RECEIPTS.c.state).where(is_unended, RECEIPTS.c.event_id > (after or ""))
    rows = await session.execute(query.order_by(RECEIPTS.c.event_id).limit(limit))
    return [(EventId(row.event_id), ReceiptState(row.state)) for row in rows]


def _receipt_conditions(filters: ListFilters) -> list[ColumnElement[bool]]:
    equal = ("project_id", "provider", "event_type", "effect_type", "internal_reference")
    wanted = {name: getattr(filters, name) for name in equal}
    conditions = [RECEIPTS.c[name] == value for name, value in wanted.items() if value is not None]
    conditions.extend(_within(RECEIPTS.c.project_id, filters.within))
    # What is left of a deleted project is being erased.
    conditions.append(RECEIPTS.c.project_id.not_in(select(PROJECTS.c.id).where(PROJECTS.c.deleted_at.is_not(None))))
    if filters.q is not None and (q := filters.q.strip()):
        of_incident = select(INCIDENTS.c.event_id).where(INCIDENTS.c.id == q)
        in_texts = (
            column.icontains(q, autoescape=True) for column in (RECEIPTS.c.internal_reference, RECEIPTS.c.provider_event_id)
        )
        conditions.append(or_(RECEIPTS.c.event_id == q, RECEIPTS.c.event_id.in_(of_incident), *in_texts))
    return conditions


def _created(filters: ListFilters, at: ColumnElement[datetime]) -> list[ColumnElement[bool]]:
    after = [] if filters.created_after is None else [at > filters.created_after]
    return after if filters.created_before is None else [*after, at < filters.created_before]


def _of_project(column: ColumnElement[str], project_id: ProjectId | None) -> list[ColumnElement[bool]]:
    return [] if project_id is None else [column == project_id]


def _within(column: ColumnElement[str], within: tuple[ProjectId, ...] | None) -> list[ColumnElement[bool]]:
    return [] if within is None else [column.in_(within)]


async def _incidents_of(session: AsyncSession, event_ids: Collection[str]) -> dict[str, Incident]:
    if not event_ids:
        return {}
    rows = (await session.execute(select(INCIDENTS).where(INCIDENTS.c.event_id.in_(event_ids)))).all()
    return {incident.event_id: incident for incident in await _incidents(session, rows)}


async def _incidents(session: AsyncSession, rows: Sequence[Row[Any]]) -> list[Incident]:
    ids = [row.id for row in rows if row.state == IncidentState.REPAIRING.value]
    query = select(REPAIRS.c.incident_id, REPAIRS.c.replay_id).where(REPAIRS.c.incident_id.in_(ids), REPAIRS.c.state.in_(_ACTIVE))
    active = {row.incident_id: row.replay_id for row in await session.execute(query)} if ids else {}
    return [incident_from(row, active_replay_id=active.get(row.id)) for row in rows]


async def _with_receipts(session: AsyncSession, rows: Sequence[Row[Any]]) -> tuple[IncidentRow, ...]:
    query = select(*RECEIPT_COLUMNS).where(RECEIPTS.c.event_id.in_([row.event_id for row in rows]))
    found = (await session.execute(query)).all() if rows else []
    receipts = {receipt.event_id: receipt for receipt in await credited_receipts(session, found)}
    return tuple(IncidentRow(incident, receipts[incident.event_id]) for incident in await _incidents(session, rows))


async def _repairs(session: AsyncSession, wanted: ColumnElement[bool]) -> tuple[Repair, ...]:
    """The newest of the repairs that are wanted, oldest first, each with its newest attempts."""
    newest = select(REPAIRS).where(wanted).order_by(REPAIRS.c.replay_id.desc()).limit(REPAIRS_SHOWN)
    rows = (await session.execute(newest)).all()
    ids = [row.replay_id for row in rows]
    tried = select(ATTEMPTS).where(ATTEMPTS.c.replay_id.in_(ids)).order_by(ATTEMPTS.c.replay_id.desc(), ATTEMPTS.c.number.desc())
    attempts: defaultdict[str, list[Attempt]] = defaultdict(list)
    for row in await session.execute(tried.limit(ATTEMPTS_SHOWN)) if ids else ():
        attempts[row.replay_id].insert(0, attempt_from(row))
    return tuple(repair_from(row, attempts=attempts[row.replay_id]) for row in reversed(rows))
