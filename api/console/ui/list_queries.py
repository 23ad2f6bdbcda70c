"""Queries of the console's lists and of the event page. Read-only.

Rows have the shape of the REST API, plus the project of each. A REST caller has one project and
does not need that field. The console shows all projects of the viewer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.console.sign_in.sessions import Viewer
from api.console.ui.filters import ListAddress
from domain.errors import NotFound
from domain.ids import EventId, ProjectId
from domain.incidents import Incident
from domain.receipts import Receipt
from domain.users import Access
from operations.serializers import event_view, full_event_view, incident_view
from operations.validation import known_id
from store.db.database import Database
from store.receipts import queries as reading

ROWS = 25
# The REST shape of a response. Values are of any JSON type.
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RowPage:
    """One page of a list. `next_cursor` is None on the last page."""

    rows: list[Json]
    next_cursor: str | None


async def event_rows(database: Database, address: ListAddress, viewer: Viewer) -> RowPage:
    """Events, newest first. Raises: ValidationFailed if the cursor is invalid."""
    async with database.searching(viewer.user_id) as session:
        page = await reading.list_events(
            session, _filters(address, viewer.access), limit=ROWS, cursor=address.cursor
        )
    return RowPage([_event(row.receipt, row.incident) for row in page.rows], page.next_cursor)


async def incident_rows(database: Database, address: ListAddress, viewer: Viewer) -> RowPage:
    """Incidents, newest first, each with its event.

    Raises:
        ValidationFailed if the cursor is invalid.
    """
    async with database.searching(viewer.user_id) as session:
        page = await reading.list_incidents(
            session, _filters(address, viewer.access), limit=ROWS, cursor=address.cursor
        )
    rows = [
        {"incident": incident_view(row.incident), "event": _event(row.receipt, row.incident)}
        for row in page.rows
    ]
    return RowPage(list[Json](rows), page.next_cursor)


async def read_event(database: Database, event_id: str, *, cursor: str | None) -> Json:
    """The event with its repairs and one page of its timeline.

    Raises:
        NotFound: there is no such event.
        ValidationFailed: the cursor is invalid.
    """
    async with database.reading() as session:
        found = await reading.read_event(session, None, EventId(known_id(event_id)), cursor=cursor)
    if found is None:
        raise NotFound("There is no such event.")
    full = full_event_view(found.receipt, found.incident, found.repairs, found.timeline)
    return {
        **_event(found.receipt, found.incident),
        **full,
        "timeline_cursor": found.timeline_cursor,
    }


def _event(receipt: Receipt, incident: Incident | None) -> Json:
    extra = {"project_id": receipt.project_id, "shopify_shop_domain": receipt.shopify_shop_domain}
    return {**event_view(receipt, incident), **extra}


def _filters(address: ListAddress, access: Access) -> reading.ListFilters:
    """The store's filters for an address, limited to the projects of the viewer."""
    chosen = address.chosen
    project_id = chosen.get("project")
    return reading.ListFilters(
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
