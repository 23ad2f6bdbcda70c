"""A store that is read-only for a while: 503 and failed readiness, then 202 and ready, in the same
process.
"""

import sqlite3

import httpx
import pytest

from api.app import create_app
from domain.projects import CreatedProject
from store.crypto.encryption import Sealer
from store.db.database import Database, sqlite_path
from tests.api.health.test_routes import ALIVE, say_alive
from tests.api.serving import Caller, parts_on, receipt, serving
from tests.store.db.test_failover import read_only
from tests.support.postgres import Postgres
from tests.support.waiting import wait_until_async


async def status_of_a_receipt(caller: Caller) -> int:
    answer = await caller.send("receipt", receipt())
    if answer.status_code == 503:
        assert answer.json()["code"] == "unavailable"
        assert int(answer.headers["Retry-After"]) >= 1
    return answer.status_code


async def store_is(client: httpx.AsyncClient) -> str:
    return str((await client.get("/readyz")).json()["checks"]["store"]["status"])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_receipts_are_refused_and_readiness_is_red_while_postgresql_is_read_only(
    database: Database, sealer: Sealer, project: CreatedProject, postgres: Postgres
) -> None:
    async with serving(create_app(parts_on(database, sealer))) as client:
        caller, seen = Caller(client, project.api_key), set[int]()
        await say_alive(database, **ALIVE)
        event_id = await caller.accept()
        assert (await client.get("/readyz")).status_code == 200

        async with read_only(postgres, for_all_sessions=True, name=database.url.rpartition("/")[2]):

            async def is_refused() -> bool:
                seen.add(await status_of_a_receipt(caller))
                return await store_is(client) == "failed" and 503 in seen

            await wait_until_async(is_refused, what="receipts are refused and readiness is red")
            assert (await client.get("/readyz")).status_code == 503
            assert (await caller.ask("GET", f"/events/{event_id}")).status_code == 200
            act = await caller.ask("PATCH", "/project", json={"name": "another"})
            assert (act.status_code, act.json()["code"]) == (503, "unavailable")
            assert "Retry-After" in act.headers

        async def is_accepted() -> bool:
            seen.add(status := await status_of_a_receipt(caller))
            return status == 202 and await store_is(client) == "ok"

        await wait_until_async(is_accepted, what="receipts are accepted and readiness is green")

    assert seen == {202, 503}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_receipts_are_refused_and_readiness_is_red_while_the_file_is_elsewhere(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    path = sqlite_path(database.url)
    async with serving(create_app(parts_on(database, sealer))) as client:
        caller = Caller(client, project.api_key)
        await say_alive(database, **ALIVE)
        before = await status_of_a_receipt(caller), await store_is(client)

        path.rename(path.with_name("away.db"))
        during = await status_of_a_receipt(caller), await store_is(client)
        path.with_name("away.db").rename(path)
        after = await status_of_a_receipt(caller), await store_is(client)

    assert (before, during, after) == ((202, "ok"), (503, "failed"), (202, "ok"))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_readiness_is_red_while_another_process_keeps_the_writers_place(
    database: Database, sealer: Sealer
) -> None:
    other = sqlite3.connect(sqlite_path(database.url), isolation_level=None)
    async with serving(create_app(parts_on(database, sealer))) as client:
        await say_alive(database, **ALIVE)
        other.execute("BEGIN IMMEDIATE")

        async def is_red() -> bool:
            return await store_is(client) == "failed"

        await wait_until_async(is_red, seconds=30, what="no heartbeat was written for a while")
        other.execute("COMMIT")

        async def is_green() -> bool:
            return await store_is(client) == "ok"

        await wait_until_async(is_green, seconds=30, what="heartbeats are written again")
    other.close()
