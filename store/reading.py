"""What pages, lists and the reconciler read of receipts and incidents. Writes nothing; best called in `Database.reading()`.

`project_id` None means every project (the console's view); REST passes the caller's. Lists are newest first, by keyset on the
ids, which are ordered by time.
"""

import base64
import binascii
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Row, Select, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, ValidationFailed
from domain.ids import EventId, IncidentId, ProjectId, ReplayId
from domain.incidents import Attempt, Incident, IncidentState, Repair, RepairState, Resolution, TimelineEntry
from domain.receipts import Provider, Receipt, ReceiptState
from store import tables
from store.conversions import (
    RECEIPT_COLUMNS,
    RECEIPTS,
    attempt_from,
    incident_from,
    repair_from,
    result_from,
    timeline_entry_from,
)
from store.crediting import credited_receipts, pending_entries
from store.timelines import merged_timeline

PROJECTS = tables.Project.metadata.tables["projects"]
INCIDENTS = tables.Incident.metadata.tables["incidents"]
REPAIRS = tables.Repair.metadata.tables["repairs"]
ATTEMPTS = tables.Attempt.metadata.tables["attempts"]
RESULTS = tables.Result.metadata.tables["results"]
TIMELINE = tables.Timeline.metadata.tables["timeline"]
WEEK = timedelta(days=7)
# Of each list by its key: the cursor of one says nothing in the other.
_CURSORS = {"event_id": re.compile(r"evt_[0-9a-f]{32}"), "id": re.compile(r"inc_[0-9a-f]{32}")}
_ACTIVE = (RepairState.CALLING.value, RepairState.AWAITING_RESULT.value)

T = TypeVar("T")


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
class Page(Generic[T]):
    """Some rows; `next_cursor` is None at the end."""

    rows: tuple[T, ...]
    next_cursor: str | None


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
    """Everything known of an event; repairs and timeline oldest first."""

    receipt: Receipt
    incident: Incident | None
    repairs: tuple[Repair, ...]
    timeline: tuple[TimelineEntry, ...]


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
    rows, next_cursor = await _page(session, query, RECEIPTS.c.event_id, limit=limit, cursor=cursor)
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
    rows, next_cursor = await _page(session, query, INCIDENTS.c.id, limit=limit, cursor=cursor)
    return Page(await _with_receipts(session, rows), next_cursor)


async def read_event(session: AsyncSession, project_id: ProjectId | None, event_id: EventId) -> EventFull | None:
    """The event with all that became of it; None when there is no such event in the project."""
    query = select(*RECEIPT_COLUMNS).where(RECEIPTS.c.event_id == event_id, *_of_project(RECEIPTS.c.project_id, project_id))
    row = (await session.execute(query)).first()
    if row is None:
        return None
    (receipt,) = await credited_receipts(session, [row])
    repairs = await _repairs(session, event_id)
    results = await session.execute(select(RESULTS).where(RESULTS.c.event_id == event_id).order_by(RESULTS.c.id))
    stored = await session.execute(select(TIMELINE).where(TIMELINE.c.event_id == event_id).order_by(TIMELINE.c.id))
    entries = [*map(timeline_entry_from, stored), *await pending_entries(session, row)]
    timeline = merged_timeline(receipt, map(result_from, results), repairs, entries)
    return EventFull(receipt, (await _incidents_of(session, [event_id])).get(event_id), repairs, timeline)


async def read_repair(session: AsyncSession, event_id: EventId, replay_id: ReplayId) -> RepairFull | None:
    """The repair, its receipt and its incident, and nothing of what was said; None when the event has no such repair."""
    row = (await session.execute(select(*RECEIPT_COLUMNS).where(RECEIPTS.c.event_id == event_id))).first()
    repair = next((one for one in await _repairs(session, event_id) if one.replay_id == replay_id), None)
    incident = (await _incidents_of(session, [event_id])).get(event_id)
    if row is None or incident is None or repair is None:
        return None
    return RepairFull((await credited_receipts(session, [row]))[0], incident, repair)


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


async def overdue(session: AsyncSession, now: datetime, *, grace_seconds: float, limit: int) -> list[EventId]:
    """Receipts that still wait longer than `grace_seconds` after their deadline, the longest overdue first."""
    is_overdue = RECEIPTS.c.deadline_at <= now - timedelta(seconds=grace_seconds)
    query = select(RECEIPTS.c.event_id).where(RECEIPTS.c.state == ReceiptState.WAITING.value, is_overdue)
    return [EventId(row.event_id) for row in await session.execute(query.order_by(RECEIPTS.c.deadline_at).limit(limit))]


async def unended(session: AsyncSession, *, after: EventId | None, limit: int) -> list[tuple[EventId, ReceiptState]]:
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


async def _page(
    session: AsyncSession, query: Select[Any], column: ColumnElement[str], *, limit: int, cursor: str | None
) -> tuple[Sequence[Row[Any]], str | None]:
    if cursor is not None:
        query = query.where(column < _id_in(cursor, of=column.name))
    rows = (await session.execute(query.order_by(column.desc()).limit(limit + 1))).all()  # one more tells if there is a next page
    if len(rows) <= limit:
        return rows, None
    last: str = getattr(rows[limit - 1], column.name)
    return rows[:limit], base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def _id_in(cursor: str, *, of: str) -> str:
    try:
        found = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        found = ""
    if _CURSORS[of].fullmatch(found) is None:
        raise ValidationFailed(errors=(FieldError("/cursor", "invalid", "This cursor did not come from this list."),))
    return found


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


async def _repairs(session: AsyncSession, event_id: EventId) -> tuple[Repair, ...]:
    attempts: defaultdict[str, list[Attempt]] = defaultdict(list)
    for row in await session.execute(select(ATTEMPTS).where(ATTEMPTS.c.event_id == event_id).order_by(ATTEMPTS.c.number)):
        attempts[row.replay_id].append(attempt_from(row))
    repairs = await session.execute(select(REPAIRS).where(REPAIRS.c.event_id == event_id).order_by(REPAIRS.c.replay_id))
    return tuple(repair_from(row, attempts=attempts[row.replay_id]) for row in repairs)
