"""Queries of the console's lists. Read-only.

A REST caller has one project. The console shows all projects of the viewer.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from sqlalchemy.ext.asyncio import AsyncSession

from api.console.sign_in.sessions import Viewer
from api.console.ui.filters import ListAddress
from api.console.ui.incident_tabs import ALL, SEARCHES, TABS
from domain.errors import RateLimited, Unavailable
from domain.ids import EventId, ProjectId
from operations.lists import instant_of_search
from store.db.database import Database
from store.db.paging import Page
from store.db.sql import SessionStatements
from store.receipts import queries
from store.receipts.lists.order import EVENT_LIST, INCIDENT_LIST
from store.receipts.lists.pages import keys_of, with_scope
from store.receipts.lists.progress import RepairProgress, repair_progress
from store.receipts.lists.tab_counts import TabCount, available_tabs, count_tabs
from store.receipts.queries import EventRow, IncidentRow, ListFilters

ROWS = 25
INCIDENT_TABS = available_tabs(SEARCHES)


@dataclass(frozen=True, slots=True)
class IncidentRows:
    """A page of incidents, the progress of their repairs, and the counts of the tabs.

    `counts` is empty when counting takes too long. `in_events` is how many receipts a search finds:
    `3`, or `25+`; empty without a search, or for none.
    """

    page: Page[IncidentRow]
    progress: Mapping[EventId, RepairProgress] = field(default_factory=dict)
    counts: Mapping[str, TabCount] = field(default_factory=dict)
    in_events: str = ""


async def event_rows(database: Database, address: ListAddress, viewer: Viewer) -> Page[EventRow]:
    """A page of events. Raises: ValidationFailed if the cursor or search is invalid."""
    async with database.searching(viewer.user_id) as session:
        filters = await list_filters(database, session, address, viewer)
        return await queries.list_events(
            session, filters, limit=ROWS, cursor=address.cursor, sort=address.sort
        )


async def incident_rows(
    database: Database,
    address: ListAddress,
    viewer: Viewer,
    *,
    scope: tuple[ProjectId, ...] | None,
) -> IncidentRows:
    """Incidents in the order of the address, each with its event. `scope` are the projects that the
    filters leave, None if they are not known.

    Raises: ValidationFailed if the cursor or search is invalid; Unavailable, RateLimited.
    """
    rows: IncidentRows | None = None
    try:
        async with database.searching(viewer.user_id) as session:
            filters = await list_filters(database, session, address, viewer)
            filters = await with_scope(session, replace(filters, scope=scope))
            page = await queries.list_incidents(
                session,
                replace(filters, also=TABS[address.tab].search),
                limit=ROWS,
                cursor=address.cursor,
                sort=address.sort,
            )
            events = [row.incident.event_id for row in page.rows]
            progress = await repair_progress(SessionStatements(session), events)
            rows = IncidentRows(page, progress)
            searches = {name: SEARCHES[name] for name in INCIDENT_TABS if name != ALL}
            rows = replace(rows, counts=await count_tabs(session, filters, searches))
            if "q" in address.chosen:
                found = await keys_of(session, EVENT_LIST, filters, count=ROWS + 1)
                rows = replace(rows, in_events=_number(len(found)))
    except (Unavailable, RateLimited):
        # A count that takes too long ends the session. The page is shown without it.
        if rows is None:
            raise
    return rows


async def event_matches_elsewhere(
    database: Database, address: ListAddress, viewer: Viewer, *, tabs: Sequence[str]
) -> Mapping[str, str]:
    """In which other tabs the search finds events, with their number: `3`, or `25+`."""
    if address.state is None or "q" not in address.chosen:
        return {}
    others = tuple(tab for tab in tabs if tab not in (ALL, address.state))
    with suppress(Unavailable, RateLimited):
        async with database.searching(viewer.user_id) as session:
            filters = await list_filters(database, session, address, viewer)
            filters = replace(filters, states=others)
            page = await queries.list_events(session, filters, limit=ROWS, cursor=None)
        return _numbers([row.receipt.state for row in page.rows], page.next_cursor)
    return {}


async def matches_in_incidents(database: Database, address: ListAddress, viewer: Viewer) -> str:
    """How many incidents the search finds: `3`, or `25+`. Empty without a search, or for none."""
    if "q" not in address.chosen:
        return ""
    with suppress(Unavailable, RateLimited):
        async with database.searching(viewer.user_id) as session:
            filters = await list_filters(database, session, address, viewer)
            filters = replace(filters, states=())
            return _number(len(await keys_of(session, INCIDENT_LIST, filters, count=ROWS + 1)))
    return ""


async def list_filters(
    database: Database, session: AsyncSession, address: ListAddress, viewer: Viewer
) -> ListFilters:
    """The store's filters for an address, limited to the projects of the viewer.

    Raises: ValidationFailed for a refused search.
    """
    chosen = address.chosen
    project_id, mode, q = chosen.get("project"), chosen.get("mode"), chosen.get("q")
    is_of_events = address.path != "/incidents"
    return ListFilters(
        project_id=None if project_id is None else ProjectId(project_id),
        within=viewer.access.projects,
        states=(address.state,) if is_of_events and address.state is not None else (),
        provider=chosen.get("provider"),
        event_type=chosen.get("event_type"),
        effect_type=chosen.get("effect_type"),
        internal_reference=chosen.get("internal_reference"),
        created_after=address.created_after,
        created_before=address.created_before,
        q=q,
        now=await instant_of_search(database, session, q),
        livemode=None if mode is None else mode == "live",
        me=viewer.user_id,
    )


def _number(found: int) -> str:
    """The number of matches. One more than a page was read."""
    return f"{ROWS}+" if found > ROWS else str(found or "")


def _numbers(states: Iterable[str], next_cursor: str | None) -> Mapping[str, str]:
    """The number of rows by state. `+` if there are more rows than were read."""
    mark = "" if next_cursor is None else "+"
    return {state: f"{number}{mark}" for state, number in Counter(states).items()}
