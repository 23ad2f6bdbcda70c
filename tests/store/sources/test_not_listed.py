"""A listing that stopped is a problem of its source, and its Schedule is made again."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from domain.ids import SourceId
from domain.projects import CreatedProject
from domain.sources.source import Source, SourceKind
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.projects.projects import set_suspended
from store.schema.tables import SOURCES
from store.sources.health import (
    clear_problem,
    record_not_listed,
    silent_sources,
    unalerted_sources,
)
from store.sources.listings import begin_listing, record_last_page, record_page
from store.sources.schedules import mark_scheduled, schedule_stopped, sources_to_schedule
from store.sources.sources import read_source
from tests.support.given import START
from tests.support.sources import stored_source

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def source(database: Database, sealer: Sealer, project: CreatedProject) -> Source:
    """It was added an hour before START, and has its Schedule."""
    source = await stored_source(database, sealer, project.project.id, SourceKind.STRIPE_API)
    await schedule(database)
    return source


async def schedule(database: Database) -> None:
    async with database.transaction() as session:
        for found in await sources_to_schedule(session, after=None, limit=100):
            await mark_scheduled(session, found)


async def to_schedule(database: Database) -> list[SourceId]:
    async with database.reading() as session:
        return [found.id for found in await sources_to_schedule(session, after=None, limit=100)]


async def find(database: Database, now: datetime) -> list[SourceId]:
    async with database.reading() as session:
        page = await silent_sources(session, now, after=None, limit=100)
    return [found.source_id for found in page.not_listed]


async def record(database: Database, source: Source, now: datetime) -> Source:
    async with database.transaction() as session:
        await record_not_listed(session, source.id, now)
    async with database.reading() as session:
        return await read_source(session, source.project_id, source.id)


async def test_source_that_is_not_listed_fails_and_is_scheduled_again(
    database: Database, source: Source
) -> None:
    now = START + MINUTE
    assert await find(database, START) == []
    assert await find(database, now) == [source.id]

    read = await record(database, source, now)

    assert (read.state, read.problem, read.problem_since) == ("failing", "not_listed", now)
    assert await to_schedule(database) == [source.id]
    assert await find(database, now) == []
    async with database.reading() as session:
        for minutes, episodes in ((14, 0), (15, 1)):
            at = now + minutes * MINUTE
            assert len(await unalerted_sources(session, at, limit=10)) == episodes
    async with database.transaction() as session:
        await clear_problem(session, source.id)
        assert await unalerted_sources(session, now + 20 * MINUTE, limit=10) == []


async def test_listing_that_stores_pages_has_not_stopped(
    database: Database, source: Source
) -> None:
    now = START + MINUTE
    async with database.transaction() as session:
        listing = await begin_listing(session, source.id, now)
        assert listing is not None
        assert await find(database, now) == [source.id]
        stored = await record_page(SessionStatements(session), listing, [], "cursor", now)
    assert stored is not None

    assert await find(database, now + 60 * MINUTE) == []
    assert (await record(database, source, now + 60 * MINUTE)).problem is None
    assert await find(database, now + 61 * MINUTE) == [source.id]
    async with database.transaction() as session:
        st = SessionStatements(session)
        assert await record_last_page(st, stored.listing, [], now + 61 * MINUTE)
    assert (await record(database, source, now + 62 * MINUTE)).problem is None
    assert await find(database, now + 62 * MINUTE) == []


@pytest.mark.parametrize("what", ["pause", "suspend", "problem", "webhook"])
async def test_what_need_not_be_listed_has_not_stopped(
    database: Database, source: Source, what: str
) -> None:
    values = {
        "pause": {"paused_at": START},
        "problem": {"problem": "key_refused"},
        "webhook": {"every_minutes": None},
    }
    async with database.transaction() as session:
        if what == "suspend":
            await set_suspended(session, source.project_id, suspended=True, now=START)
        else:
            await session.execute(update(SOURCES).values(values[what]))

    assert await find(database, START + 500 * MINUTE) == []
    read = await record(database, source, START + 500 * MINUTE)
    assert read.problem == ("key_refused" if what == "problem" else None)


async def test_resumed_project_has_time_to_list(database: Database, source: Source) -> None:
    resumed_at = START + 500 * MINUTE
    for suspended, now in ((True, START), (False, resumed_at)):
        async with database.transaction() as session:
            await set_suspended(session, source.project_id, suspended=suspended, now=now)

    assert await find(database, resumed_at + 60 * MINUTE) == []
    assert await find(database, resumed_at + 61 * MINUTE) == [source.id]


async def test_source_without_a_running_schedule_is_scheduled_again_in_parts(
    database: Database, sealer: Sealer, source: Source
) -> None:
    kind = SourceKind.STRIPE_API
    several = [await stored_source(database, sealer, source.project_id, kind) for _ in range(4)]
    running, paused, removed, stopped = several
    await stored_source(database, sealer, source.project_id, SourceKind.STRIPE_WEBHOOK)
    await schedule(database)
    async with database.transaction() as session:
        for one, values in ((paused, {"paused_at": START}), (removed, {"deleted_at": START})):
            await session.execute(update(SOURCES).where(SOURCES.c.id == one.id).values(values))

    after, parts = None, 0
    while parts == 0 or after is not None:
        async with database.transaction() as session:
            after = await schedule_stopped(session, {running.id}, since=START, after=after, limit=2)
        parts += 1

    assert parts == 2
    assert sorted(await to_schedule(database)) == sorted([source.id, stopped.id])


async def test_source_that_was_added_after_the_list_is_left(
    database: Database, source: Source
) -> None:
    async with database.transaction() as session:
        await schedule_stopped(session, set(), since=source.created_at, after=None, limit=10)

    assert await to_schedule(database) == []
