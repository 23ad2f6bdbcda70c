"""Heartbeats and facts."""

from datetime import UTC, datetime, timedelta

from domain.outage import IngestHeartbeats
from store.db.database import Database
from store.status import heartbeats
from store.status.heartbeats import INGEST

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


async def write_heartbeat(
    database: Database, process: str, at: datetime, *, role: str = "worker", **report: object
) -> None:
    async with database.transaction() as session:
        await heartbeats.write_heartbeat(
            session,
            process=process,
            role=role,
            started_at=NOW - timedelta(days=1),
            now=at,
            report=report,
        )


async def test_last_heartbeat_of_each_process_is_read(database: Database) -> None:
    await write_heartbeat(database, "one", NOW, reachable=False)
    await write_heartbeat(database, "one", NOW + timedelta(seconds=2), reachable=True)
    await write_heartbeat(database, "two", NOW + timedelta(seconds=1), role="api")

    async with database.reading() as session:
        stored = await heartbeats.read_heartbeats(session, NOW + timedelta(seconds=3))

    assert [(found.process, found.role, found.age_seconds) for found in stored] == [
        ("one", "worker", 1),
        ("two", "api", 2),
    ]
    assert stored[0].report == {"reachable": True}
    assert stored[0].started_at == NOW - timedelta(days=1)


async def test_report_of_an_earlier_version_is_read_under_the_present_names(
    database: Database,
) -> None:
    earlier = {"engine_reachable": True, "strangers": ["a@b"], "pollers_alive": True}
    await write_heartbeat(database, "one", NOW, **earlier)

    async with database.reading() as session:
        (heartbeat,) = await heartbeats.read_heartbeats(session, NOW)

    assert heartbeat.report == {
        "temporal_reachable": True,
        "foreign_workers": ["a@b"],
        "pollers_alive": True,
    }


async def test_heartbeat_from_before_the_stores_clock_was_set_back_is_not_fresh(
    database: Database,
) -> None:
    await write_heartbeat(database, "dead", NOW + timedelta(hours=1))

    async with database.reading() as session:
        (found,) = await heartbeats.read_heartbeats(session, NOW)

    assert found.age_seconds == 3600


async def test_latest_ingest_heartbeat_is_kept_however_old(database: Database) -> None:
    async with database.reading() as session:
        none_yet = await heartbeats.latest_ingest_heartbeat(session)
    await write_heartbeat(database, "api 1", NOW, role=INGEST)
    await write_heartbeat(database, "api 2", NOW + timedelta(seconds=1), role=INGEST)
    await write_heartbeat(database, "worker", NOW + timedelta(days=2))

    async with database.transaction() as session:
        forgotten = await heartbeats.forget_stale(session, NOW + timedelta(days=2))
        latest = await heartbeats.latest_ingest_heartbeat(session)
        stored = await heartbeats.read_heartbeats(session, NOW + timedelta(days=2))

    assert none_yet is None
    assert (latest, forgotten) == (NOW + timedelta(seconds=1), 1)
    assert [found.process for found in stored] == ["worker", "api 2"]


async def test_ingest_is_alive_while_a_process_that_has_not_stopped_writes_heartbeats(
    database: Database,
) -> None:
    async def ingest_heartbeats() -> IngestHeartbeats | None:
        async with database.reading() as session:
            return await heartbeats.read_ingest_heartbeats(session)

    none_yet = await ingest_heartbeats()
    await write_heartbeat(database, "worker", NOW + timedelta(days=2))
    await write_heartbeat(database, "api 3", NOW + timedelta(days=2), role="api")
    await write_heartbeat(database, "api 1", NOW, role=INGEST)
    await write_heartbeat(database, "api 2", NOW + timedelta(seconds=1), role=INGEST, ended=True)
    one_ended = await ingest_heartbeats()
    await write_heartbeat(database, "api 1", NOW + timedelta(seconds=2), role=INGEST, ended=True)

    assert none_yet is None
    assert one_ended == IngestHeartbeats(last_at=NOW + timedelta(seconds=1), alive_at=NOW)
    assert await ingest_heartbeats() == IngestHeartbeats(
        last_at=NOW + timedelta(seconds=2), alive_at=None
    )


async def test_process_silent_for_less_than_ten_minutes_is_not_deleted(database: Database) -> None:
    await write_heartbeat(database, "worker", NOW)

    async with database.transaction() as session:
        assert await heartbeats.forget_stale(session, NOW + timedelta(minutes=10)) == 0
        assert (
            await heartbeats.forget_stale(session, NOW + timedelta(minutes=10, milliseconds=1)) == 1
        )


async def test_heartbeat_from_the_future_is_deleted(database: Database) -> None:
    for process, minutes in (("past", -60), ("worker", 0), ("ahead", 1), ("future", 180)):
        await write_heartbeat(
            database,
            process,
            NOW + timedelta(minutes=minutes),
            role=INGEST if process != "worker" else "worker",
        )

    async with database.transaction() as session:
        assert await heartbeats.forget_stale(session, NOW) == 2
        left = {found.process for found in await heartbeats.read_heartbeats(session, NOW)}

    assert left == {"worker", "ahead"}


async def test_heartbeat_from_the_future_deletes_no_valid_one(database: Database) -> None:
    for process, minutes in (("true", -60), ("future", 180)):
        await write_heartbeat(database, process, NOW + timedelta(minutes=minutes), role=INGEST)

    async with database.transaction() as session:
        assert await heartbeats.forget_stale(session, NOW) == 1
        assert await heartbeats.latest_ingest_heartbeat(session) == NOW - timedelta(minutes=60)


async def test_fact_is_stored_and_replaced(database: Database) -> None:
    async with database.transaction() as session:
        before = await heartbeats.read_fact(session, "namespace")
        await heartbeats.write_fact(session, "namespace", "one")
        await heartbeats.write_fact(session, "namespace", "two")
        after = await heartbeats.read_fact(session, "namespace")

    assert (before, after) == (None, "two")
