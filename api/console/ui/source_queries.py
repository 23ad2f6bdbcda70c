"""Queries of the pages of sources. Read-only."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from domain.errors import RateLimited, Unavailable, ValidationFailed
from domain.sources.source import Source
from operations.sources.sources import SourceOperations
from store.db.database import Database
from store.sources.gap_counts import count_gaps
from store.sources.report import DayReport, SourceReport, UncountedDay


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source, and its number of gaps."""

    source: Source
    gaps: int


@dataclass(frozen=True, slots=True)
class ShownReport:
    """The last days, oldest first, and the day that was chosen, if any.

    `days` is empty if none could be counted. `is_slow`: counting the chosen day took too long.
    """

    days: Sequence[DayReport | UncountedDay]
    chosen: SourceReport | None
    is_slow: bool


async def source_rows(
    operations: SourceOperations, database: Database, project_id: str
) -> list[SourceRow]:
    """The project's sources, oldest first. Raises: NotFound."""
    sources = await operations.list_sources(project_id)
    async with database.reading(project_id) as session:
        gaps = await count_gaps(session, [source.id for source in sources])
    return [SourceRow(source, gaps.get(source.id, 0)) for source in sources]


async def shown_report(operations: SourceOperations, source: Source, day: str) -> ShownReport:
    """The report of the last 30 days, and of the chosen day, whichever can be counted.

    A `day` that is none, or that is not kept any more, chooses nothing.
    """
    chosen, is_slow = None, False
    try:
        chosen = await operations.report(source.project_id, source.id, day) if day else None
    except ValidationFailed:
        pass
    except (Unavailable, RateLimited):
        is_slow = True
    days: Sequence[DayReport | UncountedDay] = ()
    with suppress(Unavailable, RateLimited):
        days = await operations.days(source.project_id, source.id)
    is_counted = any(isinstance(one, DayReport) or one.is_too_large for one in days)
    return ShownReport(days if is_counted else (), chosen, is_slow)
