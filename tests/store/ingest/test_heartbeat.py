"""The ingest heartbeat proves that ingest was up, and every deadline includes the outages it
records.
"""

import asyncio
import itertools
import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from activities.lifecycle import LifecycleActivities
from activities.messages import OpenIncident
from api.app import create_app
from domain.errors import NotFound, Unavailable
from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.outage import Outage, beat_interval
from domain.projects import CreatedProject
from domain.receipts import NewReceipt
from domain.results import NewResult
from store.crypto.encryption import Sealer
from store.crypto.tokens import new_event_id
from store.db.database import Database
from store.db.pool_limits import KEY_LOOKUP
from store.db.sql import Dialect, Row, SessionStatements, Statements, Values
from store.ingest.batch import process_batch
from store.ingest.connection import LockTimeout, open_ingest_connection
from store.ingest.group_commit import Committer
from store.ingest.outage_evidence import write_ingest_heartbeat
from store.ingest.requests import Endpoint, IngestRequest
from store.projects.api_keys import find_key
from store.projects.projects import create_project
from store.status.heartbeats import read_ingest_beats
from tests.api.serving import Caller, parts_on, receipt, serving
from tests.support.given import Story, new_receipt, new_result
from tests.support.waiting import wait_until_async
from worker.loops.outage_credit import credit_all

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
    assert (await story.told(event_id)).count("deadline_credited") == 1
    assert await credit_all(database) == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("table", "mode"),
    [
        *(
            (table, "SHARE")
            for table in (
                "receipts",
                "results",
                "idempotency",
                "outbox",
                "timeline",
                "incidents",
                "repairs",
                "alerts",
            )
        ),
        *((table, "ACCESS EXCLUSIVE") for table in ("projects", "api_keys", "outages")),
    ],
)
async def test_lock_on_any_table_that_a_request_needs_stops_the_heartbeat(
    database: Database, table: str, mode: str
) -> None:
    other = await asyncpg.connect(database.url)
    await other.execute(f"BEGIN; LOCK TABLE {table} IN {mode} MODE")
    front_door = open_ingest_connection(database.url)

    with pytest.raises(LockTimeout):
        async with front_door.transaction(short_lock_timeout=True) as statements:
            await write_ingest_heartbeat(
                statements, database.clock, process="ingest_1", outage_seconds=60
            )

    await other.close()
    await front_door.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_heartbeat_locks_every_table_that_requests_need(
    database: Database, project: CreatedProject
) -> None:
    in_transaction = (
        "SELECT relation::regclass::text FROM pg_locks JOIN pg_class c ON c.oid = relation "
    )
    in_transaction += (
        "WHERE pid = pg_backend_pid() AND c.relkind = 'r' AND c.relnamespace ="
        " 'public'::regnamespace"
    )
    event_id = await Story(database, project.project).receipt()
    wanted = [
        request(project, new_receipt(project.project.id)),
        request(project, new_result(project.project.id, event_id, "failed")),
    ]
    front_door = open_ingest_connection(database.url)

    async with front_door.transaction() as statements:
        await process_batch(statements, database.clock, wanted)
        needed = {row[0] for row in await statements.fetch(in_transaction)}
    async with database.key_lookup() as session:
        assert await find_key(session, "no such digest") is None
        await find_key(
            session,
            *[
                row[0]
                for row in await SessionStatements(session).fetch("SELECT digest FROM api_keys")
            ],
        )
        needed |= {row[0] for row in await SessionStatements(session).fetch(in_transaction)}
    async with front_door.transaction() as statements:
        await write_ingest_heartbeat(
            statements, database.clock, process="ingest_1", outage_seconds=60
        )
        locked = {row[0] for row in await statements.fetch(in_transaction)}
    await front_door.close()

    assert {"receipts", "results", "incidents", "outages", "api_keys", "projects"} <= needed
    assert needed <= locked


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_failing_key_lookups_stop_the_heartbeat(
    database: Database, project: CreatedProject, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.db.pool_limits.KEY_LOOKUP", replace(KEY_LOOKUP, permit_seconds=0.2))
    of_the_api = Database.open(database.url)
    statuses: set[int] = set()
    async with (
        serving(create_app(parts_on(of_the_api, sealer, outage_seconds=OUTAGE_SECONDS))) as client,
        of_the_api.key_lookup(),
    ):
        caller = Caller(client, project.api_key)

        async def is_long() -> bool:
            statuses.add((await caller.send("receipt", receipt())).status_code)
            return await last_beat_age(database) > timedelta(seconds=OUTAGE_SECONDS + 0.5)

        await wait_until_async(
            is_long, seconds=20, what="an outage of keys that nobody could look up"
        )
    await of_the_api.close()

    assert statuses == {503}


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
    assert "deadline_credited" not in await story.told(event_id)


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
    assert await story.told(event_id) == ["deadline_credited"]


async def test_requests_at_fault_do_not_stop_the_heartbeat(
    database: Database, project: CreatedProject
) -> None:
    committer = Committer(open_ingest_connection(database.url), database.clock)
    await committer.start(outage_seconds=1)
    began = asyncio.get_running_loop().time()

    async def is_over() -> bool:
        with pytest.raises(NotFound):
            await committer.accept(request(project))
        return asyncio.get_running_loop().time() - began > 2.5

    await wait_until_async(is_over, what="more than two outages' time of refused requests")
    await committer.stop()

    assert await pending(database) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_heartbeat_from_the_future_disables_neither_grace_period_nor_credit(
    database: Database, project: CreatedProject, sealer: Sealer
) -> None:
    """The host's clock was three hours ahead when an API process was killed, and was then
    corrected.
    """
    story, front_door = Story(database, project.project), open_ingest_connection(database.url)
    ledger = LifecycleActivities(database, sealer=sealer, outage_seconds=60)

    async def beat(process: str) -> Outage | None:
        async with front_door.transaction() as statements:
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
    await front_door.close()

    assert while_away.status.state is LifecycleState.WAITING
    assert while_away.retry_after_ms is not None
    assert outage is not None
    assert 90_000 <= outage.up_at - outage.down_from < 95_000


def request(project: CreatedProject, value: NewReceipt | NewResult | None = None) -> IngestRequest:
    """A result for an unknown receipt, unless another value is given."""
    of, value = project.project.id, value or new_result(project.project.id, new_event_id())
    endpoint: Endpoint = "receipt" if isinstance(value, NewReceipt) else "result"
    return IngestRequest(
        of, endpoint, secrets.token_hex(8), "0" * 64, value, lambda _refusal: b"{}"
    )


async def stored(committer: Committer, project: CreatedProject) -> EventId:
    answer = await committer.accept(request(project, new_receipt(project.project.id)))
    return EventId(json.loads(answer.body)["event_id"])


class Counting:
    """Counts statements and passes them on."""

    def __init__(self, st: Statements) -> None:
        self._st = st
        self.dialect: Dialect = st.dialect
        self.sent: list[str] = []

    async def fetch(self, sql: str, *values: Values) -> Sequence[Row]:
        self.sent.append(" ".join(sql.split())[:40])
        return await self._st.fetch(sql, *values)


@pytest.mark.parametrize("stored", [0, 200])
async def test_heartbeat_needs_a_fixed_number_of_statements(
    database: Database, project: CreatedProject, stored: int
) -> None:
    story = Story(database, project.project)
    front_door = open_ingest_connection(database.url)
    for _ in range(stored):
        await story.receipt()
    counts = []
    for _ in range(3):
        async with front_door.transaction() as st:
            counting = Counting(st)
            await write_ingest_heartbeat(
                counting, database.clock, process="ingest_1", outage_seconds=60
            )
        counts.append(len(counting.sent))
    database.clock.skew += timedelta(seconds=61)
    async with front_door.transaction() as st:
        counting = Counting(st)
        outage = await write_ingest_heartbeat(
            counting, database.clock, process="ingest_1", outage_seconds=60
        )
    await front_door.close()

    assert outage is not None
    # The table locks, the time, the latest heartbeat, the heartbeat. For an outage also: the lock,
    # the
    # latest heartbeat again, and its row.
    usual = {"sqlite": 2, "postgresql": 5}[database.dialect]
    assert (counts, len(counting.sent)) == ([usual] * 3, usual + 3)


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
