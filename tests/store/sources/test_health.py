"""Problems and silence of sources: one episode, one alert to each destination."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from domain.ids import SourceId
from domain.projects import CreatedProject
from domain.sources.changes import SourceChanges
from domain.sources.source import Source, SourceKind, SourceProblem
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.projects.projects import set_suspended
from store.schema.tables import ALERTS, SOURCE_IS_UNWELL
from store.sources.health import (
    Episode,
    alert_episode,
    clear_problem,
    record_problem,
    record_silence,
    silent_sources,
    unalerted_sources,
)
from store.sources.schedules import (
    mark_scheduled,
    schedule_again,
    sources_to_schedule,
    sources_without_schedule,
)
from store.sources.sightings import record_received
from store.sources.sources import change_source, read_source, remove_source, request_check
from tests.support.given import START
from tests.support.sources import stored_source

MINUTE = timedelta(minutes=1)
# Sources of the tests were added an hour before START.
SILENT_AT = START + timedelta(minutes=30)


@pytest.fixture
async def source(database: Database, sealer: Sealer, project: CreatedProject) -> Source:
    return await stored_source(
        database, sealer, project.project.id, SourceKind.STRIPE_API, silent_after_minutes=90
    )


async def problem(
    database: Database, source: Source, kind: SourceProblem, now: datetime, detail: str = "why"
) -> None:
    async with database.transaction() as session:
        await record_problem(session, source.id, kind, detail, now)


async def clear(database: Database, source: Source) -> None:
    async with database.transaction() as session:
        await clear_problem(session, source.id)


async def read(database: Database, source: Source) -> Source:
    async with database.reading() as session:
        return await read_source(session, source.project_id, source.id)


async def find_silent(database: Database, now: datetime) -> Sequence[Source]:
    async with database.reading() as session:
        return (await silent_sources(session, now, after=None, limit=100)).silent


async def alert_all(database: Database, now: datetime) -> int:
    """Alert to all episodes; returns how many had no alert."""
    async with database.reading() as session:
        episodes = await unalerted_sources(session, now, limit=100)
    for episode in episodes:
        async with database.transaction() as session:
            assert await alert_episode(session, episode, now)
    return len(episodes)


async def alerts(database: Database) -> Sequence[Any]:
    columns = (ALERTS.c.incident_id, ALERTS.c.event_id, ALERTS.c.kind, ALERTS.c.replay_id)
    async with database.reading() as session:
        return (await session.execute(select(*columns).order_by(ALERTS.c.id))).all()


async def test_problem_is_a_state_of_the_source_with_one_alert(
    database: Database, source: Source
) -> None:
    await problem(database, source, SourceProblem.KEY_REFUSED, START, "401")
    assert await alert_all(database, START) == 1
    await problem(database, source, SourceProblem.BAD_ANSWER, START + MINUTE, "html")
    assert await alert_all(database, START + MINUTE) == 0

    now = await read(database, source)

    assert (now.state.value, now.problem, now.problem_detail) == ("failing", "bad_answer", "html")
    assert now.problem_since == START
    began = str(int(START.timestamp() * 1_000))
    assert await alerts(database) == [(source.id, source.id, "source_silent", began)]


async def test_problem_that_comes_again_is_another_episode(
    database: Database, source: Source
) -> None:
    for minutes in (0, 5):
        await problem(database, source, SourceProblem.KEY_REFUSED, START + minutes * MINUTE)
        assert await alert_all(database, START + minutes * MINUTE) == 1
        await clear(database, source)

    assert (await read(database, source)).problem is None
    assert len(await alerts(database)) == 2


@pytest.mark.parametrize("kind", [SourceProblem.UNREACHABLE, SourceProblem.THROTTLED])
async def test_problem_that_passes_has_an_alert_after_a_quarter_of_an_hour(
    database: Database, source: Source, kind: SourceProblem
) -> None:
    found = []
    for minutes in (0, 5, 10, 14, 15, 20):
        await problem(database, source, kind, START + minutes * MINUTE)
        found.append(await alert_all(database, START + minutes * MINUTE))

    assert found == [0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("detail", ["a\0b\ud800\n\u202e", "x" * 100_000, ""])
async def test_detail_may_be_any_text(database: Database, source: Source, detail: str) -> None:
    await problem(database, source, SourceProblem.BAD_ANSWER, START, detail)

    stored = (await read(database, source)).problem_detail
    assert stored is not None
    assert len(stored) <= 300
    assert stored.isprintable()


async def test_source_that_receives_nothing_is_silent_once(
    database: Database, source: Source
) -> None:
    assert await find_silent(database, SILENT_AT - MINUTE) == []
    (silent,) = await find_silent(database, SILENT_AT)
    async with database.transaction() as session:
        await record_silence(session, silent, SILENT_AT)

    assert (await read(database, source)).state.value == "silent"
    assert await find_silent(database, SILENT_AT + MINUTE) == []
    assert await alert_all(database, SILENT_AT) == 1
    assert await alert_all(database, SILENT_AT + 60 * MINUTE) == 0


async def test_event_ends_the_silence_and_the_next_one_alerts_again(
    database: Database, source: Source
) -> None:
    received_at = SILENT_AT + MINUTE
    for silent_at in (SILENT_AT, received_at + 90 * MINUTE):
        (silent,) = await find_silent(database, silent_at)
        async with database.transaction() as session:
            await record_silence(session, silent, silent_at)
        assert await alert_all(database, silent_at) == 1
        async with database.transaction() as session:
            await record_received(SessionStatements(session), [source.id], silent_at + MINUTE)

    assert (await read(database, source)).state.value == "healthy"
    assert len(await alerts(database)) == 2


async def test_event_that_comes_meanwhile_is_no_silence(database: Database, source: Source) -> None:
    (silent,) = await find_silent(database, SILENT_AT)
    async with database.transaction() as session:
        await record_received(SessionStatements(session), [source.id], SILENT_AT)
    async with database.transaction() as session:
        await record_silence(session, silent, SILENT_AT)

    assert (await read(database, source)).silent_since is None


async def test_silence_within_a_problem_is_no_second_alert(
    database: Database, source: Source
) -> None:
    await problem(database, source, SourceProblem.KEY_REFUSED, START)
    assert await alert_all(database, START) == 1
    (silent,) = await find_silent(database, SILENT_AT)
    async with database.transaction() as session:
        await record_silence(session, silent, SILENT_AT)

    assert await alert_all(database, SILENT_AT) == 0
    await clear(database, source)
    assert await alert_all(database, SILENT_AT + MINUTE) == 1


@pytest.mark.parametrize("what", ["pause", "suspend", "remove"])
async def test_nobody_is_alerted_about_what_does_not_work(
    database: Database, sealer: Sealer, source: Source, what: str
) -> None:
    await problem(database, source, SourceProblem.KEY_REFUSED, START)
    async with database.transaction() as session:
        match what:
            case "pause":
                await change(session, sealer, source, is_paused=True)
            case "suspend":
                await set_suspended(session, source.project_id, suspended=True, now=START)
            case _:
                await remove_source(session, source.project_id, source.id, START)

    assert await alert_all(database, START) == 0
    assert await find_silent(database, SILENT_AT) == []


async def test_silence_counts_from_the_end_of_a_pause(
    database: Database, sealer: Sealer, source: Source
) -> None:
    async with database.transaction() as session:
        await change(session, sealer, source, is_paused=True)
    async with database.transaction() as session:
        await change(session, sealer, source, now=SILENT_AT, is_paused=False)

    assert await find_silent(database, SILENT_AT + 89 * MINUTE) == []
    assert len(await find_silent(database, SILENT_AT + 90 * MINUTE)) == 1


async def test_silence_counts_from_the_end_of_a_suspension(
    database: Database, source: Source
) -> None:
    for suspended, now in ((True, START), (False, SILENT_AT), (False, SILENT_AT + 89 * MINUTE)):
        async with database.transaction() as session:
            await set_suspended(session, source.project_id, suspended=suspended, now=now)

    assert await find_silent(database, SILENT_AT + 89 * MINUTE) == []
    assert len(await find_silent(database, SILENT_AT + 90 * MINUTE)) == 1


async def test_silent_sources_are_looked_at_in_parts(
    database: Database, sealer: Sealer, source: Source
) -> None:
    for _ in range(4):
        await stored_source(database, sealer, source.project_id, silent_after_minutes=1)
    found: list[SourceId] = []
    after: SourceId | None = None
    for _ in range(3):
        async with database.reading() as session:
            batch = await silent_sources(session, SILENT_AT, after=after, limit=2)
        found += [silent.id for silent in batch.silent]
        after = batch.last

    assert after is None
    assert len(found) == len(set(found)) == 5


async def test_episode_that_is_over_has_no_alert(database: Database, source: Source) -> None:
    await problem(database, source, SourceProblem.KEY_REFUSED, START)
    episode = Episode(source.id, source.project_id, START)
    await clear(database, source)

    async with database.transaction() as session:
        assert not await alert_episode(session, episode, START)

    assert await alerts(database) == []


async def test_changes_are_scheduled_once_and_checks_are_not_lost(
    database: Database, sealer: Sealer, source: Source
) -> None:
    (first,) = await to_schedule(database)
    assert (first.id, first.version, first.every_minutes) == (source.id, 1, 5)
    async with database.transaction() as session:
        await request_check(session, source.project_id, source.id, START)
    async with database.transaction() as session:
        await mark_scheduled(session, first)

    (second,) = await to_schedule(database)
    assert (second.version, second.check_requested_at) == (2, START)
    async with database.transaction() as session:
        await mark_scheduled(session, second)
    assert await to_schedule(database) == []


async def test_all_sources_are_scheduled_again_in_parts_without_webhooks(
    database: Database, sealer: Sealer, source: Source
) -> None:
    for _ in range(2):
        await stored_source(database, sealer, source.project_id, SourceKind.STRIPE_API)
    await stored_source(database, sealer, source.project_id)
    for found in await to_schedule(database):
        async with database.transaction() as session:
            await mark_scheduled(session, found)
    assert await to_schedule(database) == []

    after, parts = None, 0
    while parts == 0 or after is not None:
        async with database.transaction() as session:
            after = await schedule_again(session, after=after, limit=2)
        parts += 1

    assert parts == 3
    assert len(await to_schedule(database)) == 3


async def test_removed_and_unknown_sources_need_no_schedule(
    database: Database, sealer: Sealer, source: Source
) -> None:
    other = await stored_source(database, sealer, source.project_id, SourceKind.STRIPE_API)
    async with database.transaction() as session:
        await remove_source(session, source.project_id, source.id, START)
    found = {row.id: row for row in await to_schedule(database)}
    assert found[source.id].is_removed
    async with database.transaction() as session:
        await mark_scheduled(session, found[source.id])

    async with database.reading() as session:
        gone = await sources_without_schedule(session, [source.id, other.id, "src_unknown"])

    assert gone == {source.id, "src_unknown"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_loops_read_indexes_only(database: Database, source: Source) -> None:
    plans = {}
    for name, condition in {
        "sources_unwell": f"({SOURCE_IS_UNWELL}) AND alerted_at IS NULL",
        "sources_to_schedule": "scheduled_version < version AND id > ''",
    }.items():
        query = f"EXPLAIN QUERY PLAN SELECT id FROM sources WHERE {condition} ORDER BY id"
        async with database.reading() as session:
            plans[name] = " ".join(row[3] for row in await session.execute(text(query)))

    assert [name for name, plan in plans.items() if f"INDEX {name}" not in plan] == []


async def to_schedule(database: Database) -> list[Any]:
    async with database.reading() as session:
        return list(await sources_to_schedule(session, after=None, limit=100))


async def change(
    session: Any, sealer: Sealer, source: Source, *, now: datetime = START, **changes: Any
) -> None:
    await change_source(
        session,
        sealer,
        project_id=source.project_id,
        source_id=source.id,
        changes=SourceChanges(**changes),
        now=now,
    )
