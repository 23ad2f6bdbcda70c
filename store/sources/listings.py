"""The progress of listings: the span under way, the page to go on from, and what was missed.

The last events of a page are stored with its cursor, in one transaction. A run that is killed goes
on after its last stored page, and knows what it stored of the next one. Of two runs of one source,
the one that stores first goes on and the other ends; so does a run whose source was changed
meanwhile. `domain.sources.listing` decides the spans.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import SourceId
from domain.sources.events import Sighting
from domain.sources.listing import ListingSpan, find_gap, next_span
from domain.sources.source import Gap, Source
from domain.values.timestamps import to_unix_ms
from store.db.sql import SessionStatements, Statements
from store.projects.data_keys import NOT_DELETED
from store.schema.mappers import source_from
from store.schema.tables import PROJECTS, SOURCE_GAPS, SOURCES
from store.sources.health import insert_source_alerts
from store.sources.sightings import Recorded, record_sightings
from store.sources.sources import IS_SOURCE

_OF_RUN = """WHERE id = $1 AND version = $2 AND listing_from = $3 AND listing_until = $4
  AND COALESCE(listing_cursor, '') = $5 AND deleted_at IS NULL"""
_SAME_RUN = f"{_OF_RUN} RETURNING id"
_IS_SAME_RUN = f"SELECT 1 FROM sources {_OF_RUN}"  # noqa: S608 - constants only
_STORE_CURSOR = (
    f"UPDATE sources SET listing_cursor = $6, listing_pages = $7, page_at = $8 {_SAME_RUN}"  # noqa: S608 - constants only
)
_END = f"""
UPDATE sources SET listed_until = $4, last_listed_at = $6, listing_from = NULL,
  listing_until = NULL, listing_cursor = NULL, listing_pages = NULL {_SAME_RUN}"""  # noqa: S608 - constants only
_ABANDON = f"""
UPDATE sources SET listing_from = NULL, listing_until = NULL, listing_cursor = NULL,
  listing_pages = NULL {_SAME_RUN}"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class Listing:
    """A run of a source's listing: the source as it was read, its version, and the span."""

    source: Source
    version: int
    span: ListingSpan


@dataclass(frozen=True, slots=True)
class PageStored:
    """A page is stored. `listing` goes on after it."""

    listing: Listing
    recorded: Recorded


async def begin_listing(
    session: AsyncSession, source_id: SourceId, now: datetime
) -> Listing | None:
    """The span under way, or the next one. A gap before it is recorded, with its alerts.

    None: nothing is to be listed. There is no such source, it was removed or paused, it is no
    API's, or its project is suspended or deleted.
    """
    row = await _lock_listable(session, source_id)
    if row is None:
        return None
    source = source_from(row)
    if row.listing_from is not None and row.listing_until is not None:
        span = ListingSpan(
            row.listing_from, row.listing_until, row.listing_cursor, row.listing_pages or 0
        )
        if span.is_listable(now):
            return Listing(source, row.version, span)
    if (gap := find_gap(source, now)) is not None:
        await record_gap(session, source, gap)
        source = replace(source, listed_until=gap.until_at)
    span = next_span(source, now)
    values = {
        "listed_until": source.listed_until,
        "listing_from": span.from_at,
        "listing_until": span.until_at,
        "listing_cursor": None,
        "listing_pages": None,
    }
    await session.execute(update(SOURCES).where(SOURCES.c.id == source.id).values(values))
    return Listing(source, row.version, span)


async def record_some(
    st: Statements, listing: Listing, sightings: Sequence[Sighting], now: datetime
) -> Recorded | None:
    """Record some events of a page, before the last of them are recorded with its cursor.

    None as `record_page`.
    """
    if not await st.fetch(_IS_SAME_RUN, *_same_run(listing)):
        return None
    return await record_sightings(st, listing.source, sightings, now)


async def record_page(
    st: Statements, listing: Listing, sightings: Sequence[Sighting], cursor: str, now: datetime
) -> PageStored | None:
    """Record the last events that a page shows, and where the next one begins.

    None: another run has stored this page, or the source was changed: nothing is recorded.
    """
    pages = listing.span.pages + 1
    if not await st.fetch(_STORE_CURSOR, *_same_run(listing), cursor, pages, to_unix_ms(now)):
        return None
    recorded = await record_sightings(st, listing.source, sightings, now)
    span = replace(listing.span, cursor=cursor, pages=pages)
    return PageStored(replace(listing, span=span), recorded)


async def record_last_page(
    st: Statements, listing: Listing, sightings: Sequence[Sighting], now: datetime
) -> Recorded | None:
    """Record the last events of the last page of the span, and that the span is listed.

    None as `record_page`.
    """
    if not await end_listing(st, listing, now):
        return None
    return await record_sightings(st, listing.source, sightings, now)


async def end_listing(st: Statements, listing: Listing, now: datetime) -> bool:
    """Record that all of the span is stored. False as `record_page`."""
    return bool(await st.fetch(_END, *_same_run(listing), to_unix_ms(now)))


async def abandon_listing(st: Statements, listing: Listing) -> None:
    """Forget the span under way. The next run begins it again, at its first page."""
    await st.fetch(_ABANDON, *_same_run(listing))


async def record_gap(session: AsyncSession, source: Source, gap: Gap) -> None:
    """Record a span whose events the provider does not list any more, with its alerts."""
    of = {"source_id": source.id, "project_id": source.project_id}
    instants = {"from_at": gap.from_at, "until_at": gap.until_at, "found_at": gap.found_at}
    await session.execute(insert(SOURCE_GAPS).values(of | instants))
    st = SessionStatements(session)
    await insert_source_alerts(st, source.project_id, source.id, gap.found_at, gap.found_at)


async def _lock_listable(session: AsyncSession, source_id: SourceId) -> Row[Any] | None:
    listable = (
        select(SOURCES)
        .join(PROJECTS, PROJECTS.c.id == SOURCES.c.project_id)
        .where(SOURCES.c.id == source_id, *IS_SOURCE, SOURCES.c.every_minutes.is_not(None))
        .where(SOURCES.c.paused_at.is_(None), NOT_DELETED, PROJECTS.c.suspended_at.is_(None))
        .with_for_update(of=SOURCES)
    )
    return (await session.execute(listable)).first()


def _same_run(listing: Listing) -> tuple[str, int, int, int, str]:
    span = listing.span
    return (
        listing.source.id,
        listing.version,
        to_unix_ms(span.from_at),
        to_unix_ms(span.until_at),
        span.cursor or "",
    )
