"""The API's heartbeat: what it reports, clock differences, and the outages that ingest credits."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from api.app import create_app
from api.auth.api_keys import ApiKeyCache, Digests
from api.health.heartbeat import ApiHeartbeat
from domain.ids import EventId
from domain.projects import CreatedProject
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.ingest.connection import open_ingest_connection
from store.ingest.group_commit import Committer
from store.receipts.queries import read_event
from store.status.heartbeats import Heartbeat, read_heartbeats, read_ingest_heartbeats
from tests.api.serving import Caller, parts_on, serving
from tests.support.waiting import wait_until_async
from worker.health.heartbeat import WorkerHeartbeat
from worker.loops.outage_credit import credit_all

pytestmark = pytest.mark.both_stores


async def test_api_says_every_two_seconds_that_it_lives(caller: Caller, database: Database) -> None:
    async with database.reading() as session:
        heartbeats = await read_heartbeats(session, await database.now(session))

    reports = {one.role: set(one.report) for one in heartbeats}
    clocks = {"clock_ahead_seconds"} if database.dialect == "postgresql" else set()
    assert reports == {
        "api": {"accepted_per_second", "accepted", "secrets"} | clocks,
        "ingest": set(),
    }


async def test_api_that_ends_reports_it_in_its_last_heartbeat(
    database: Database, sealer: Sealer
) -> None:
    async with serving(create_app(parts_on(database, sealer))), database.reading() as session:
        alive = await read_ingest_heartbeats(session)

    async with database.reading() as session:
        ended = await read_ingest_heartbeats(session)
    assert alive is not None
    assert alive.alive_at is not None
    assert ended is not None
    assert ended.alive_at is None


async def deadline_of(database: Database, event_id: str) -> tuple[datetime, datetime, list[str]]:
    async with database.reading() as session:
        event = await read_event(session, None, EventId(event_id))
    assert event is not None
    return (
        event.receipt.timeout_at,
        event.receipt.deadline_at,
        [entry.kind.value for entry in event.timeline],
    )


def heartbeat_on(database: Database, sealer: Sealer, **changes: Any) -> ApiHeartbeat:
    async def find(_: Digests) -> None:
        return None

    ring = ApiKeyCache(find_key=find, digests=sealer.key_digests, clock=lambda: 0.0)
    return ApiHeartbeat(
        database=database,
        key_cache=ring,
        accepted=lambda: 0,
        outage_seconds=60,
        sealer=sealer,
        **changes,
    )


async def write_ingest_heartbeats(database: Database) -> None:
    """Start and stop a committer."""
    committer = Committer(open_ingest_connection(database.url), database.clock)
    await committer.start(outage_seconds=60)
    await committer.stop()


async def credited_now(database: Database) -> int:
    """How many deadlines are credited after a committer has started."""
    await write_ingest_heartbeats(database)
    return await credit_all(database)


@pytest.mark.parametrize(("away_seconds", "credited"), [(50, 0), (300, 1)])
async def test_outage_is_credited_once(
    database: Database, sealer: Sealer, project: CreatedProject, away_seconds: int, credited: int
) -> None:
    async with serving(create_app(parts_on(database, sealer))) as client:
        event_id = await Caller(client, project.api_key).accept()
    database.clock.skew = timedelta(seconds=away_seconds)

    first, second = await credited_now(database), await credited_now(database)
    timeout_at, deadline_at, kinds = await deadline_of(database, event_id)

    assert (first, second) == (credited, 0)
    assert kinds.count("deadline_credited") == credited
    if credited:
        assert (
            timedelta(seconds=away_seconds - 5)
            < deadline_at - timeout_at
            < timedelta(seconds=away_seconds + 30)
        )
    else:
        assert deadline_at == timeout_at


async def test_credit_that_takes_longer_than_an_outage_is_no_outage_itself(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    async with serving(create_app(parts_on(database, sealer))) as client:
        event_ids = [await Caller(client, project.api_key).accept() for _ in range(3)]
    database.clock.skew = timedelta(seconds=300)
    await write_ingest_heartbeats(database)

    def take_long(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if "INSERT INTO timeline" in statement:
            database.clock.skew += timedelta(seconds=31)

    async def go_on(_: float) -> None:
        await write_ingest_heartbeats(database)

    event.listen(Engine, "after_cursor_execute", take_long)
    try:
        credited = await credit_all(database, batch=1, pause=go_on)
    finally:
        event.remove(Engine, "after_cursor_execute", take_long)

    assert [credited, await credited_now(database), await credited_now(database)] == [3, 0, 0]
    for event_id in event_ids:
        assert (await deadline_of(database, event_id))[2].count("deadline_credited") == 1


async def test_last_use_of_a_key_is_written_down(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    app = create_app(parts_on(database, sealer))
    async with serving(app) as client:
        await Caller(client, project.api_key).accept()
    keys = await app.state.shared.operations.api_keys.list_keys(project.project.id)

    assert keys[0].last_used_at is not None


def clock_off_by(minutes: int) -> Callable[[], datetime]:
    """A host's clock that is wrong by so many minutes."""
    return lambda: datetime.now(UTC) + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("minutes", "difference"),
    [(5, "300 s ahead of the store's."), (-5, "300 s behind the store's.")],
)
async def test_readiness_names_every_process_whose_clock_is_off_and_stays_ready(
    caller: Caller, database: Database, sealer: Sealer, minutes: int, difference: str
) -> None:
    host_now = clock_off_by(minutes)
    heartbeat = heartbeat_on(database, sealer, host_now=host_now)
    heart = WorkerHeartbeat(
        database, identity="worker-off", started_at=datetime.now(UTC), host_now=host_now
    )
    await heartbeat.write()
    loop = asyncio.create_task(heart.heartbeat_loop())
    await wait_until_async(
        lambda: heartbeats_of(database, "worker-off"), what="the worker's heartbeat"
    )
    answer = await caller.client.get("/readyz")
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)

    store = answer.json()["checks"]["store"]
    assert store["status"] == "ok"
    if database.dialect == "sqlite":
        # SQLite uses the host's clock, so there is no difference.
        assert store["detail"] == "It answers, and can be written."
        return
    named = [
        f"The clock of {process} is {difference}" for process in ("worker-off", heartbeat.process)
    ]
    assert all(complaint in store["detail"] for complaint in named), store["detail"]


async def heartbeats_of(database: Database, process: str) -> list[Heartbeat]:
    async with database.reading() as session:
        return [
            found
            for found in await read_heartbeats(session, await database.now(session))
            if found.process == process
        ]


@pytest.mark.parametrize("minutes", [5, -5])
async def test_console_has_the_stores_time_whatever_the_hosts_clock_says(
    postgres_url: str, sealer: Sealer, minutes: int
) -> None:
    database = Database.open(postgres_url)
    heartbeat = heartbeat_on(database, sealer, host_now=clock_off_by(minutes))
    await heartbeat.write()

    async with database.reading() as session:
        now = await database.now(session)
    await database.close()

    assert abs(heartbeat.store_now() - now) < timedelta(seconds=2)
