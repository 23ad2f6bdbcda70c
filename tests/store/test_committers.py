"""Several writers on one database: API processes beside each other, and other transactions of ours on SQLite's one lock."""

import asyncio
import random

import asyncpg
import pytest

from domain.errors import Unavailable
from domain.projects import CreatedProject
from store.database import Database
from store.front_door import open_front_door
from store.intake import Answer
from store.standing import note
from store.statements import SessionStatements
from tests.given import new_result
from tests.store.test_committer import committing, count, told
from tests.waiting import wait_until_async


async def test_two_processes_give_one_answer_for_each_key_and_identity(database: Database, project: CreatedProject) -> None:
    async with committing(database, project) as one, committing(database, project) as other:
        receipts = [one.receipt() for _ in range(60)]
        by_key = [(desk, receipt, f"key {n}") for n, receipt in enumerate(receipts) for desk in (one, other)]
        by_identity = [
            (desk, receipt, f"{name} {n}") for n, receipt in enumerate(receipts) for name, desk in [("a", one), ("b", other)]
        ]
        said = by_key + by_identity
        random.Random(7).shuffle(said)

        answers = await asyncio.gather(*(desk.say(receipt, key) for desk, receipt, key in said))

    bodies = {(receipt.provider_event_id, answer.body) for (_, receipt, _), answer in zip(said, answers, strict=True)}
    assert {answer.status for answer in answers} == {202}
    assert len(bodies) == 60
    assert await count(database, "receipts") == await count(database, "outbox") == 60
    assert await count(database, "idempotency") == 180


async def test_two_processes_with_results_for_the_same_events_lose_none(database: Database, project: CreatedProject) -> None:
    async with committing(database, project) as one, committing(database, project) as other:
        events = [await one.stored() for _ in range(20)]
        said = [(one, event, f"{n:02}") for n, event in enumerate(events)] + [
            (other, event, f"{99 - n:02}") for n, event in enumerate(events)
        ]

        answers = await asyncio.gather(*(desk.say(new_result(desk.project_id, event), key) for desk, event, key in said))

    assert {told(answer)["state"] for answer in answers} == {"applied"}
    assert await count(database, "results") == 20
    assert await count(database, "outbox", "kind = 'result'") == 20


async def test_front_door_and_another_writer_share_the_database(database: Database, project: CreatedProject) -> None:
    written = 0
    has_ended = asyncio.Event()

    async def write(event_id: str) -> None:
        nonlocal written
        while not has_ended.is_set():
            async with database.transaction() as session:
                st = SessionStatements(session)
                await note(st, event_id, await database.now(session), text="busy")  # type: ignore[arg-type]
                written += 1
            await asyncio.sleep(0)

    async with committing(database, project) as desk:
        event_id = await desk.stored()
        writers = [asyncio.create_task(write(event_id)) for _ in range(2)]
        for _ in range(20):
            answers = await asyncio.gather(*(desk.say(desk.receipt()) for _ in range(20)))
            assert {answer.status for answer in answers} == {202}
        has_ended.set()
        await asyncio.gather(*writers)

    assert await count(database, "receipts") == 401
    assert await count(database, "timeline") == written >= 20


async def test_front_door_comes_back_after_its_connection_was_cut(postgres_url: str, sealer: object) -> None:
    front_door = open_front_door(postgres_url)
    async with front_door.transaction() as statements:
        ((pid,),) = await statements.fetch("SELECT pg_backend_pid()")
    admin = await asyncpg.connect(postgres_url)
    await admin.execute("SELECT pg_terminate_backend($1)", pid)
    await admin.close()

    async def works() -> bool:
        try:
            async with front_door.transaction() as statements:
                return bool(await statements.fetch("SELECT 1"))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False

    await wait_until_async(works, what="a transaction on a new connection")
    await front_door.close()


async def test_cut_connection_is_a_503_and_never_a_202(postgres: object, database: Database, project: CreatedProject) -> None:
    if database.dialect != "postgresql":
        pytest.skip("SQLite has no connection to cut")
    async with committing(database, project) as desk:
        await desk.stored()
        admin = await asyncpg.connect(database.url)
        accepted = 0
        for _ in range(10):
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            answers = await asyncio.gather(*(desk.say(desk.receipt()) for _ in range(5)), return_exceptions=True)
            assert {type(answer) for answer in answers} <= {Answer, Unavailable}
            accepted += sum(isinstance(answer, Answer) for answer in answers)
        rows = await admin.fetch("SELECT event_id FROM receipts")
        await admin.close()

    assert len(rows) == accepted + 1
