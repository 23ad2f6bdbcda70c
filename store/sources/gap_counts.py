"""How many gaps each source has, for the list of sources."""

from collections.abc import Collection, Mapping

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import SourceId
from store.schema.tables import SOURCE_GAPS


async def count_gaps(
    session: AsyncSession, source_ids: Collection[SourceId]
) -> Mapping[SourceId, int]:
    """The number of gaps of each source that has one. By the index `source_gaps_by_source`."""
    columns = SOURCE_GAPS.c
    counted = (
        select(columns.source_id, func.count())
        .where(columns.source_id.in_(source_ids))
        .group_by(columns.source_id)
    )
    return {SourceId(source_id): count for source_id, count in await session.execute(counted)}
