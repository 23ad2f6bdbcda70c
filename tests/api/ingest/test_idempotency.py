"""Idempotency: the response to a repeated request, and which responses are stored."""

import asyncio
import json
import sqlite3

import pytest
from sqlalchemy import text

from domain.projects import CreatedProject
from store.db.database import Database, sqlite_path
from tests.api.serving import Caller, receipt


async def rows(database: Database, table: str) -> int:
    async with database.reading() as session:
        return int(await session.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


async def test_repeat_gets_the_stored_answer(caller: Caller) -> None:
    body = receipt()

    first = await caller.send("receipt", body, key="once")
    again = await caller.send("receipt", body, key="once")

    assert first.status_code == again.status_code == 202
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.content == first.content
    assert again.headers["Request-Id"] != first.headers["Request-Id"]


async def test_same_bytes_decide_not_the_same_json(caller: Caller) -> None:
    body = json.dumps(receipt())
    await caller.send("receipt", body.encode(), key="once")

    answer = await caller.send("receipt", (body + " ").encode(), key="once")

    assert answer.json()["code"] == "idempotency_conflict"


async def test_both_addresses_of_an_endpoint_share_their_keys(caller: Caller) -> None:
    body = json.dumps(receipt()).encode()
    first = await caller.send("receipt", body, key="once")
    headers = {**first.request.headers}

    short = await caller.client.post("/v1/receipt", content=body, headers=headers)

    assert short.headers["Idempotent-Replayed"] == "true"


async def test_keys_belong_to_their_endpoint_and_project(
    caller: Caller, live_project: CreatedProject
) -> None:
    body = receipt()
    event_id = (await caller.send("receipt", body, key="shared")).json()["event_id"]

    result = await caller.send("result", {"event_id": event_id, "status": "success"}, key="shared")
    other = await caller.with_key(live_project.api_key).send("receipt", body, key="shared")

    assert result.json()["state"] == "applied"
    assert other.status_code == 202
    assert other.json()["event_id"] != event_id


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"a":1,"a":2}',
        b'{"a":"\\ud800"}',
        b"[" * 5_000,
        b'{"a":' + b"9" * 5_000 + b"}",
        b'{"provider":"x"}',
        b"",
    ],
    ids=["cut", "array", "repeated", "surrogate", "deep", "huge", "shape", "empty"],
)
async def test_refusal_of_the_body_is_stored(caller: Caller, body: bytes) -> None:
    first = await caller.send("receipt", body, key="wrong")
    again = await caller.send("receipt", body, key="wrong")
    corrected = await caller.send("receipt", receipt(), key="wrong")

    assert first.status_code == again.status_code == 422
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()
    assert corrected.json()["code"] == "idempotency_conflict"


async def test_receipt_conflict_is_stored(caller: Caller) -> None:
    first = receipt()
    await caller.send("receipt", first)
    other = {**first, "internal_reference": "another"}

    refused = await caller.send("receipt", other, key="conflicting")
    again = await caller.send("receipt", other, key="conflicting")

    assert refused.status_code == again.status_code == 409
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_unknown_event_and_too_many_fields_are_not_stored(caller: Caller) -> None:
    stripe_event_id = "evt_stripe_later"
    result = {"stripe_event_id": stripe_event_id, "status": "success"}
    early = await caller.send("result", result, key="early")
    many = await caller.send("receipt", {f"field_{number}": 0 for number in range(51)}, key="many")
    await caller.accept(provider_event_id=stripe_event_id)

    late = await caller.send("result", result, key="early")
    few = await caller.send("receipt", receipt(), key="many")

    assert (early.status_code, many.status_code) == (404, 413)
    assert (late.status_code, few.status_code) == (202, 202)


async def test_stored_answer_comes_before_what_is_wrong_with_the_body(caller: Caller) -> None:
    await caller.send("receipt", receipt(), key="taken")

    answer = await caller.send("receipt", b"no json at all", key="taken")

    assert answer.json()["code"] == "idempotency_conflict"


async def test_fifty_equal_concurrent_receipts_are_one(caller: Caller, database: Database) -> None:
    body = receipt()

    answers = await asyncio.gather(*(caller.send("receipt", body, key="rush") for _ in range(50)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert await rows(database, "receipts") == 1
    assert await rows(database, "outbox") == 1


async def test_fifty_concurrent_receipts_of_one_event_under_different_keys_are_one(
    caller: Caller, database: Database
) -> None:
    body = receipt()

    answers = await asyncio.gather(*(caller.send("receipt", body) for _ in range(50)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert await rows(database, "receipts") == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_equal_request_waits_five_seconds_at_most(caller: Caller, database: Database) -> None:
    body = receipt()
    await caller.accept()
    other_writer = sqlite3.connect(sqlite_path(database.url), isolation_level=None)
    other_writer.execute("BEGIN IMMEDIATE")  # blocks the first one
    first = asyncio.create_task(caller.send("receipt", body, key="slow"))
    await asyncio.sleep(0)
    try:
        answers = await asyncio.gather(
            *(caller.send("receipt", body, key="slow") for _ in range(2))
        )
    finally:
        other_writer.execute("ROLLBACK")
        other_writer.close()

    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {
        "idempotency_in_progress"
    }
    assert all(
        answer.headers["Retry-After"] == "1" for answer in answers if answer.status_code == 409
    )
    assert (await first).status_code in (202, 409)
    assert (await caller.send("receipt", body, key="slow")).status_code == 202


async def test_keys_of_every_printable_kind_are_taken(caller: Caller) -> None:
    for key in ("a", "x" * 255, "order 1042/receipt", '{"json": true}', "schlüssel".encode()):
        answer = await caller.send("receipt", receipt(), headers={"Idempotency-Key": key})
        assert answer.status_code == 202, key
    for key in ("x" * 256, "", "tab\there"):
        refused = await caller.send("receipt", receipt(), headers={"Idempotency-Key": key})
        assert refused.json()["code"] == "missing_idempotency_key", key
