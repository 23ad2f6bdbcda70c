"""Idempotency keys on SQLite and PostgreSQL: which responses are stored and replayed."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from domain.errors import (
    Code,
    FieldError,
    IdempotencyConflict,
    NotFound,
    TooManyFields,
    ValidationFailed,
)
from domain.projects import CreatedProject
from domain.values.timestamps import to_unix_ms
from store.db.database import Database
from store.ingest.connection import IngestConnection
from store.ingest.requests import PreRejected
from tests.store.ingest.desk import Desk, body_of, committing, count
from tests.support.fakes import PausedConnection
from tests.support.given import new_result
from tests.support.waiting import wait_until_async


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
    event_id = body_of(await desk.say(desk.receipt(), "same"))["event_id"]

    answer = await desk.say(new_result(desk.project_id, event_id), "same")

    assert body_of(answer) == {"accepted": True, "event_id": event_id, "state": "applied"}


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

    assert (answer.status, body_of(answer)) == (409, {"code": "receipt_conflict"})
    assert await desk.say(other, "new") == replace(answer, is_replayed=True)
    assert await count(database, "receipts") == 1


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

    assert (refusal.status, body_of(refusal)) == (422, {"code": Code.VALIDATION_ERROR})
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
    held: list[PausedConnection] = []

    def hold(real: IngestConnection) -> IngestConnection:
        held.append(PausedConnection(real))
        return held[0]

    async with committing(database, project, hold) as desk:
        receipt = desk.receipt()
        asked = asyncio.create_task(desk.say(receipt, "same"))
        await held[0].has_worked.wait()
        asked.cancel()
        again = asyncio.create_task(desk.say(receipt, "same"))

        with pytest.raises(IdempotencyConflict):
            await asyncio.wait_for(desk.say(desk.receipt(), "same"), 2)

        held[0].release.set()
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
