"""One tenant's searches, or a locked table, do not slow down anybody else."""

import asyncio
import time
from collections import Counter

import asyncpg
import httpx
import pytest
from sqlalchemy import Engine, event, text

from api.app import create_app
from domain.ids import EventId
from domain.projects import CreatedProject
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.receipts.queries import read_event
from store.status.heartbeats import read_heartbeats
from tests.api.health.test_routes import ALIVE, say_alive
from tests.api.serving import Caller, parts_on, receipt, serving
from tests.store.slowness import slow_searches

SEARCHES = 30
ROWS = 30  # searching each one takes 0.2 s
# Far above the normal time, and far below the time when they waited behind searches.
SOON_SECONDS = 1.5


async def timed(asked: "asyncio.Future[httpx.Response] | object") -> tuple[float, httpx.Response]:
    began = time.monotonic()
    answer = await asked  # type: ignore[misc]  # a coroutine of httpx
    return time.monotonic() - began, answer


async def test_thirty_searches_of_one_key_slow_down_nobody_else(
    database: Database, sealer: Sealer, project: CreatedProject, live_project: CreatedProject
) -> None:
    with slow_searches(database.url):
        async with serving(create_app(parts_on(database, sealer))) as client:
            greedy, other = Caller(client, project.api_key), Caller(client, live_project.api_key)
            waiting, *_ = [await greedy.accept() for _ in range(ROWS)]
            await say_alive(database, **ALIVE)
            searches = [
                asyncio.create_task(greedy.ask("GET", "/events?q=nothing")) for _ in range(SEARCHES)
            ]
            await asyncio.sleep(0.3)  # until they are running
            assert not any(search.done() for search in searches)

            took: dict[str, float] = {}
            for round_number in range(3):
                calls = {
                    "readiness": client.get("/readyz"),
                    "metrics": client.get("/metrics"),
                    "another project's list": other.ask("GET", "/events"),
                    "another project's receipt": other.send("receipt", receipt(timeout_minutes=30)),
                    "its own receipt": greedy.send("receipt", receipt()),
                    "its own event": greedy.ask("GET", f"/events/{waiting}"),
                }
                for name, call in calls.items():
                    seconds, answer = await timed(call)
                    assert answer.status_code in (200, 202), (name, answer.text)
                    took[f"{name} {round_number}"] = seconds
            event_id = await other.accept()
            seconds, _ = await timed(other.incident_of(event_id))
            took["an incident"] = seconds
            async with database.watching() as session:
                heartbeats = await read_heartbeats(session, await database.now(session))
            answers = await asyncio.gather(*searches)

    assert {name: seconds for name, seconds in took.items() if seconds > SOON_SECONDS} == {}
    assert max(heartbeat.age_seconds for heartbeat in heartbeats if heartbeat.role == "api") < 5
    answered = Counter((answer.status_code, answer.json()["code"]) for answer in answers)
    assert set(answered) == {(503, "unavailable"), (429, "rate_limited")}
    for answer in answers:
        assert int(answer.headers["Retry-After"]) >= 1
        expected = (
            "longer than 2 s: narrow it"
            if answer.status_code == 503
            else "2 lists or searches are running already"
        )
        assert expected in answer.json()["detail"]
    async with database.reading() as session:
        found = await read_event(session, None, EventId(waiting))
    assert found is not None
    assert "deadline_credited" not in [entry.kind.value for entry in found.timeline]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_table_that_is_locked_costs_readiness_and_metrics_nothing_but_what_is_read_of_it(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    del project
    async with serving(create_app(parts_on(database, sealer))) as client:
        await say_alive(database, **ALIVE)
        connection = await asyncpg.connect(database.url)
        async with connection.transaction():
            await connection.execute("LOCK TABLE receipts IN ACCESS EXCLUSIVE MODE")
            metrics = asyncio.create_task(timed(client.get("/metrics")))
            seconds, ready = await timed(client.get("/readyz"))
            metrics_seconds, page = await metrics
        await connection.close()

    assert ready.status_code == 200
    assert seconds < SOON_SECONDS
    assert (page.status_code, metrics_seconds < 7) == (200, True)
    assert "makegood_store_up 1.0" in page.text
    assert "makegood_alerts_unsent 0.0" in page.text
    assert "makegood_receipts_waiting" not in page.text
    assert "makegood_figures_left_out 2.0" in page.text


async def test_many_who_ask_for_readiness_and_metrics_share_one_answer(
    database: Database, sealer: Sealer
) -> None:
    statements: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    async with serving(create_app(parts_on(database, sealer))) as client:
        await say_alive(database, **ALIVE)
        event.listen(Engine, "before_cursor_execute", note)
        try:
            answers = await asyncio.gather(
                *(client.get(path) for path in ("/readyz", "/metrics") for _ in range(40))
            )
        finally:
            event.remove(Engine, "before_cursor_execute", note)

    assert {answer.status_code for answer in answers} == {200}
    # Requests after the first response started another run.
    assert 1 <= sum("alembic_version" in statement for statement in statements) <= 10
    assert 1 <= sum("attempts" in statement for statement in statements) <= 10


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_readiness_names_what_makes_commits_less_than_durable(
    database: Database, sealer: Sealer
) -> None:
    async with database.reading() as session:
        assert await session.scalar(text("SHOW fsync")) == "off"
    async with serving(create_app(parts_on(database, sealer))) as client:
        detail = (await client.get("/readyz")).json()["checks"]["store"]["detail"]

    assert detail.startswith("It answers, and can be written.")
    assert "fsync is off (set by: command line)" in detail
    assert "synchronous_commit is off" in detail
