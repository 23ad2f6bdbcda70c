"""Several writers on one database:

API processes, and other transactions that need SQLite's write lock.
"""

import asyncio
import random

import asyncpg
import pytest

from domain.errors import IdempotencyInProgress, Unavailable
from domain.projects import CreatedProject
from store.db.database import Database
from store.db.sql import SessionStatements
from store.ingest.connection import IngestConnection, is_store_failure, open_ingest_connection
from store.ingest.requests import StoredResponse
from store.receipts.timeline import note
from tests.store.ingest.desk import body_of, committing, count
from tests.support.fakes import CountingConnection
from tests.support.given import new_result
from tests.support.waiting import wait_until_async


async def test_two_processes_give_one_response_for_each_key_and_identity(
    database: Database, project: CreatedProject
) -> None:
    async with committing(database, project) as one, committing(database, project) as other:
        receipts = [one.receipt() for _ in range(60)]
        by_key = [
            (desk, receipt, f"key {n}")
            for n, receipt in enumerate(receipts)
            for desk in (one, other)
        ]
        by_identity = [
            (desk, receipt, f"{name} {n}")
            for n, receipt in enumerate(receipts)
            for name, desk in [("a", one), ("b", other)]
        ]
        said = by_key + by_identity
        random.Random(7).shuffle(said)

        answers = await asyncio.gather(*(desk.say(receipt, key) for desk, receipt, key in said))

    bodies = {
        (receipt.provider_event_id, answer.body)
        for (_, receipt, _), answer in zip(said, answers, strict=True)
    }
    assert {answer.status for answer in answers} == {202}
    assert len(bodies) == 60
    assert await count(database, "receipts") == await count(database, "outbox") == 60
    assert await count(database, "idempotency") == 180


async def test_two_processes_with_results_for_the_same_events_lose_none(
    database: Database, project: CreatedProject
) -> None:
    async with committing(database, project) as one, committing(database, project) as other:
        events = [await one.stored() for _ in range(20)]
        said = [(one, event, f"{n:02}") for n, event in enumerate(events)] + [
            (other, event, f"{99 - n:02}") for n, event in enumerate(events)
        ]

        answers = await asyncio.gather(
            *(desk.say(new_result(desk.project_id, event), key) for desk, event, key in said)
        )

    assert {body_of(answer)["state"] for answer in answers} == {"applied"}
    assert await count(database, "results") == 20
    assert await count(database, "outbox", "kind = 'result'") == 20


async def test_ingest_under_load_lets_another_writer_write(
    database: Database, project: CreatedProject
) -> None:
    async def write(event_id: str) -> None:
        for _ in range(10):
            async with database.transaction() as session:
                st = SessionStatements(session)
                await note(st, event_id, await database.now(session), text="busy")  # type: ignore[arg-type]

    async with committing(database, project) as desk:
        event_id = await desk.stored()
        writer = asyncio.create_task(write(event_id))
        accepted = 1
        while not writer.done():
            answers = await asyncio.gather(*(desk.say(desk.receipt()) for _ in range(20)))
            accepted += sum(answer.status == 202 for answer in answers)
            assert accepted < 20_000, "the writer was starved"
        await writer

    assert await count(database, "receipts") == accepted > 20
    assert await count(database, "timeline") == 10


async def test_ingest_reconnects_after_its_connection_was_cut(postgres_url: str) -> None:
    ingest_connection = open_ingest_connection(postgres_url)
    async with ingest_connection.transaction() as statements:
        ((pid,),) = await statements.fetch("SELECT pg_backend_pid()")
    admin = await asyncpg.connect(postgres_url)
    await admin.execute("SELECT pg_terminate_backend($1)", pid)
    await admin.close()

    async def works() -> bool:
        try:
            async with ingest_connection.transaction() as statements:
                return bool(await statements.fetch("SELECT 1"))
        except Exception as error:
            if not is_store_failure(error):
                raise
            return False

    await wait_until_async(works, what="a transaction on a new connection")
    await ingest_connection.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_cut_connection_is_a_503_and_never_a_202(
    database: Database, project: CreatedProject
) -> None:
    async with committing(database, project) as desk:
        await desk.stored()
        admin = await asyncpg.connect(database.url)
        accepted: set[str] = set()
        for _ in range(10):
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            answers = await asyncio.gather(
                *(desk.say(desk.receipt()) for _ in range(5)), return_exceptions=True
            )
            assert {type(answer) for answer in answers} <= {StoredResponse, Unavailable}
            accepted |= {
                body_of(answer)["event_id"]
                for answer in answers
                if isinstance(answer, StoredResponse)
            }
        rows = await admin.fetch("SELECT event_id FROM receipts")
        await admin.close()

    assert accepted <= {row["event_id"] for row in rows}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_results_of_two_processes_never_deadlock(
    database: Database, project: CreatedProject
) -> None:
    doors: list[CountingConnection] = []

    def watch(real: IngestConnection) -> IngestConnection:
        doors.append(CountingConnection(real))
        return doors[-1]

    async with (
        committing(database, project, watch) as one,
        committing(database, project, watch) as other,
    ):
        receipts = [one.receipt() for _ in range(60)]
        ids = [body_of(await one.say(receipt))["event_id"] for receipt in receipts]
        before = sum(door.commits for door in doors)
        # By our id or by the provider's, in reverse order in the other process.
        named = [
            {"event_id": a, "provider_event_id": b.provider_event_id}
            for a, b in zip(ids, receipts, strict=True)
        ]
        said = []
        for n, names in enumerate(named):
            first, second = sorted(names, reverse=n % 2 == 0)
            said += [(one, {first: names[first]}), (other, {second: names[second]})]

        answers = await asyncio.gather(
            *(desk.say(new_result(desk.project_id, **name)) for desk, name in said)
        )

    assert {body_of(answer)["state"] for answer in answers} == {"applied"}
    # After a deadlock, the members of a batch are committed one by one.
    assert sum(door.commits for door in doors) - before < 20


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_key_locked_by_another_process_delays_its_neighbours_once(
    database: Database, project: CreatedProject
) -> None:
    holder = await asyncpg.connect(database.url)
    clock = asyncio.get_running_loop().time
    async with committing(database, project) as desk:
        await holder.execute("BEGIN")
        await holder.execute(
            "INSERT INTO idempotency (project_id, endpoint, key, fingerprint, status, created_at) "
            "VALUES ($1, 'receipt', 'held', 'f', 0, 9000000000000)",
            desk.project_id,
        )
        spent: list[float] = []
        answers: list[StoredResponse | BaseException] = []
        for _ in range(2):
            began = clock()
            said = (desk.say(desk.receipt(), "held"), desk.say(desk.receipt()))
            answers += await asyncio.gather(*said, return_exceptions=True)
            spent.append(clock() - began)
        await holder.close()

        assert [type(answer) for answer in answers] == [IdempotencyInProgress, StoredResponse] * 2
        assert spent[0] < 8
        assert spent[1] < 3
