"""Pages of Stripe's `/v1/events`: newest first, within a span of whole seconds.

https://docs.stripe.com/api/events/list. The cursor is an event's id. The oldest event of a page is
taken, whatever their order, so that no page is skipped.
"""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlencode

from activities.sources.page import MOST_EVENTS, Page, not_a_list
from domain.sources.events import NotAnEvent, ProviderEvent
from domain.sources.fields import identifier
from domain.sources.listing import CLOCK_TOLERANCE, Complaint, ListingSpan
from domain.sources.source import Source
from domain.sources.stripe import parse_stripe_event

# Stripe filters by at most so many types. With more of them, a source lists every type.
MOST_TYPES = 20


def stripe_query(source: Source, span: ListingSpan, *, limit: int) -> str:
    """The query of the span's next page."""
    query = [
        ("limit", str(limit)),
        ("created[gte]", str(int(span.from_at.timestamp()))),
        ("created[lte]", str(int(span.until_at.timestamp()))),
    ]
    types = sorted({expects.event_type for expects in source.expects})
    if len(types) <= MOST_TYPES:
        query += [("types[]", name) for name in types]
    if span.cursor is not None:
        query.append(("starting_after", span.cursor))
    return urlencode(query)


def read_stripe_page(json: object, source: Source, span: ListingSpan, now: datetime) -> Page:
    """The page in an answer. Of a page that is longer than it may be, the first part.

    A page whose events cannot be read stops no listing: the next page begins after its last id.

    Raises: ListingStopped: the answer is no list, or it has a next page and no item with an id.
    """
    if not isinstance(json, dict) or not isinstance(json.get("data"), list):
        raise not_a_list()
    items, says_more = json["data"][:MOST_EVENTS], json.get("has_more")
    if not isinstance(says_more, bool):
        raise not_a_list()
    says_more = says_more or len(json["data"]) > MOST_EVENTS
    events = [event for item in items if (event := _read(item, source)) is not None]
    cursor = _cursor_after(events) or _last_id(items)
    if items and cursor is None and says_more:
        raise not_a_list()
    seen = [event for event in events if event.occurred_at <= now + CLOCK_TOLERANCE]
    is_beyond = bool(events) and all(_is_before(event, span) for event in events)
    found = {
        Complaint.UNREADABLE_EVENTS: len(events) < len(items),
        Complaint.FUTURE_EVENTS: len(seen) < len(events),
        Complaint.OTHER_TIMES: any(_is_before(event, span) for event in events),
    }
    complaints = frozenset(complaint for complaint, is_true in found.items() if is_true)
    return Page(tuple(seen), cursor, says_more, is_beyond, complaints)


def _read(item: object, source: Source) -> ProviderEvent | None:
    try:
        return parse_stripe_event(item, source)
    except NotAnEvent:
        return None


def _is_before(event: ProviderEvent, span: ListingSpan) -> bool:
    return event.occurred_at < span.from_at.replace(microsecond=0)


def _last_id(items: Sequence[object]) -> str | None:
    ids = (identifier(item.get("id")) for item in reversed(items) if isinstance(item, dict))
    return next((found for found in ids if found is not None), None)


def _cursor_after(events: Sequence[ProviderEvent]) -> str | None:
    """The last of the oldest events."""
    oldest = min((event.occurred_at for event in events), default=None)
    return next((event.id for event in reversed(events) if event.occurred_at == oldest), None)
