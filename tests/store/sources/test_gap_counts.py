"""How many gaps each source has."""

from datetime import timedelta

import pytest
from sqlalchemy import insert, text

from domain.projects import CreatedProject
from domain.sources.source import Source, SourceKind
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.schema.tables import SOURCE_GAPS
from store.sources.gap_counts import count_gaps
from tests.support.given import START
from tests.support.sources import stored_source


@pytest.fixture
async def sources(
    database: Database, sealer: Sealer, project: CreatedProject
) -> tuple[Source, Source, Source]:
    first, second, third = [
        await stored_source(database, sealer, project.project.id, SourceKind.STRIPE_API)
        for _ in range(3)
    ]
    return first, second, third


async def give_gaps(database: Database, source: Source, count: int) -> None:
    span = {"from_at": START, "until_at": START + timedelta(hours=1), "found_at": START}
    row = {"source_id": source.id, "project_id": source.project_id, **span}
    async with database.transaction() as session:
        await session.execute(insert(SOURCE_GAPS), [row] * count)


async def test_gaps_of_the_named_sources_are_counted(
    database: Database, sources: tuple[Source, Source, Source]
) -> None:
    first, second, third = sources
    await give_gaps(database, first, 2)
    await give_gaps(database, third, 1)

    async with database.reading() as session:
        counted = await count_gaps(session, [first.id, second.id])
        nothing = await count_gaps(session, [])

    assert counted == {first.id: 2}
    assert nothing == {}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_gaps_are_counted_by_their_index(database: Database) -> None:
    query = (
        "EXPLAIN QUERY PLAN SELECT source_id, count(*) FROM source_gaps"
        " WHERE source_id IN ('a', 'b') GROUP BY source_id"
    )
    async with database.reading() as session:
        plan = " ".join(str(row) for row in await session.execute(text(query)))

    assert "source_gaps_by_source" in plan
