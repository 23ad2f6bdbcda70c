"""What the front door says on PostgreSQL when another process holds what it needs: an equal request, or somebody stuck."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

import store.front_door
from domain.errors import IdempotencyInProgress, Unavailable
from domain.projects import CreatedProject
from store.database import Database
from tests.given import new_result
from tests.store.test_committer import Desk, committing

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
async def desk(database: Database, project: CreatedProject, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(store.front_door, "LOCK_TIMEOUT", "100ms")
    async with committing(database, project) as desk:
        yield desk


@pytest.fixture
async def other(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A transaction of another process."""
    connection = await asyncpg.connect(database.url.replace("+asyncpg", ""))
    await connection.execute("BEGIN")
    yield connection
    await connection.close()


async def test_receipt_that_somebody_stuck_is_moving_is_unavailable(desk: Desk, other: asyncpg.Connection) -> None:
    event_id = await desk.stored()
    await other.execute("SELECT 1 FROM receipts FOR UPDATE")

    with pytest.raises(Unavailable):
        await desk.say(new_result(desk.project_id, event_id))

    await other.execute("ROLLBACK")
    await desk.say(new_result(desk.project_id, event_id))


async def test_key_that_an_equal_request_has_claimed_is_in_progress(desk: Desk, other: asyncpg.Connection) -> None:
    await other.execute(
        "INSERT INTO idempotency (project_id, endpoint, key, fingerprint, status, created_at) "
        "VALUES ($1, 'receipt', 'same', 'x', 0, 0)",
        desk.project_id,
    )

    with pytest.raises(IdempotencyInProgress):
        await desk.say(desk.receipt(), key="same")
