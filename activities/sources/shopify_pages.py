"""Pages of a shop's orders, by the time of their last change, oldest first.

https://shopify.dev/docs/api/admin-rest/latest/resources/order. The cursor is the `page_info` of the
`Link` header. Only that is taken from the link: no address that the provider names is called.
"""

import re
from datetime import datetime
from urllib.parse import parse_qs, urlencode, urlsplit

from activities.sources.page import MOST_EVENTS, Page, not_a_list
from domain.sources.events import NotAnEvent, ProviderEvent
from domain.sources.listing import CLOCK_TOLERANCE, Complaint, ListingSpan
from domain.sources.shopify import order_topics, parse_shopify_order
from domain.sources.source import Source
from domain.values.text import is_storable
from domain.values.timestamps import to_iso
from egress.provider_api import LONGEST_LINK

LONGEST_CURSOR = 4_096
_READ_FIELDS = (
    *("id", "created_at", "processed_at", "updated_at", "financial_status", "test"),
    *("fulfillment_status", "fulfillments", "total_price", "currency"),
)
# RFC 8288: an address, and its parameters up to the next address.
_LINK = re.compile(r"<([^<>]*)>([^<>]*)")
_RELATIONS = re.compile(r""";\s*rel\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s;,"']+))""", re.IGNORECASE)
_FIELD = re.compile(r"[a-z_]{1,64}")


def shopify_query(source: Source, span: ListingSpan, *, limit: int) -> str:
    """The query of the span's next page. With a cursor, Shopify takes no other filter."""
    query = [("limit", str(limit)), ("fields", ",".join(_fields(source)))]
    if span.cursor is not None:
        return urlencode([*query, ("page_info", span.cursor)])
    return urlencode(
        [
            *query,
            ("status", "any"),
            ("order", "updated_at asc"),
            ("updated_at_min", to_iso(span.from_at)),
            ("updated_at_max", to_iso(span.until_at)),
        ]
    )


def read_shopify_page(json: object, link: str | None, source: Source, now: datetime) -> Page:
    """The page in an answer. Raises: ListingStopped: the answer is no list of orders."""
    if not isinstance(json, dict) or not isinstance(json.get("orders"), list):
        raise not_a_list()
    orders = json["orders"]
    cursor, is_next_unreadable = _read_next(link)
    if len(orders) > MOST_EVENTS:
        raise not_a_list()
    events, unreadable = _read_all(orders, source)
    seen = tuple(event for event in events if event.occurred_at <= now + CLOCK_TOLERANCE)
    found = {
        Complaint.UNREADABLE_EVENTS: unreadable > 0,
        Complaint.FUTURE_EVENTS: len(seen) < len(events),
    }
    complaints = frozenset(complaint for complaint, is_true in found.items() if is_true)
    return Page(
        seen,
        cursor if orders else None,
        cursor is not None,
        complaints=complaints,
        is_next_unreadable=is_next_unreadable,
    )


def _read_all(orders: list[object], source: Source) -> tuple[list[ProviderEvent], int]:
    """The events of the orders, and how many orders cannot be read."""
    events: list[ProviderEvent] = []
    unreadable = 0
    for order in orders:
        try:
            events += [
                parse_shopify_order(order, topic, {}, source) for topic in order_topics(order)
            ]
            unreadable += not isinstance(order, dict)
        except NotAnEvent:
            unreadable += 1
    return events, unreadable


def _fields(source: Source) -> list[str]:
    """What is read of an order, with what the pointers of the source lead into."""
    named = {
        (expects.reference or "").split("/")[1] for expects in source.expects if expects.reference
    }
    return [
        *_READ_FIELDS,
        *sorted(name for name in named - set(_READ_FIELDS) if _FIELD.fullmatch(name)),
    ]


def _read_next(link: str | None) -> tuple[str | None, bool]:
    """The cursor of the next page, and whether there may be a next page without a readable one."""
    if link is None:
        return None, False
    if len(link) > LONGEST_LINK:
        return None, True
    addresses = _next_addresses(link)
    cursor = _cursor_in(addresses[0]) if addresses else None
    return cursor, bool(addresses) and cursor is None


def _cursor_in(address: str) -> str | None:
    """The `page_info` of the address."""
    try:
        cursors = parse_qs(urlsplit(address).query).get("page_info", [])
    except ValueError:
        return None
    cursor = cursors[0] if cursors else ""
    return cursor if 0 < len(cursor) <= LONGEST_CURSOR and is_storable(cursor) else None


def _next_addresses(link: str) -> list[str]:
    """The addresses that the header relates as the next page."""
    return [
        address
        for address, parameters in _LINK.findall(link)
        for relations in _RELATIONS.findall(parameters)
        if "next" in "".join(relations).lower().split()
    ]
