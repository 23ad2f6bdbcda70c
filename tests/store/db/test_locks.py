"""Ingest on PostgreSQL while another process holds a lock that it needs:

an equal request, or a stuck one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from typing import TypeVar

import asyncpg
import pytest

import store.ingest.connection
import store.ingest.group_commit
from domain.errors import IdempotencyInProgress, Unavailable
from domain.projects import CreatedProject
from store.db.database import Database
from store.ingest.requests import StoredResponse
from tests.store.ingest.desk import Desk, body_of, committing
from tests.support.given import new_result

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
async def desk(
    database: Database, project: CreatedProject, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    monkeypatch.setattr(store.ingest.connection, "LOCK_TIMEOUT", "100ms")
    async with committing(database, project) as desk:
        yield desk


@pytest.fixture
async def other(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A transaction of another process."""
    connection = await asyncpg.connect(database.url.replace("+asyncpg", ""))
    await connection.execute("BEGIN")
    yield connection
    await connection.close()


async def test_result_for_a_locked_receipt_is_unavailable(
    desk: Desk, other: asyncpg.Connection
) -> None:
    event_id = await desk.stored()
    await other.execute("SELECT 1 FROM receipts FOR UPDATE")

    with pytest.raises(Unavailable):
        await desk.say(new_result(desk.project_id, event_id))

    await other.execute("ROLLBACK")
    await desk.say(new_result(desk.project_id, event_id))


async def test_many_locked_receipts_cost_their_neighbours_one_wait(
    desk: Desk, other: asyncpg.Connection
) -> None:
    held = [await desk.stored() for _ in range(30)]
    free = await desk.stored()
    await other.execute("SELECT 1 FROM receipts WHERE event_id <> $1 FOR UPDATE", free)

    said = [desk.say(new_result(desk.project_id, event_id)) for event_id in held]  # type: ignore[arg-type]
    neighbours = [desk.say(new_result(desk.project_id, free)), desk.say(desk.receipt())]  # type: ignore[arg-type]
    answers, seconds = await timed(asyncio.gather(*said, *neighbours, return_exceptions=True))

    assert [type(answer) for answer in answers] == [Unavailable] * 30 + [StoredResponse] * 2
    assert seconds < 1.5, "singly, 200 ms each, it would be 6 s"


async def test_locked_receipt_is_waited_for_once_under_any_key_and_name(
    desk: Desk, other: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.ingest.group_commit, "SKIP_SECONDS", 0.0)
    kept = desk.receipt()
    event_id = body_of(await desk.say(kept))["event_id"]
    await other.execute("SELECT 1 FROM receipts FOR UPDATE")
    result = new_result(desk.project_id, event_id, provider_event_id=kept.provider_event_id)
    with pytest.raises(Unavailable):
        await desk.say(result, "first key")

    monkeypatch.setattr(store.ingest.connection, "LOCK_TIMEOUT", "5s")
    await desk.committer._connection.close()  # the next connection waits 5 s
    again = [desk.say(result, f"key {n}") for n in range(5)] + [
        desk.say(replace(result, event_id=None), "by another name")
    ]
    answers, seconds = await timed(
        asyncio.gather(*again, desk.say(desk.receipt()), return_exceptions=True)
    )

    assert [type(answer) for answer in answers] == [Unavailable] * 6 + [StoredResponse]
    assert seconds < 2
    await other.execute("ROLLBACK")
    assert body_of(await desk.say(result, "key 0"))["state"] == "applied"


async def test_lock_timeout_does_not_delay_neighbours_again_for_a_while(
    desk: Desk, other: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [await desk.stored() for _ in range(2)]
    await other.execute("SELECT 1 FROM receipts FOR UPDATE")
    with pytest.raises(Unavailable):
        await desk.say(new_result(desk.project_id, events[0]))  # type: ignore[arg-type]

    monkeypatch.setattr(store.ingest.connection, "LOCK_TIMEOUT", "5s")
    await desk.committer._connection.close()  # the next connection waits 5 s
    said = desk.say(new_result(desk.project_id, events[1])), desk.say(desk.receipt())  # type: ignore[arg-type]
    answers, seconds = await timed(asyncio.gather(*said, return_exceptions=True))

    assert [type(answer) for answer in answers] == [Unavailable, StoredResponse]
    assert seconds < 2


async def test_batch_waits_a_bounded_time_for_a_locked_table(
    desk: Desk, other: asyncpg.Connection
) -> None:
    events = [await desk.stored() for _ in range(60)]
    await other.execute("LOCK TABLE results IN SHARE MODE")

    said = [desk.say(new_result(desk.project_id, event_id)) for event_id in events]  # type: ignore[arg-type]
    answers, seconds = await timed(asyncio.gather(*said, return_exceptions=True))

    assert [type(answer) for answer in answers] == [Unavailable] * 60
    assert seconds < 3, "singly, 200 ms each, it would be 12 s"
    await other.execute("ROLLBACK")
    assert body_of(await desk.say(new_result(desk.project_id, events[0])))["state"] == "applied"  # type: ignore[arg-type]


async def test_server_time_limit_instead_of_ours_rejects_no_neighbour(
    database: Database, project: CreatedProject, other: asyncpg.Connection
) -> None:
    name = await other.fetchval("SELECT quote_ident(current_database())")
    await other.execute(f"COMMIT; ALTER DATABASE {name} SET statement_timeout = 300")
    try:
        async with committing(database, project) as desk:
            held, free = await desk.stored(), await desk.stored()
            await other.execute("BEGIN")
            await other.execute("SELECT 1 FROM receipts WHERE event_id = $1 FOR UPDATE", held)

            said = [
                new_result(desk.project_id, held),
                new_result(desk.project_id, free),
                desk.receipt(),
            ]  # type: ignore[arg-type]
            answers = await asyncio.gather(
                *(desk.say(value) for value in said), return_exceptions=True
            )
    finally:
        await other.execute(f"ROLLBACK; ALTER DATABASE {name} RESET statement_timeout")

    assert [type(answer) for answer in answers] == [Unavailable, StoredResponse, StoredResponse]


T = TypeVar("T")


async def timed(work: Awaitable[T]) -> tuple[T, float]:
    began = asyncio.get_running_loop().time()
    return await work, asyncio.get_running_loop().time() - began


async def test_key_claimed_by_an_equal_request_is_in_progress(
    desk: Desk, other: asyncpg.Connection
) -> None:
    await other.execute(
        "INSERT INTO idempotency (project_id, endpoint, key, fingerprint, status, created_at) "
        "VALUES ($1, 'receipt', 'same', 'x', 0, 0)",
        desk.project_id,
    )

    with pytest.raises(IdempotencyInProgress):
        await desk.say(desk.receipt(), key="same")
