"""One part of a listing: pages, one after the other, each stored before the next is asked for.

Memory holds one page. It is stored in a few short transactions, because receipts wait while one of
them has SQLite's write lock. A part ends after a minute, so that a source never holds a slot for
long; the next part goes on after its last page. Running it twice stores nothing twice. Called by
`activities.sources.listing`.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from activities.messages import ListingPart, ListSource
from activities.sources.page import ListingStopped, Page
from activities.sources.provider_client import CursorUnknown, ProviderClient
from activities.sources.shopify_pages import read_shopify_page
from activities.sources.stripe_pages import read_stripe_page
from domain.sources.events import Sighting, sightings_of
from domain.sources.listing import MAXIMUM_PAGES, CircleDetector, Complaint, is_due_again
from domain.sources.source import SourceKind, SourceProblem
from domain.values.enums import member_or_text
from store.db.database import Database
from store.db.sql import SessionStatements
from store.sources.health import clear_problem, record_problem
from store.sources.listings import (
    Listing,
    abandon_listing,
    record_last_page,
    record_page,
    record_some,
)

CIRCLE = "The provider's pages repeat, or do not end."
NEXT_UNREADABLE = "The provider's link to the next page cannot be read."
CURSOR_REFUSED = "The provider refuses the cursor of its own page."

# Of one transaction, so that its write lock is short: docs/measurements.md compares sizes.
EVENTS_AT_ONCE = 25

log = structlog.get_logger(__name__)


class PartRun:
    """A part that is being listed. `now` is when it began, by the store's clock.

    `pause_seconds` are between two transactions of one page.
    """

    def __init__(
        self,
        database: Database,
        client: ProviderClient,
        *,
        listing: Listing,
        secret: str,
        order: ListSource,
        now: datetime,
        pause_seconds: float,
    ) -> None:
        self._database = database
        self._client = client
        self._listing = listing
        self._secret = secret
        self._now = now
        self._pause_seconds = pause_seconds
        self._complaint: str | None = order.complaint
        self._circle = CircleDetector(listing.span, order.circle)
        self._said_last = False
        self._last_ids: frozenset[str] = frozenset()
        self._pages = self._new = 0

    async def run(self, *, seconds: float) -> ListingPart:
        """List pages for so long, one at least, or until the span or the provider ends it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        part: ListingPart | None = None
        while part is None:
            try:
                part = await self._list_page()
            except CursorUnknown:
                return await self._begin_again()
            except ListingStopped as stopped:
                await self._fail(stopped.problem, stopped.detail)
                wait = stopped.wait_seconds
                return self._go_on(wait) if wait > 0 else self._part(has_more=False)
            if part is None and loop.time() >= until:
                return self._go_on()
        return part

    async def _list_page(self) -> ListingPart | None:
        """List the next page and store it. The result ends the part; None: it goes on."""
        page = await self._read_page()
        self._complain(page.complaints)
        is_stuck = page.cursor is not None and page.cursor == self._listing.span.cursor
        # Pages in any order may repeat events of the page before.
        if self._said_last and any(event.id not in self._last_ids for event in page.events):
            self._complain([Complaint.HIDDEN_PAGES])
        self._said_last = not page.says_more
        self._last_ids = frozenset(event.id for event in page.events)
        if page.is_next_unreadable:
            overtaken = await self._store(page, "")
            return overtaken or await self._give_up(SourceProblem.BAD_ANSWER, NEXT_UNREADABLE)
        if page.cursor is None or page.is_beyond or (is_stuck and not page.says_more):
            if page.cursor is None and page.says_more:
                self._complain([Complaint.PROMISED_PAGES])
            return await self._end_span(page)
        is_endless = self._listing.span.pages >= MAXIMUM_PAGES
        if self._circle.is_circle(page.cursor) or is_endless:
            overtaken = await self._store(page, page.cursor)
            return overtaken or await self._give_up(SourceProblem.ENDLESS_PAGES, CIRCLE)
        return await self._store(page, page.cursor)

    async def _read_page(self) -> Page:
        answer = await self._client.page(self._listing, self._secret)
        source, span = self._listing.source, self._listing.span
        if source.kind is SourceKind.STRIPE_API:
            return read_stripe_page(answer.json, source, span, self._now)
        return read_shopify_page(answer.json, answer.link, source, self._now)

    async def _store(self, page: Page, cursor: str) -> ListingPart | None:
        """Store the page with its cursor. A run that another one overtook ends here."""
        sightings = await self._store_most(page)
        if sightings is None:
            return self._part(has_more=True)
        async with self._database.transaction() as session:
            self._now = await self._database.now(session)
            st = SessionStatements(session)
            stored = await record_page(st, self._listing, sightings, cursor, self._now)
        if stored is None:
            return self._part(has_more=True)
        self._listing = stored.listing
        self._pages += 1
        self._new += stored.recorded.new
        return None

    async def _store_most(self, page: Page) -> Sequence[Sighting] | None:
        """Store all events of the page but the last few, which it returns.

        None: another run overtook this one.
        """
        left: Sequence[Sighting] = sightings_of(self._listing.source, page.events)
        while len(left) > EVENTS_AT_ONCE:
            some, left = left[:EVENTS_AT_ONCE], left[EVENTS_AT_ONCE:]
            async with self._database.transaction() as session:
                self._now = await self._database.now(session)
                st = SessionStatements(session)
                recorded = await record_some(st, self._listing, some, self._now)
            if recorded is None:
                return None
            self._new += recorded.new
            await asyncio.sleep(self._pause_seconds)
        return left

    async def _end_span(self, page: Page) -> ListingPart:
        """Store the last page, and that the span is listed: the source works, or has a flaw."""
        sightings = await self._store_most(page)
        if sightings is None:
            return self._part(has_more=True)
        listing = self._listing
        async with self._database.transaction() as session:
            self._now = await self._database.now(session)
            st = SessionStatements(session)
            recorded = await record_last_page(st, listing, sightings, self._now)
            if recorded is not None:
                await self._record_health(session)
        if recorded is None:
            return self._part(has_more=True)
        self._pages += 1
        self._new += recorded.new
        return self._part(has_more=is_due_again(listing.source, listing.span, self._now))

    async def _record_health(self, session: AsyncSession) -> None:
        source_id = self._listing.source.id
        match member_or_text(Complaint, self._complaint) if self._complaint else None:
            case None:
                await clear_problem(session, source_id)
            case Complaint() as complaint:
                problem, detail = complaint.problem, complaint.detail
                await record_problem(session, source_id, problem, detail, self._now)
            case _:
                pass  # of a newer version, which has recorded it

    async def _begin_again(self) -> ListingPart:
        """Begin the span again, because the provider refuses its cursor.

        A stored cursor can have expired. One that was just given cannot, and would be refused for
        ever.
        """
        if self._pages:
            return await self._give_up(SourceProblem.BAD_ANSWER, CURSOR_REFUSED)
        async with self._database.transaction() as session:
            await abandon_listing(SessionStatements(session), self._listing)
        return self._part(has_more=True)

    async def _give_up(self, problem: SourceProblem, detail: str) -> ListingPart:
        """End the run. The next one begins the span again: what is stored is known then."""
        async with self._database.transaction() as session:
            await abandon_listing(SessionStatements(session), self._listing)
        await self._fail(problem, detail)
        return self._part(has_more=False)

    async def _fail(self, problem: SourceProblem, detail: str) -> None:
        source_id = self._listing.source.id
        log.warning("listing_stopped", source_id=source_id, problem=problem.value)
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            await record_problem(session, source_id, problem, detail, now)

    def _complain(self, complaints: Collection[Complaint]) -> None:
        """Keep the first flaw that was found."""
        for complaint in sorted(complaints):
            if self._complaint is None:
                self._complaint = complaint.value
                source_id = self._listing.source.id
                log.warning("listing_flawed", source_id=source_id, complaint=complaint.value)

    def _go_on(self, wait_seconds: int = 0) -> ListingPart:
        """The next part goes on with the span at its next page."""
        mark = self._circle.mark_after(self._listing.span.pages)
        return replace(self._part(has_more=True), wait_seconds=wait_seconds, circle=mark)

    def _part(self, *, has_more: bool) -> ListingPart:
        return ListingPart(has_more, complaint=self._complaint, pages=self._pages, new=self._new)
