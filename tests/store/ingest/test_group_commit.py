"""Group commit on SQLite and PostgreSQL: when each response is sent, and what is stored by then."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from domain.errors import (
    NotFound,
    Refusal,
    TooManyFields,
    Unavailable,
)
from domain.ids import ProjectId
from domain.projects import CreatedProject
from store.db.database import Clock, Database
from store.ingest.connection import IngestConnection, open_ingest_connection
from store.ingest.group_commit import QUEUE_LIMIT, Committer
from store.ingest.requests import IngestRequest, PreRejected, StoredResponse
from tests.store.ingest.desk import Desk, body_of, committing, count, rendered
from tests.support.fakes import CountingConnection, PausedConnection
from tests.support.given import new_receipt, new_result


async def test_receipt_is_stored_with_its_deadline_and_a_start_for_temporal(
    desk: Desk, database: Database
) -> None:
    answer = await desk.say(desk.receipt(timeout_minutes=0.5, internal_reference="order 7"))

    body = body_of(answer)
    async with database.reading() as session:
        row = (await session.execute(text("SELECT * FROM receipts"))).mappings().one()
        outbox = (await session.execute(text("SELECT event_id, kind, fields FROM outbox"))).all()
    assert (answer.status, answer.is_replayed, body["accepted"]) == (202, False, True)
    assert (row["event_id"], row["state"], row["internal_reference"]) == (
        body["event_id"],
        "waiting",
        "order 7",
    )
    assert row["timeout_at"] == row["deadline_at"] == row["accepted_at"] + 30_000
    assert [tuple(each) for each in outbox] == [(body["event_id"], "start", "{}")]


async def test_response_to_a_result_has_the_state_after_it(desk: Desk) -> None:
    event_id = await desk.stored()

    failed = await desk.say(new_result(desk.project_id, event_id, "failed", error_code="died"))
    success = await desk.say(new_result(desk.project_id, event_id))

    assert [body_of(answer)["state"] for answer in (failed, success)] == ["incident", "recovered"]


async def test_receipt_is_processed_before_its_result_in_one_batch(desk: Desk) -> None:
    receipt = desk.receipt()
    result = new_result(desk.project_id, provider_event_id=receipt.provider_event_id)

    answers = await asyncio.gather(desk.say(result), desk.say(receipt))

    assert body_of(answers[0])["state"] == "applied"


async def test_requests_that_wait_together_are_committed_together(
    database: Database, project: CreatedProject
) -> None:
    watched: list[CountingConnection] = []

    def watch(real: IngestConnection) -> IngestConnection:
        watched.append(CountingConnection(real))
        return watched[0]

    async with committing(database, project, watch) as desk:
        answers = await asyncio.gather(*(desk.say(desk.receipt()) for _ in range(500)))

    assert (
        len({body_of(answer)["event_id"] for answer in answers})
        == await count(database, "receipts")
        == 500
    )
    assert watched[0].commits <= 5


async def test_bad_item_fails_alone(desk: Desk, database: Database) -> None:
    bad = desk.receipt(internal_reference="a lone surrogate \ud800")
    event_id = await desk.stored()
    said = [
        desk.receipt(),
        bad,
        desk.receipt(),
        new_result(desk.project_id, event_id),
        new_result(desk.project_id, "evt_no"),
    ]

    answers = await asyncio.gather(*(desk.say(value) for value in said), return_exceptions=True)

    failed = answers.pop(1)
    assert [type(answer) for answer in answers] == [
        StoredResponse,
        StoredResponse,
        StoredResponse,
        NotFound,
    ]
    assert isinstance(failed, Exception)
    assert not isinstance(failed, Refusal)
    assert await count(database, "receipts") == 3


async def test_no_response_before_the_commit(database: Database, project: CreatedProject) -> None:
    held: list[PausedConnection] = []

    def hold(real: IngestConnection) -> IngestConnection:
        held.append(PausedConnection(real))
        return held[0]

    async with committing(database, project, hold) as desk:
        asked = [asyncio.create_task(desk.say(desk.receipt())) for _ in range(3)]
        await held[0].has_worked.wait()

        assert not any(task.done() for task in asked)
        assert await count(database, "receipts") == 0

        held[0].release.set()
        answers = await asyncio.gather(*asked)
        assert {answer.status for answer in answers} == {202}
    assert await count(database, "receipts") == 3


async def test_failed_commit_is_unavailable_and_stores_nothing(
    database: Database, project: CreatedProject
) -> None:
    async with committing(
        database, project, lambda real: CountingConnection(real, OSError("disk gone"))
    ) as desk:
        answers = await asyncio.gather(
            *(desk.say(desk.receipt(), f"k{n}") for n in range(3)), return_exceptions=True
        )

        assert [type(answer) for answer in answers] == [Unavailable] * 3
        assert {
            answer.retry_after_seconds for answer in answers if isinstance(answer, Unavailable)
        } == {1}
        assert await count(database, "receipts") == await count(database, "idempotency") == 0
        assert (await desk.say(desk.receipt(), "k0")).status == 202


@pytest.mark.parametrize("url", ["sqlite", "postgresql"])
async def test_missing_store_is_unavailable(url: str, tmp_path: Path) -> None:
    project_id = ProjectId("prj_1")
    url = (
        f"sqlite:///{tmp_path / 'no such directory' / 'x.db'}"
        if url == "sqlite"
        else "postgresql://nobody@127.0.0.1:1/none"
    )
    committer = Committer(open_ingest_connection(url), Clock())
    await committer.start()

    with pytest.raises(Unavailable):
        await committer.accept(
            IngestRequest(
                project_id, "receipt", "key", "fingerprint", new_receipt(project_id), rendered
            )
        )

    await committer.stop()


async def test_queue_is_bounded(sqlite_url: str) -> None:
    ingest_connection = PausedConnection(open_ingest_connection(sqlite_url))
    committer = Committer(ingest_connection, Clock())
    await committer.start()
    refused = PreRejected(TooManyFields(), 413, is_stored=False)

    def ask(key: str) -> asyncio.Task[StoredResponse]:
        request = IngestRequest(
            ProjectId("prj_1"), "receipt", key, "fingerprint", refused, rendered
        )
        return asyncio.create_task(committer.accept(request))

    first = ask("first")
    await ingest_connection.has_worked.wait()
    waiting = [ask(f"key {number}") for number in range(QUEUE_LIMIT)]
    await asyncio.sleep(0)
    beyond = ask("beyond")
    with pytest.raises(Unavailable):
        await beyond

    ingest_connection.release.set()
    answers = await asyncio.gather(first, *waiting, return_exceptions=True)
    await committer.stop()
    assert {type(answer) for answer in answers} == {TooManyFields}


async def test_stop_commits_pending_requests_and_accepts_no_new_ones(
    database: Database, project: CreatedProject
) -> None:
    async with committing(database, project) as desk:
        asked = [asyncio.create_task(desk.say(desk.receipt())) for _ in range(20)]
        await asyncio.sleep(0)

    assert {(await task).status for task in asked} == {202}
    with pytest.raises(Unavailable):
        await desk.say(desk.receipt())
    assert await count(database, "receipts") == 20
