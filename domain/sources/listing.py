"""How a source lists its provider: which span of time is next, and when pages go in circles.

Pure. A listing works through spans of at most a day, oldest first, so that one that is killed goes
on where it was. `store.sources.listings` keeps the progress; `activities.sources` asks for pages.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.sources.source import LISTING_HORIZON, LISTING_OVERLAP, Gap, Source

LONGEST_SPAN = timedelta(days=1)
# Of one span: ten million events a day.
MAXIMUM_PAGES = 100_000
# A span under way moves out of the horizon while it is listed.
_HORIZON_MARGIN = timedelta(hours=1)
# Events dated later than this after now are of the future.
CLOCK_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ListingSpan:
    """The span of time that a listing works through.

    `cursor` is where the next page begins, in the provider's terms; None: at the first page.
    `pages` is the number of pages that are stored.
    """

    from_at: datetime
    until_at: datetime
    cursor: str | None = None
    pages: int = 0

    def is_listable(self, now: datetime) -> bool:
        """Whether the provider still has all of it."""
        return self.from_at >= now - LISTING_HORIZON - _HORIZON_MARGIN


def next_span(source: Source, now: datetime) -> ListingSpan:
    """The span that is next, oldest first.

    It overlaps the span before, because an event may appear in the list after a later one. It
    never begins before the source was created, or earlier than the provider keeps events.
    """
    known = source.created_at if source.listed_until is None else source.listed_until
    # A clock that was ahead may have stored an instant of the future.
    begins_at = min(known, now) - LISTING_OVERLAP
    from_at = max(begins_at, min(source.created_at, now), now - LISTING_HORIZON)
    return ListingSpan(from_at, min(from_at + LONGEST_SPAN, now))


def find_gap(source: Source, now: datetime) -> Gap | None:
    """The span that was never listed and that the provider does not keep any more, if any."""
    known = source.created_at if source.listed_until is None else source.listed_until
    horizon = now - LISTING_HORIZON
    return Gap(known, horizon, now) if known < horizon else None


def is_due_again(source: Source, span: ListingSpan, now: datetime) -> bool:
    """Whether the next span is due at once, after this one has ended.

    It is while the listing catches up, and if this span took longer than the source's interval.
    """
    interval = timedelta(minutes=source.every_minutes or 0)
    return now - span.until_at >= max(min(interval, LISTING_OVERLAP), timedelta(minutes=1))


class CircleDetector:
    """Finds out that cursors repeat, in constant memory (Brent's algorithm).

    A cycle of n cursors is found within 3 n pages after it was entered.
    """

    def __init__(self, cursor: str | None) -> None:
        self._marked = cursor
        self._steps, self._limit = 0, 1

    def is_circle(self, cursor: str) -> bool:
        """Whether this cursor, the next one, was there before."""
        if cursor == self._marked:
            return True
        self._steps += 1
        if self._steps == self._limit:
            self._marked, self._steps, self._limit = cursor, 0, self._limit * 2
        return False
