"""The place of an event in the list that it was opened from: the way back, and its neighbours."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode

from api.console.base import Console
from api.console.pages.incident_list.page import incident_address
from api.console.pages.list_page import own_projects
from api.console.sign_in.sessions import Viewer
from api.console.ui.filters import ListAddress
from api.console.ui.incident_tabs import TABS
from api.console.ui.list_queries import list_filters
from domain.errors import RateLimited, Unavailable, ValidationFailed
from domain.incidents import Incident
from domain.receipts import Receipt
from domain.values.timestamps import to_unix_ms
from store.receipts import queries
from store.receipts.lists.order import Key

# The parameter of an event's address that holds the query of the list.
LIST = "list"
LONGEST = 4_000


@dataclass(frozen=True, slots=True)
class Position:
    """The list, and the addresses of the events before and after this one; None at its ends."""

    back: str
    previous: str | None
    next: str | None


def event_address(event_id: str, list_query: str) -> str:
    """The address of an event that was opened from the list at this query."""
    return f"/events/{event_id}?{urlencode({LIST: list_query})}"


async def position_in_list(
    console: Console,
    viewer: Viewer,
    query: Mapping[str, str],
    receipt: Receipt,
    incident: Incident | None,
) -> Position | None:
    """The place in the list that the address names. None without a list, or without an incident."""
    given = query.get(LIST)
    if given is None or len(given) > LONGEST or incident is None:
        return None
    projects = await own_projects(console, viewer)
    address = incident_address(dict(parse_qsl(given)), projects, viewer)
    # An event settled since keeps its place, and the list its page.
    position = Position(str(address), None, None)
    with suppress(ValidationFailed, Unavailable, RateLimited):
        previous, following = await _neighbours(console, viewer, address, receipt, incident)
        position = replace(position, previous=previous, next=following)
    return position


async def _neighbours(
    console: Console,
    viewer: Viewer,
    address: ListAddress,
    receipt: Receipt,
    incident: Incident,
) -> tuple[str | None, str | None]:
    database = console.parts.database
    key = Key(_number(address.sort, receipt, incident), incident.id)
    async with database.searching(viewer.user_id) as session:
        filters = await list_filters(database, session, address, viewer)
        filters = replace(filters, also=TABS[address.tab].search)
        found = [
            await queries.neighbour(session, filters, sort=sort, beyond=key)
            for sort in (_reversed(address.sort), address.sort)
        ]
    list_query = address.query
    before, after = (None if one is None else event_address(one, list_query) for one in found)
    return before, after


def _number(sort: str, receipt: Receipt, incident: Incident) -> int:
    """The number that the incident has in the order."""
    match sort.removeprefix("-"):
        case "amount":
            return -1 if incident.amount is None else incident.amount
        case "deadline_at":
            return to_unix_ms(receipt.deadline_at)
        case _:
            return to_unix_ms(incident.opened_at)


def _reversed(sort: str) -> str:
    return sort.removeprefix("-") if sort.startswith("-") else f"-{sort}"
