"""What shows that ingest was up, the committer's own commits, and that no deadline is judged without an outage that they give."""

import asyncio
import itertools
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from activities.ledger import LedgerActivities
from activities.messages import OpenIncident
from domain.errors import NotFound, Unavailable
from domain.lifecycle import Position
from domain.outages import Outage, beat_interval
from domain.projects import CreatedProject
from store.committer import Committer
from store.database import Database
from store.evidence import beat_ingest
from store.front_door import open_front_door
from store.heartbeats import read_ingest_beats
from store.intake import IngestRequest
from store.minting import new_event_id
from store.sealing import Sealer
from store.statements import Dialect, Row, SessionStatements, Statements, Values
from tests.given import Story, new_result
from tests.waiting import wait_until_async
from worker.crediting import credit_all

OUTAGE_SECONDS = 2


async def pending(database: Database) -> int:
    async with database.reading() as session:
        rows = await SessionStatements(session).fetch("SELECT count(*) FROM outages")
    return int(rows[0][0])


async def last_beat_age(database: Database) -> timedelta:
    async with database.reading() as session:
        beats = await read_ingest_beats(session)
        assert beats is not None
        return await database.now(session) - beats.last_at


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("table", ["receipts", "results"])
async def test_locked_table_is_an_outage_that_is_credited_and_opens_no_false_incident(
    database: Database, project: CreatedProject, sealer: Sealer, table: str
) -> None:
    story = Story(database, project.project)
    ledger = LedgerActivities(database, sealer=sealer, outage_seconds=OUTAGE_SECONDS)
    committer = Committer(open_front_door(database.url), database.clock)
    await committer.start(outage_seconds=OUTAGE_SECONDS)
    async with database.reading() as session:
        story.at = await database.now(session)
    event_id = await story.receipt(timeout_minutes=1.5 / 60)
    other = await asyncpg.connect(database.url)
    await other.execute(f"BEGIN; LOCK TABLE {table} IN SHARE MODE")

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

    assert (held.standing.position, judged.standing.position) == (Position.WAITING, Position.WAITING)
    assert held.wait_ms is not None
    assert (await story.told(event_id)).count("deadline_credited") == 1
    assert await credit_all(database) == 0


async def test_working_committer_is_no_outage_whatever_becomes_of_the_processs_own_heartbeat(
    database: Database, project: CreatedProject
) -> None:
    committer = Committer(open_front_door(database.url), database.clock)
    await committer.start(outage_seconds=1)
    story = Story(database, project.project)
    event_id = await story.receipt()
    began = asyncio.get_running_loop().time()

    async def is_over() -> bool:
        return asyncio.get_running_loop().time() - began > 2.5

    await wait_until_async(is_over, what="more than two outages' time without any heartbeat of the API")
    await committer.stop()

    assert await pending(database) == 0
    assert "deadline_credited" not in await story.told(event_id)


async def test_full_queue_withholds_the_beat_and_its_time_is_credited(
    database: Database, project: CreatedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer = Committer(open_front_door(database.url), database.clock)
    await committer.start(outage_seconds=OUTAGE_SECONDS)
    story = Story(database, project.project)
    async with database.reading() as session:
        story.at = await database.now(session)
    event_id = await story.receipt(timeout_minutes=30.0)
    monkeypatch.setattr("store.committer.QUEUE_LIMIT", 0)

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
    assert await story.told(event_id) == ["deadline_credited"]


async def test_requests_that_are_refused_for_themselves_withhold_no_beat(database: Database, project: CreatedProject) -> None:
    committer = Committer(open_front_door(database.url), database.clock)
    await committer.start(outage_seconds=1)
    began = asyncio.get_running_loop().time()

    async def is_over() -> bool:
        with pytest.raises(NotFound):
            await committer.accept(request(project))
        return asyncio.get_running_loop().time() - began > 2.5

    await wait_until_async(is_over, what="more than two outages' time of refused requests")
    await committer.stop()

    assert await pending(database) == 0


class Counting:
    """Statements that are counted and passed on."""

    def __init__(self, st: Statements) -> None:
        self._st = st
        self.dialect: Dialect = st.dialect
        self.sent: list[str] = []

    async def fetch(self, sql: str, *values: Values) -> Sequence[Row]:
        self.sent.append(" ".join(sql.split())[:40])
        return await self._st.fetch(sql, *values)


@pytest.mark.parametrize("stored", [0, 200])
async def test_beat_is_so_many_statements_whatever_is_stored(database: Database, project: CreatedProject, stored: int) -> None:
    story = Story(database, project.project)
    front_door = open_front_door(database.url)
    for _ in range(stored):
        await story.receipt()
    counts = []
    for _ in range(3):
        async with front_door.transaction() as st:
            counting = Counting(st)
            await beat_ingest(counting, database.clock, process="ingest_1", outage_seconds=60)
        counts.append(len(counting.sent))
    database.clock.skew += timedelta(seconds=61)
    async with front_door.transaction() as st:
        counting = Counting(st)
        outage = await beat_ingest(counting, database.clock, process="ingest_1", outage_seconds=60)
    await front_door.close()

    assert outage is not None
    # The locks, what time it is, the latest beat, the beat; and for an outage: to be alone, the latest beat again, its row.
    usual = {"sqlite": 2, "postgresql": 5}[database.dialect]
    assert (counts, len(counting.sent)) == ([usual] * 3, usual + 3)


async def test_flood_of_one_project_adds_no_beat_and_makes_no_outage(
    database: Database, project: CreatedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[float] = []

    async def counted(*values: Any, **named: Any) -> Outage | None:
        beats.append(asyncio.get_running_loop().time())
        return await beat_ingest(*values, **named)

    monkeypatch.setattr("store.committer.beat_ingest", counted)
    committer = Committer(open_front_door(database.url), database.clock)
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


def request(project: CreatedProject) -> IngestRequest:
    """A result of a receipt that nobody sent."""
    result = new_result(project.project.id, new_event_id())
    return IngestRequest(project.project.id, "result", secrets.token_hex(8), "0" * 64, result, lambda _refusal: b"{}")
