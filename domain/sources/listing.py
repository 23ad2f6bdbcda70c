"""How a source lists its provider: which span of time is next, and when pages go in circles.

Pure. A listing works through spans of at most a day, oldest first, so that one that is killed goes
on where it was. `store.sources.listings` keeps the progress; `activities.sources` asks for pages.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

from domain.sources.source import LISTING_HORIZON, LISTING_OVERLAP, Gap, Source, SourceProblem

LONGEST_SPAN = timedelta(days=1)
# Of one span: ten million events a day.
MAXIMUM_PAGES = 100_000
# A span under way moves out of the horizon while it is listed.
_HORIZON_MARGIN = timedelta(hours=1)
# A source whose interval is short is not listed for at least so long before that is a problem.
STOPPED_AFTER = timedelta(hours=1)
# Events dated later than this after now are of the future.
CLOCK_TOLERANCE = timedelta(minutes=5)


class Complaint(StrEnum):
    """A flaw of the provider's list that does not stop a listing. The names live in histories."""

    UNREADABLE_EVENTS = "unreadable_events"
    FUTURE_EVENTS = "future_events"
    OTHER_TIMES = "other_times"
    HIDDEN_PAGES = "hidden_pages"
    PROMISED_PAGES = "promised_pages"

    @property
    def problem(self) -> SourceProblem:
        is_promise = self is Complaint.PROMISED_PAGES
        return SourceProblem.ENDLESS_PAGES if is_promise else SourceProblem.BAD_ANSWER

    @property
    def detail(self) -> str:
        return _DETAILS[self]


_DETAILS = {
    Complaint.UNREADABLE_EVENTS: "Some events in the provider's list cannot be read.",
    Complaint.FUTURE_EVENTS: (
        "The provider lists events that are dated in the future. Compare this machine's"
        " clock: makegood doctor says how far it is off. They are stored when their time has come."
    ),
    Complaint.OTHER_TIMES: "The provider lists events of other times than it was asked for.",
    Complaint.HIDDEN_PAGES: "The provider says that a page is the last one, and has more.",
    Complaint.PROMISED_PAGES: "The provider says that there are more events, and gives none.",
}


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


def stopped_since(source: Source, page_at: datetime | None, now: datetime) -> datetime | None:
    """Since when no listing of the source makes progress; None if one does, or is not due yet.

    `page_at` is when a page was last stored: a long listing that stores pages has not stopped.
    """
    if source.every_minutes is None:
        return None
    known = (source.created_at, source.resumed_at, source.last_listed_at, page_at)
    last = max(at for at in known if at is not None)
    longest = max(3 * timedelta(minutes=source.every_minutes), STOPPED_AFTER)
    return last if now - last > longest else None


@dataclass(frozen=True, slots=True)
class CircleMark:
    """What one part of a listing hands to the next one, so that longer circles are found.

    `digest` is that of the cursor that was marked; None: the first page. `steps` is the number of
    cursors since, `limit` that of the next mark. `pages` is how many pages the span then had.
    """

    digest: str | None = None
    steps: int = 0
    limit: int = 1
    pages: int = 0


class CircleDetector:
    """Finds out that the cursors of a span repeat, in constant memory (Brent's algorithm).

    A circle of n cursors that begins after m of them is found at the 2 max(m + 1, n) + n th at the
    latest, counted from the page at which the first part of a run began.
    """

    def __init__(self, span: ListingSpan, mark: CircleMark | None = None) -> None:
        """Go on from the mark of the part before, if it ended where the span now is."""
        if mark is None or mark.pages != span.pages:
            mark = CircleMark(_digest(span.cursor))
        self._digest, self._steps, self._limit = mark.digest, mark.steps, mark.limit

    def is_circle(self, cursor: str) -> bool:
        """Whether this cursor, the next one, was there before."""
        digest = _digest(cursor)
        if digest == self._digest:
            return True
        self._steps += 1
        if self._steps == self._limit:
            self._digest, self._steps, self._limit = digest, 0, self._limit * 2
        return False

    def mark_after(self, pages: int) -> CircleMark:
        """What the next part needs. `pages`: of the span, all of them stored."""
        return CircleMark(self._digest, self._steps, self._limit, pages)


def _digest(cursor: str | None) -> str | None:
    """Short, because it lives in histories, and says nothing of the shop."""
    return None if cursor is None else sha256(cursor.encode()).hexdigest()[:32]
