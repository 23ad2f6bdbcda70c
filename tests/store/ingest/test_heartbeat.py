"""The ingest heartbeat proves that ingest was up: what stops it, and what does not."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from api.app import create_app
from domain.errors import NotFound
from domain.projects import CreatedProject
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.pool_limits import KEY_LOOKUP
from store.db.sql import Dialect, Row, SessionStatements, Statements, Values
from store.ingest.batch import process_batch
from store.ingest.connection import LockTimeout, open_ingest_connection
from store.ingest.group_commit import Committer
from store.ingest.outage_evidence import write_ingest_heartbeat
from store.projects.api_keys import find_key
from tests.api.serving import Caller, parts_on, receipt, serving
from tests.store.ingest.heartbeat_setup import (
    OUTAGE_SECONDS,
    last_heartbeat_age,
    pending,
    request,
)
from tests.support.given import Story, new_receipt, new_result
from tests.support.waiting import wait_until_async


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
    ingest_connection = open_ingest_connection(database.url)

    with pytest.raises(LockTimeout):
        async with ingest_connection.transaction(short_lock_timeout=True) as statements:
            await write_ingest_heartbeat(
                statements, database.clock, process="ingest_1", outage_seconds=60
            )

    await other.close()
    await ingest_connection.close()


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
    ingest_connection = open_ingest_connection(database.url)

    async with ingest_connection.transaction() as statements:
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
    async with ingest_connection.transaction() as statements:
        await write_ingest_heartbeat(
            statements, database.clock, process="ingest_1", outage_seconds=60
        )
        locked = {row[0] for row in await statements.fetch(in_transaction)}
    await ingest_connection.close()

    assert {"receipts", "results", "incidents", "outages", "api_keys", "projects"} <= needed
    assert "early_results" in needed  # every receipt looks for held results
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
            return await last_heartbeat_age(database) > timedelta(seconds=OUTAGE_SECONDS + 0.5)

        await wait_until_async(
            is_long, seconds=20, what="an outage of keys that nobody could look up"
        )
    await of_the_api.close()

    assert statuses == {503}


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
    ingest_connection = open_ingest_connection(database.url)
    for _ in range(stored):
        await story.receipt()
    counts = []
    for _ in range(3):
        async with ingest_connection.transaction() as st:
            counting = Counting(st)
            await write_ingest_heartbeat(
                counting, database.clock, process="ingest_1", outage_seconds=60
            )
        counts.append(len(counting.sent))
    database.clock.skew += timedelta(seconds=61)
    async with ingest_connection.transaction() as st:
        counting = Counting(st)
        outage = await write_ingest_heartbeat(
            counting, database.clock, process="ingest_1", outage_seconds=60
        )
    await ingest_connection.close()

    assert outage is not None
    # The table locks, the time, the latest heartbeat, the heartbeat. For an outage also: the lock,
    # the
    # latest heartbeat again, and its row.
    usual = {"sqlite": 2, "postgresql": 5}[database.dialect]
    assert (counts, len(counting.sent)) == ([usual] * 3, usual + 3)
