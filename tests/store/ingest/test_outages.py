"""Which silence of the ingest heartbeat is an outage, and which deadlines include it."""

import asyncio
import itertools
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from activities.lifecycle import LifecycleActivities
from activities.messages import OpenIncident
from domain.errors import NotFound, Unavailable
from domain.lifecycle import LifecycleState
from domain.outage import Outage, beat_interval
from domain.projects import CreatedProject
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.ingest.connection import open_ingest_connection
from store.ingest.group_commit import Committer
from store.ingest.outage_evidence import write_ingest_heartbeat
from store.projects.projects import create_project
from tests.store.ingest.heartbeat_setup import (
    OUTAGE_SECONDS,
    last_beat_age,
    pending,
    request,
    stored,
)
from tests.support.given import Story, new_result
from tests.support.waiting import wait_until_async
from worker.loops.outage_credit import credit_all


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("table", ["receipts", "results", "api_keys"])
async def test_locked_table_is_a_credited_outage_and_opens_no_false_incident(
    database: Database, project: CreatedProject, sealer: Sealer, table: str
) -> None:
    story = Story(database, project.project)
    ledger = LifecycleActivities(database, sealer=sealer, outage_seconds=OUTAGE_SECONDS)
    committer = Committer(open_ingest_connection(database.url), database.clock)
    await committer.start(outage_seconds=OUTAGE_SECONDS)
    async with database.reading() as session:
        story.at = await database.now(session)
    event_id = await story.receipt(timeout_minutes=1.5 / 60)
    other = await asyncpg.connect(database.url)
    # what is only read is not stopped by less
    mode = "ACCESS EXCLUSIVE" if table == "api_keys" else "SHARE"
    await other.execute(f"BEGIN; LOCK TABLE {table} IN {mode} MODE")

    async def is_long() -> bool:
        return await last_beat_age(database) > timedelta(seconds=OUTAGE_SECONDS + 0.5)

    await wait_until_async(is_long, seconds=20, what="an outage")
    held = await ledger.open_incident(OpenIncident(event_id))
    await other.execute("ROLLBACK")

    async def is_recorded() -> bool:
        return await pending(database) == 1

    await wait_until_async(is_recorded, seconds=20, what="the outage as a row")
    judged = await ledger.open_incident(OpenIncident(event_id))
    await committer.stop()
    await other.close()

    assert (held.status.state, judged.status.state) == (
        LifecycleState.WAITING,
        LifecycleState.WAITING,
    )
    assert held.retry_after_ms is not None
    assert (await story.timeline(event_id)).count("deadline_credited") == 1
    assert await credit_all(database) == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("locked", "is_outage"),
    [("every project's", True), ("one project's of two", False), ("the only project's", True)],
)
async def test_locked_receipts_are_an_outage_unless_they_are_of_one_project_among_several(
    database: Database,
    project: CreatedProject,
    sealer: Sealer,
    locked: str,
    is_outage: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("store.ingest.connection.LOCK_TIMEOUT", "100ms")
    committer = Committer(open_ingest_connection(database.url), database.clock)
    await committer.start(outage_seconds=1)
    async with database.transaction() as session:
        other = await create_project(
            session, sealer, name="next door", livemode=False, now=await database.now(session)
        )
    those = [project] if locked == "the only project's" else [project, other]
    events = {of.project.id: await stored(committer, of) for of in those}
    holder = await asyncpg.connect(database.url)
    held = list(events) if locked == "every project's" else [project.project.id]
    await holder.execute("BEGIN")
    await holder.execute("SELECT 1 FROM receipts WHERE project_id = ANY($1) FOR UPDATE", held)
    began = asyncio.get_running_loop().time()

    async def is_over() -> bool:
        for of in those:
            with suppress(Unavailable):
                await committer.accept(
                    request(of, new_result(of.project.id, events[of.project.id]))
                )
        return asyncio.get_running_loop().time() - began > 2.5

    await wait_until_async(is_over, what="more than two outages' time of receipts that are held")
    await holder.close()
    for of in those:
        await committer.accept(request(of, new_result(of.project.id, events[of.project.id])))

    async def is_recorded() -> bool:
        return await pending(database) == 1

    if is_outage:
        await wait_until_async(is_recorded, what="the outage as a row")
    await committer.stop()

    assert await pending(database) == is_outage


async def test_working_committer_is_no_outage_even_without_the_heartbeat_of_its_process(
    database: Database, project: CreatedProject
) -> None:
    committer = Committer(open_ingest_connection(database.url), database.clock)
    await committer.start(outage_seconds=1)
    story = Story(database, project.project)
    event_id = await story.receipt()
    began = asyncio.get_running_loop().time()

    async def is_over() -> bool:
        return asyncio.get_running_loop().time() - began > 2.5

    await wait_until_async(
        is_over, what="more than two outages' time without any heartbeat of the API"
    )
    await committer.stop()

    assert await pending(database) == 0
    assert "deadline_credited" not in await story.timeline(event_id)


async def test_full_queue_stops_the_heartbeat_and_its_time_is_credited(
    database: Database, project: CreatedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer = Committer(open_ingest_connection(database.url), database.clock)
    await committer.start(outage_seconds=OUTAGE_SECONDS)
    story = Story(database, project.project)
    async with database.reading() as session:
        story.at = await database.now(session)
    event_id = await story.receipt(timeout_minutes=30.0)
    monkeypatch.setattr("store.ingest.group_commit.QUEUE_LIMIT", 0)

    async def is_long() -> bool:
        with pytest.raises(Unavailable):
            await committer.accept(request(project))
        return await last_beat_age(database) > timedelta(seconds=OUTAGE_SECONDS + 0.5)

    await wait_until_async(is_long, seconds=20, what="an outage of a full queue")
    monkeypatch.undo()

    async def is_recorded() -> bool:
        return await pending(database) == 1

    await wait_until_async(is_recorded, seconds=20, what="the outage as a row")
    await committer.stop()

    assert await credit_all(database) == 1
    assert await story.timeline(event_id) == ["deadline_credited"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_heartbeat_from_the_future_disables_neither_grace_period_nor_credit(
    database: Database, project: CreatedProject, sealer: Sealer
) -> None:
    """The host's clock was three hours ahead when an API process was killed, and was then
    corrected.
    """
    story, ingest_connection = (
        Story(database, project.project),
        open_ingest_connection(database.url),
    )
    ledger = LifecycleActivities(database, sealer=sealer, outage_seconds=60)

    async def beat(process: str) -> Outage | None:
        async with ingest_connection.transaction() as statements:
            return await write_ingest_heartbeat(
                statements, database.clock, process=process, outage_seconds=60
            )

    database.clock.skew = timedelta(hours=3)
    await beat("ingest_killed")
    database.clock.skew = timedelta()
    async with database.reading() as session:
        story.at = await database.now(session)
    event_id = await story.receipt(timeout_minutes=0.5)
    database.clock.skew = timedelta(seconds=31)
    while_away = await ledger.open_incident(OpenIncident(event_id))
    await beat("ingest_next")
    database.clock.skew = timedelta(seconds=31 + 90)
    outage = await beat("ingest_next")
    await ingest_connection.close()

    assert while_away.status.state is LifecycleState.WAITING
    assert while_away.retry_after_ms is not None
    assert outage is not None
    assert 90_000 <= outage.up_at - outage.down_from < 95_000


async def test_flood_of_one_project_adds_no_heartbeat_and_is_no_outage(
    database: Database, project: CreatedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[float] = []

    async def counted(*values: Any, **named: Any) -> Outage | None:
        beats.append(asyncio.get_running_loop().time())
        return await write_ingest_heartbeat(*values, **named)

    monkeypatch.setattr("store.ingest.heartbeat.write_ingest_heartbeat", counted)
    committer = Committer(open_ingest_connection(database.url), database.clock)
    await committer.start(outage_seconds=2)
    answers: list[object] = []

    async def is_over() -> bool:
        flood = (committer.accept(request(project)) for _ in range(200))
        answers.extend(await asyncio.gather(*flood, return_exceptions=True))
        return asyncio.get_running_loop().time() - beats[0] > 2.5

    await wait_until_async(is_over, what="a flood of more than an outage's time")
    in_time = list(beats)
    await committer.stop()

    assert {type(answer) for answer in answers} == {NotFound}
    assert len(in_time) <= 1 + (in_time[-1] - in_time[0]) / beat_interval(2).total_seconds()
    assert max(later - earlier for earlier, later in itertools.pairwise(in_time)) < 2
    assert await pending(database) == 0
