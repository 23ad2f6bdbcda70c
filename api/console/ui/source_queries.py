"""Queries of the pages of sources. Read-only."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from domain.errors import RateLimited, Unavailable, ValidationFailed
from domain.sources.source import Source
from operations.sources.sources import SourceOperations
from store.db.database import Database
from store.sources.gap_counts import count_gaps
from store.sources.report import DayReport, SourceReport


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source, and its number of gaps."""

    source: Source
    gaps: int


@dataclass(frozen=True, slots=True)
class ShownReport:
    """The last days, oldest first, and the day that was chosen, if any."""

    days: Sequence[DayReport]
    chosen: SourceReport | None


async def source_rows(
    operations: SourceOperations, database: Database, project_id: str
) -> list[SourceRow]:
    """The project's sources, oldest first. Raises: NotFound."""
    sources = await operations.list_sources(project_id)
    async with database.reading(project_id) as session:
        gaps = await count_gaps(session, [source.id for source in sources])
    return [SourceRow(source, gaps.get(source.id, 0)) for source in sources]


async def shown_report(
    operations: SourceOperations, source: Source, day: str
) -> ShownReport | None:
    """The report of the last 30 days. None if counting takes too long.

    A `day` that is none, or that is not kept any more, chooses nothing.
    """
    with suppress(Unavailable, RateLimited):
        days = await operations.days(source.project_id, source.id)
        return ShownReport(days, await _chosen(operations, source, day) if day else None)
    return None


async def _chosen(operations: SourceOperations, source: Source, day: str) -> SourceReport | None:
    try:
        return await operations.report(source.project_id, source.id, day)
    except ValidationFailed:
        return None
