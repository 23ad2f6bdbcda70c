"""Queries of the console's lists and of the event page. Read-only.

A REST caller has one project. The console shows all projects of the viewer.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from api.console.sign_in.sessions import Viewer
from api.console.ui.filters import ALL, ListAddress
from api.console.ui.timeline import PEOPLE
from domain.errors import NotFound, RateLimited, Unavailable
from domain.ids import EventId, ProjectId
from domain.receipts import Receipt
from domain.users import Access
from operations.validation import known_id
from store.db.database import Database
from store.db.paging import Page
from store.receipts import queries
from store.receipts.queries import EventFull, EventRow, IncidentRow, ListFilters
from store.receipts.rows.names import read_names
from store.sources.seen import seen_by

ROWS = 25


async def event_rows(database: Database, address: ListAddress, viewer: Viewer) -> Page[EventRow]:
    """Events, newest first. Raises: ValidationFailed if the cursor is invalid."""
    async with database.searching(viewer.user_id) as session:
        return await queries.list_events(
            session, list_filters(address, viewer.access), limit=ROWS, cursor=address.cursor
        )


async def incident_rows(
    database: Database, address: ListAddress, viewer: Viewer
) -> Page[IncidentRow]:
    """Incidents, newest first, each with its event.

    Raises:
        ValidationFailed if the cursor is invalid.
    """
    async with database.searching(viewer.user_id) as session:
        return await queries.list_incidents(
            session, list_filters(address, viewer.access), limit=ROWS, cursor=address.cursor
        )


async def event_matches_elsewhere(
    database: Database, address: ListAddress, viewer: Viewer, *, tabs: Sequence[str]
) -> Mapping[str, str]:
    """In which other tabs the search finds events, with their number: `3`, or `25+`."""
    if (filters := _elsewhere(address, viewer.access, tabs)) is None:
        return {}
    with suppress(Unavailable, RateLimited):
        async with database.searching(viewer.user_id) as session:
            page = await queries.list_events(session, filters, limit=ROWS, cursor=None)
        return _numbers([row.receipt.state for row in page.rows], page.next_cursor)
    return {}


async def incident_matches_elsewhere(
    database: Database, address: ListAddress, viewer: Viewer, *, tabs: Sequence[str]
) -> Mapping[str, str]:
    """In which other tabs the search finds incidents, with their number: `3`, or `25+`."""
    if (filters := _elsewhere(address, viewer.access, tabs)) is None:
        return {}
    with suppress(Unavailable, RateLimited):
        async with database.searching(viewer.user_id) as session:
            page = await queries.list_incidents(session, filters, limit=ROWS, cursor=None)
        return _numbers([row.incident.state for row in page.rows], page.next_cursor)
    return {}


async def read_event(database: Database, event_id: str, *, cursor: str | None) -> EventFull:
    """The event with its repairs, one page of its timeline, and the sources that saw it.

    Raises:
        NotFound: there is no such event.
        ValidationFailed: the cursor is invalid.
    """
    async with database.reading() as session:
        event = await queries.read_event(session, None, EventId(known_id(event_id)), cursor=cursor)
        if event is None:
            raise NotFound("There is no such event.")
        return replace(event, sources=await seen_by(session, event.receipt.event_id))


@dataclass(frozen=True, slots=True)
class EventContext:
    """What an event's page shows beside the event.

    `names` are those of the people and keys that the event holds as ids. `superseding` is the later
    event that makes a repair doubtful, None without one.
    """

    names: Mapping[str, str]
    superseding: Receipt | None


async def read_context(database: Database, event: EventFull) -> EventContext:
    """The names and the superseding event of an event."""
    ids = {
        str(entry.fields[name])
        for entry in event.timeline
        for name in PEOPLE
        if entry.fields.get(name)
    }
    ids |= {repair.requested_by for repair in event.repairs}
    later = None if event.incident is None else event.incident.superseded_by
    async with database.reading() as session:
        names = await read_names(session, ids)
        row = None if later is None else await queries.read_event_row(session, None, later)
    return EventContext(names, None if row is None else row.receipt)


def _elsewhere(address: ListAddress, access: Access, tabs: Sequence[str]) -> ListFilters | None:
    """The filters of all other tabs. None without a search, or if the tab shows all states."""
    if address.state is None or "q" not in address.chosen:
        return None
    others = tuple(tab for tab in tabs if tab not in (ALL, address.state))
    return replace(list_filters(address, access), states=others)


def _numbers(states: Iterable[str], next_cursor: str | None) -> Mapping[str, str]:
    """The number of rows by state. `+` if there are more rows than were read."""
    mark = "" if next_cursor is None else "+"
    return {state: f"{number}{mark}" for state, number in Counter(states).items()}


def list_filters(address: ListAddress, access: Access) -> ListFilters:
    """The store's filters for an address, limited to the projects of the viewer."""
    chosen = address.chosen
    project_id = chosen.get("project")
    return ListFilters(
        project_id=None if project_id is None else ProjectId(project_id),
        within=access.projects,
        states=() if address.state is None else (address.state,),
        provider=chosen.get("provider"),
        event_type=chosen.get("event_type"),
        effect_type=chosen.get("effect_type"),
        internal_reference=chosen.get("internal_reference"),
        created_after=address.created_after,
        created_before=address.created_before,
        q=chosen.get("q"),
    )
