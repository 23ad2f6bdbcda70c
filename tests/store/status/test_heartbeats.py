"""Heartbeats and facts."""

from datetime import UTC, datetime, timedelta

from domain.outage import IngestBeats
from store.db.database import Database
from store.status import heartbeats
from store.status.heartbeats import INGEST

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


async def beat(
    database: Database, process: str, at: datetime, *, role: str = "worker", **report: object
) -> None:
    async with database.transaction() as session:
        await heartbeats.beat(
            session,
            process=process,
            role=role,
            started_at=NOW - timedelta(days=1),
            now=at,
            report=report,
        )


async def test_last_heartbeat_of_each_process_is_read(database: Database) -> None:
    await beat(database, "one", NOW, reachable=False)
    await beat(database, "one", NOW + timedelta(seconds=2), reachable=True)
    await beat(database, "two", NOW + timedelta(seconds=1), role="api")

    async with database.reading() as session:
        beats = await heartbeats.read_beats(session, NOW + timedelta(seconds=3))

    assert [(found.process, found.role, found.age_seconds) for found in beats] == [
        ("one", "worker", 1),
        ("two", "api", 2),
    ]
    assert beats[0].report == {"reachable": True}
    assert beats[0].started_at == NOW - timedelta(days=1)


async def test_heartbeat_from_before_the_stores_clock_was_set_back_is_not_fresh(
    database: Database,
) -> None:
    await beat(database, "dead", NOW + timedelta(hours=1))

    async with database.reading() as session:
        (found,) = await heartbeats.read_beats(session, NOW)

    assert found.age_seconds == 3600


async def test_latest_ingest_heartbeat_is_kept_however_old(database: Database) -> None:
    async with database.reading() as session:
        none_yet = await heartbeats.latest_ingest_beat(session)
    await beat(database, "api 1", NOW, role=INGEST)
    await beat(database, "api 2", NOW + timedelta(seconds=1), role=INGEST)
    await beat(database, "worker", NOW + timedelta(days=2))

    async with database.transaction() as session:
        forgotten = await heartbeats.forget_stale(session, NOW + timedelta(days=2))
        latest = await heartbeats.latest_ingest_beat(session)
        beats = await heartbeats.read_beats(session, NOW + timedelta(days=2))

    assert none_yet is None
    assert (latest, forgotten) == (NOW + timedelta(seconds=1), 1)
    assert [found.process for found in beats] == ["worker", "api 2"]


async def test_ingest_is_alive_while_a_process_that_has_not_stopped_writes_heartbeats(
    database: Database,
) -> None:
    async def ingest_beats() -> IngestBeats | None:
        async with database.reading() as session:
            return await heartbeats.read_ingest_beats(session)

    none_yet = await ingest_beats()
    await beat(database, "worker", NOW + timedelta(days=2))
    await beat(database, "api 3", NOW + timedelta(days=2), role="api")
    await beat(database, "api 1", NOW, role=INGEST)
    await beat(database, "api 2", NOW + timedelta(seconds=1), role=INGEST, ended=True)
    one_ended = await ingest_beats()
    await beat(database, "api 1", NOW + timedelta(seconds=2), role=INGEST, ended=True)

    assert none_yet is None
    assert one_ended == IngestBeats(last_at=NOW + timedelta(seconds=1), alive_at=NOW)
    assert await ingest_beats() == IngestBeats(last_at=NOW + timedelta(seconds=2), alive_at=None)


async def test_process_silent_for_less_than_ten_minutes_is_not_deleted(database: Database) -> None:
    await beat(database, "worker", NOW)

    async with database.transaction() as session:
        assert await heartbeats.forget_stale(session, NOW + timedelta(minutes=10)) == 0
        assert (
            await heartbeats.forget_stale(session, NOW + timedelta(minutes=10, milliseconds=1)) == 1
        )


async def test_heartbeat_from_the_future_is_deleted(database: Database) -> None:
    for process, minutes in (("past", -60), ("worker", 0), ("ahead", 1), ("future", 180)):
        await beat(
            database,
            process,
            NOW + timedelta(minutes=minutes),
            role=INGEST if process != "worker" else "worker",
        )

    async with database.transaction() as session:
        assert await heartbeats.forget_stale(session, NOW) == 2
        left = {found.process for found in await heartbeats.read_beats(session, NOW)}

    assert left == {"worker", "ahead"}


async def test_heartbeat_from_the_future_deletes_no_valid_one(database: Database) -> None:
    for process, minutes in (("true", -60), ("future", 180)):
        await beat(database, process, NOW + timedelta(minutes=minutes), role=INGEST)

    async with database.transaction() as session:
        assert await heartbeats.forget_stale(session, NOW) == 1
        assert await heartbeats.latest_ingest_beat(session) == NOW - timedelta(minutes=60)


async def test_fact_is_stored_and_replaced(database: Database) -> None:
    async with database.transaction() as session:
        before = await heartbeats.read_fact(session, "namespace")
        await heartbeats.write_fact(session, "namespace", "one")
        await heartbeats.write_fact(session, "namespace", "two")
        after = await heartbeats.read_fact(session, "namespace")

    assert (before, after) == (None, "two")
