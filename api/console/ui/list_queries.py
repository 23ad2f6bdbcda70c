"""Queries of the console's lists and of the event page. Read-only.

A REST caller has one project. The console shows all projects of the viewer.
"""

from api.console.sign_in.sessions import Viewer
from api.console.ui.filters import ListAddress
from domain.errors import NotFound
from domain.ids import EventId, ProjectId
from domain.users import Access
from operations.validation import known_id
from store.db.database import Database
from store.db.paging import Page
from store.receipts import queries
from store.receipts.queries import EventFull, EventRow, IncidentRow, ListFilters

ROWS = 25


async def event_rows(database: Database, address: ListAddress, viewer: Viewer) -> Page[EventRow]:
    """Events, newest first. Raises: ValidationFailed if the cursor is invalid."""
    async with database.searching(viewer.user_id) as session:
        return await queries.list_events(
            session, _filters(address, viewer.access), limit=ROWS, cursor=address.cursor
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
            session, _filters(address, viewer.access), limit=ROWS, cursor=address.cursor
        )


async def read_event(database: Database, event_id: str, *, cursor: str | None) -> EventFull:
    """The event with its repairs and one page of its timeline.

    Raises:
        NotFound: there is no such event.
        ValidationFailed: the cursor is invalid.
    """
    async with database.reading() as session:
        event = await queries.read_event(session, None, EventId(known_id(event_id)), cursor=cursor)
    if event is None:
        raise NotFound("There is no such event.")
    return event


def _filters(address: ListAddress, access: Access) -> ListFilters:
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
