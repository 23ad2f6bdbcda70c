"""Group commit on SQLite and PostgreSQL:

each response, when it is sent, and what is stored by then.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from domain.errors import (
    Code,
    FieldError,
    IdempotencyConflict,
    NotFound,
    Refusal,
    TooManyFields,
    Unavailable,
    ValidationFailed,
)
from domain.ids import ProjectId
from domain.projects import CreatedProject
from domain.receipts import NewReceipt
from domain.results import NewResult
from domain.values.timestamps import to_unix_ms
from store.db.database import Clock, Database
from store.ingest.connection import IngestConnection, open_ingest_connection
from store.ingest.group_commit import QUEUE_LIMIT, Committer
from store.ingest.requests import IngestRequest, PreRejected, StoredResponse
from tests.support.fakes import HeldFrontDoor, WatchedFrontDoor
from tests.support.given import new_receipt, new_result
from tests.support.waiting import wait_until_async


class Desk:
    """Sends requests to a committer as the API does. Keys are new unless they are given."""

    def __init__(self, project: CreatedProject, committer: Committer) -> None:
        self.project_id = project.project.id
        self.committer = committer
        self._keys = 0

    def request(
        self, value: NewReceipt | NewResult | PreRejected, key: str | None = None, body: str = ""
    ) -> IngestRequest:
        self._keys += 1
        endpoint = "result" if isinstance(value, NewResult) else "receipt"
        fingerprint = hashlib.sha256((body or repr(value)).encode()).hexdigest()
        return IngestRequest(
            self.project_id, endpoint, key or f"key {self._keys}", fingerprint, value, rendered
        )

    async def say(
        self, value: NewReceipt | NewResult | PreRejected, key: str | None = None, body: str = ""
    ) -> StoredResponse:
        return await self.committer.accept(self.request(value, key, body))

    def receipt(self, **changes: Any) -> NewReceipt:
        return new_receipt(self.project_id, **changes)

    async def stored(self, **changes: Any) -> str:
        return told(await self.say(self.receipt(**changes)))["event_id"]


def rendered(refusal: Refusal) -> bytes:
    return json.dumps({"code": refusal.code.value}).encode()


def told(answer: StoredResponse) -> dict[str, Any]:
    return dict(json.loads(answer.body))


async def count(database: Database, table: str, where: str = "1 = 1") -> int:
    async with database.reading() as session:
        return int(
            (
                await session.execute(text(f"SELECT count(*) FROM {table} WHERE {where}"))
            ).scalar_one()
        )


@asynccontextmanager
async def committing(
    database: Database,
    project: CreatedProject,
    wrap: Callable[[IngestConnection], IngestConnection] = lambda real: real,
) -> AsyncIterator[Desk]:
    committer = Committer(wrap(open_ingest_connection(database.url)), database.clock)
    await committer.start()
    yield Desk(project, committer)
    await committer.stop()


@pytest.fixture
async def desk(database: Database, project: CreatedProject) -> AsyncIterator[Desk]:
    async with committing(database, project) as desk:
        yield desk


async def test_receipt_is_stored_with_its_deadline_and_a_start_for_temporal(
    desk: Desk, database: Database
) -> None:
    answer = await desk.say(desk.receipt(timeout_minutes=0.5, internal_reference="order 7"))

    body = told(answer)
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


async def test_equal_body_under_the_same_key_gets_the_stored_response(
    desk: Desk, database: Database
) -> None:
    receipt = desk.receipt()
    first = await desk.say(receipt, "same")

    again = await desk.say(receipt, "same")

    assert again == replace(first, is_replayed=True)
    assert await count(database, "receipts") == await count(database, "outbox") == 1


async def test_other_body_under_the_same_key_conflicts(desk: Desk, database: Database) -> None:
    await desk.say(desk.receipt(), "same")

    with pytest.raises(IdempotencyConflict):
        await desk.say(desk.receipt(), "same")

    assert await count(database, "receipts") == 1


async def test_keys_are_separate_for_each_endpoint(desk: Desk) -> None:
    event_id = told(await desk.say(desk.receipt(), "same"))["event_id"]

    answer = await desk.say(new_result(desk.project_id, event_id), "same")

    assert told(answer) == {"accepted": True, "event_id": event_id, "state": "applied"}


async def test_stored_response_is_kept_for_24_hours(desk: Desk, database: Database) -> None:
    first = desk.receipt()
    await desk.say(first, "same")
    database.clock.skew += timedelta(hours=23, minutes=59)
    assert (await desk.say(first, "same")).is_replayed

    database.clock.skew += timedelta(minutes=2)
    other = await desk.say(desk.receipt(), "same")

    assert (other.status, other.is_replayed) == (202, False)
    assert await count(database, "receipts") == 2


async def test_same_identity_and_facts_under_a_new_key_is_the_first_receipt(
    desk: Desk, database: Database
) -> None:
    receipt = desk.receipt(timeout_minutes=30.0)
    first = await desk.say(receipt)

    again = await desk.say(
        replace(receipt, timeout_minutes=5.0, occurred_at=receipt.occurred_at + timedelta(days=1)),
        "new",
    )

    assert (again.status, again.body, again.is_replayed) == (202, first.body, False)
    assert await count(database, "receipts") == await count(database, "outbox") == 1


@pytest.mark.parametrize(
    "changed", [{"internal_reference": "other"}, {"event_type": "charge.refunded"}], ids=str
)
async def test_same_identity_with_other_facts_conflicts_and_the_conflict_is_stored(
    desk: Desk, database: Database, changed: dict[str, Any]
) -> None:
    receipt = desk.receipt()
    await desk.say(receipt)
    other = replace(
        receipt, **{name: type(getattr(receipt, name))(value) for name, value in changed.items()}
    )

    answer = await desk.say(other, "new")

    assert (answer.status, told(answer)) == (409, {"code": "receipt_conflict"})
    assert await desk.say(other, "new") == replace(answer, is_replayed=True)
    assert await count(database, "receipts") == 1


async def test_response_to_a_result_has_the_state_after_it(desk: Desk) -> None:
    event_id = await desk.stored()

    failed = await desk.say(new_result(desk.project_id, event_id, "failed", error_code="died"))
    success = await desk.say(new_result(desk.project_id, event_id))

    assert [told(answer)["state"] for answer in (failed, success)] == ["incident", "recovered"]


async def test_receipt_is_processed_before_its_result_in_one_batch(desk: Desk) -> None:
    receipt = desk.receipt()
    result = new_result(desk.project_id, provider_event_id=receipt.provider_event_id)

    answers = await asyncio.gather(desk.say(result), desk.say(receipt))

    assert told(answers[0])["state"] == "applied"


async def test_refusals_that_are_not_stored_leave_the_key_free(
    desk: Desk, database: Database
) -> None:
    receipt = desk.receipt()
    result = new_result(desk.project_id, provider_event_id=receipt.provider_event_id)
    with pytest.raises(NotFound):
        await desk.say(result, "result key")
    with pytest.raises(TooManyFields):
        await desk.say(PreRejected(TooManyFields(), 413, is_stored=False), "receipt key")
    assert await count(database, "idempotency") == 0

    await desk.say(receipt, "receipt key")
    answer = await desk.say(result, "result key")

    assert (answer.status, answer.is_replayed) == (202, False)


async def test_validation_refusal_is_stored_and_the_stored_response_comes_first(
    desk: Desk, database: Database
) -> None:
    invalid = ValidationFailed(errors=(FieldError("/provider", "missing", "Is required."),))
    refusal = await desk.say(PreRejected(invalid, 422, is_stored=True), "invalid", body="{")
    accepted = await desk.say(desk.receipt(), "valid", body="{}")

    assert (refusal.status, told(refusal)) == (422, {"code": Code.VALIDATION_ERROR})
    assert await desk.say(
        PreRejected(invalid, 422, is_stored=True), "invalid", body="{"
    ) == replace(refusal, is_replayed=True)
    assert await desk.say(PreRejected(invalid, 422, is_stored=True), "valid", body="{}") == replace(
        accepted, is_replayed=True
    )
    with pytest.raises(IdempotencyConflict):
        await desk.say(PreRejected(invalid, 422, is_stored=True), "valid", body="{")
    assert await count(database, "receipts") == 1


async def test_ambiguous_result_is_a_stored_refusal(desk: Desk) -> None:
    receipt = desk.receipt()
    await desk.stored(provider_event_id=receipt.provider_event_id)
    other = replace(receipt, effect_type=type(receipt.effect_type)("seat_update"))
    await desk.say(other)

    result = new_result(desk.project_id, provider_event_id=receipt.provider_event_id)
    answers = [await desk.say(result, "same") for _ in range(2)]

    assert [(answer.status, answer.is_replayed) for answer in answers] == [
        (422, False),
        (422, True),
    ]


async def test_fifty_equal_requests_at_once_get_the_response_of_the_first(
    desk: Desk, database: Database
) -> None:
    receipt = desk.receipt()

    answers = await asyncio.gather(*(desk.say(receipt, "same") for _ in range(50)))

    assert {answer.body for answer in answers} == {answers[0].body}
    assert [answer.is_replayed for answer in answers].count(False) == 1
    assert await count(database, "receipts") == await count(database, "outbox") == 1


async def test_requests_that_wait_together_are_committed_together(
    database: Database, project: CreatedProject
) -> None:
    watched: list[WatchedFrontDoor] = []

    def watch(real: IngestConnection) -> IngestConnection:
        watched.append(WatchedFrontDoor(real))
        return watched[0]

    async with committing(database, project, watch) as desk:
        answers = await asyncio.gather(*(desk.say(desk.receipt()) for _ in range(500)))

    assert (
        len({told(answer)["event_id"] for answer in answers})
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
    held: list[HeldFrontDoor] = []

    def hold(real: IngestConnection) -> IngestConnection:
        held.append(HeldFrontDoor(real))
        return held[0]

    async with committing(database, project, hold) as desk:
        asked = [asyncio.create_task(desk.say(desk.receipt())) for _ in range(3)]
        await held[0].has_worked.wait()

        assert not any(task.done() for task in asked)
        assert await count(database, "receipts") == 0

        held[0].let_go.set()
        answers = await asyncio.gather(*asked)
        assert {answer.status for answer in answers} == {202}
    assert await count(database, "receipts") == 3


async def test_failed_commit_is_unavailable_and_stores_nothing(
    database: Database, project: CreatedProject
) -> None:
    async with committing(
        database, project, lambda real: WatchedFrontDoor(real, OSError("disk gone"))
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
    front_door = HeldFrontDoor(open_ingest_connection(sqlite_url))
    committer = Committer(front_door, Clock())
    await committer.start()
    refused = PreRejected(TooManyFields(), 413, is_stored=False)

    def ask(key: str) -> asyncio.Task[StoredResponse]:
        request = IngestRequest(
            ProjectId("prj_1"), "receipt", key, "fingerprint", refused, rendered
        )
        return asyncio.create_task(committer.accept(request))

    first = ask("first")
    await front_door.has_worked.wait()
    waiting = [ask(f"key {number}") for number in range(QUEUE_LIMIT)]
    await asyncio.sleep(0)
    beyond = ask("beyond")
    with pytest.raises(Unavailable):
        await beyond

    front_door.let_go.set()
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


async def test_receipt_of_a_disconnected_caller_is_stored_with_its_key(
    desk: Desk, database: Database
) -> None:
    receipt = desk.receipt()
    asked = asyncio.create_task(desk.say(receipt, "same"))
    await asyncio.sleep(0)
    asked.cancel()

    answer = await desk.say(receipt, "same")

    await wait_until_async(
        lambda: count(database, "receipts"), what="the receipt of the caller that hung up"
    )
    assert (answer.status, answer.is_replayed) == (202, True)


async def test_key_of_a_disconnected_caller_is_in_flight_until_its_commit(
    database: Database, project: CreatedProject
) -> None:
    held: list[HeldFrontDoor] = []

    def hold(real: IngestConnection) -> IngestConnection:
        held.append(HeldFrontDoor(real))
        return held[0]

    async with committing(database, project, hold) as desk:
        receipt = desk.receipt()
        asked = asyncio.create_task(desk.say(receipt, "same"))
        await held[0].has_worked.wait()
        asked.cancel()
        again = asyncio.create_task(desk.say(receipt, "same"))

        with pytest.raises(IdempotencyConflict):
            await asyncio.wait_for(desk.say(desk.receipt(), "same"), 2)

        held[0].let_go.set()
        answer = await again
    assert (answer.status, answer.is_replayed) == (202, True)


async def test_key_without_a_response_is_free_for_a_refusal(desk: Desk, database: Database) -> None:
    invalid = ValidationFailed(errors=(FieldError("/provider", "missing", "Is required."),))
    refused = desk.request(PreRejected(invalid, 422, is_stored=True), "left", body="{")
    async with database.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO idempotency (project_id, endpoint, key, fingerprint, status, subject,"
                " created_at) VALUES (:project_id, 'receipt', 'left', :fingerprint, 202,"
                " 'evt_of_nobody', :at)"
            ),
            {
                "project_id": desk.project_id,
                "fingerprint": refused.fingerprint,
                "at": to_unix_ms(await database.now(session)),
            },
        )

    answers = [await desk.committer.accept(refused) for _ in range(2)]

    assert [(answer.status, answer.is_replayed) for answer in answers] == [
        (422, False),
        (422, True),
    ]
