"""What sources saw is erased after 40 days, and with its source or project; secrets at once."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from domain.ids import ProjectId
from domain.projects import CreatedProject
from domain.sources.source import Source, SourceKind
from store.crypto.encryption import Sealer
from store.crypto.root_secret import rotate
from store.db.database import Database
from store.maintenance.retention import Purged, purge
from store.projects import deletion
from store.projects.projects import create_project
from store.schema.tables import PROJECTS, RECEIPTS, SOURCE_EVENTS, SOURCE_GAPS, SOURCES
from store.sources.sources import list_sources, read_secret, remove_source
from tests.conftest import SECRET_KEY
from tests.support.given import START
from tests.support.sources import SECRET, stored_source, watched
from worker.loops.retention import erase_all, erasure_backoffs

OF_SOURCES = (SOURCES, SOURCE_EVENTS, SOURCE_GAPS)


async def purged(database: Database, now: datetime, *, limit: int = 1_000) -> Purged:
    async with database.transaction() as session:
        return await purge(session, now, limit=limit)


async def left(database: Database) -> list[int]:
    """How many sources, events and gaps there are."""
    async with database.reading() as session:
        return [
            await session.scalar(select(func.count()).select_from(table)) or 0
            for table in OF_SOURCES
        ]


async def remove(database: Database, source: Source) -> None:
    async with database.transaction() as session:
        await remove_source(session, source.project_id, source.id, START)


async def deleted(database: Database, project_id: ProjectId) -> None:
    async with database.transaction() as session:
        await deletion.delete_project(session, project_id, end_open=True, now=START)


@pytest.mark.parametrize(("days", "expected"), [(39.99, [1, 1, 1]), (40, [1, 0, 0])])
async def test_what_a_source_saw_is_kept_for_40_days(
    database: Database,
    sealer: Sealer,
    project: CreatedProject,
    days: float,
    expected: list[int],
) -> None:
    await watched(database, sealer, project.project.id)

    await purged(database, START + timedelta(days=days))

    assert await left(database) == expected
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(RECEIPTS)) == 1


async def test_removed_source_is_erased_with_what_it_saw_and_no_other(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    project_id = project.project.id
    kept = await watched(database, sealer, project_id)
    await remove(database, await watched(database, sealer, project_id))

    batches = [await purged(database, START, limit=1) for _ in range(2)]

    assert await left(database) == [1, 1, 1]
    assert (batches[0].source_events, batches[0].source_gaps, batches[0].sources) == (1, 1, 1)
    assert batches[1].total == 0
    async with database.reading() as session:
        assert [source.id for source in await list_sources(session, project_id)] == [kept.id]


async def test_removed_listing_is_erased_after_its_schedule(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    source = await stored_source(database, sealer, project.project.id, SourceKind.STRIPE_API)
    await remove(database, source)

    before = await purged(database, START)
    async with database.transaction() as session:
        await session.execute(update(SOURCES).values(scheduled_version=SOURCES.c.version))
    after = await purged(database, START)

    assert (before.sources, after.sources) == (0, 1)


async def test_deleted_project_loses_the_secrets_of_its_sources_at_once(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    project_id = project.project.id
    for kind in SourceKind:
        await stored_source(database, sealer, project_id, kind)
    async with database.transaction() as session:
        other = await create_project(session, sealer, name="other", livemode=False, now=START)
    neighbour = await stored_source(database, sealer, other.project.id)

    await deleted(database, project_id)

    async with database.reading() as session:
        assert await list_sources(session, project_id) == []
        assert await read_secret(session, sealer, neighbour) == SECRET
        rows = await session.execute(select(SOURCES).where(SOURCES.c.project_id == project_id))
        found = {
            row.kind: (row.deleted_at, row.sealed_secret, row.version - row.scheduled_version)
            for row in rows
        }
    assert found == {kind.value: (START, b"", 0 if kind.is_webhook else 2) for kind in SourceKind}


async def test_rows_of_a_deleted_project_are_erased_by_the_loop(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    source = await watched(database, sealer, project.project.id)
    listing = await stored_source(database, sealer, source.project_id, SourceKind.STRIPE_API)
    await deleted(database, source.project_id)

    await erase_all(database, erasure_backoffs())
    before = await left(database)
    async with database.transaction() as session:
        unscheduled = update(SOURCES).where(SOURCES.c.id == listing.id)
        await session.execute(unscheduled.values(scheduled_version=SOURCES.c.version))
    await erase_all(database, erasure_backoffs())

    assert (before, await left(database)) == ([1, 0, 0], [0, 0, 0])


async def test_project_with_a_source_left_is_not_marked_as_erased(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    await stored_source(database, sealer, project.project.id, SourceKind.STRIPE_API)
    await deleted(database, project.project.id)

    async def mark() -> datetime | None:
        async with database.transaction() as session:
            await deletion.mark_erased(session, START + timedelta(hours=1))
            erased_at: datetime | None = await session.scalar(select(PROJECTS.c.erased_at))
            return erased_at

    before = await mark()
    async with database.transaction() as session:
        await session.execute(update(SOURCES).values(scheduled_version=SOURCES.c.version))
    await purged(database, START)

    assert before is None
    assert await mark() == START + timedelta(hours=1)


async def test_replaced_root_secret_rewraps_data_keys_alone(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    source = await stored_source(database, sealer, project.project.id)
    both = Sealer("the next root secret, long enough", SECRET_KEY)

    async def sealed() -> bytes:
        async with database.reading() as session:
            found: bytes = (await session.execute(select(SOURCES.c.sealed_secret))).scalar_one()
            return found

    before = await sealed()
    async with database.transaction() as session:
        await rotate(session, both, START)

    assert await sealed() == before
    async with database.reading() as session:
        alone = Sealer("the next root secret, long enough")
        assert await read_secret(session, alone, source) == SECRET
