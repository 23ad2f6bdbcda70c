"""A receipt and the event that a source expects, in either order and at the same moment."""

import asyncio
import random

import pytest

from domain.errors import ReceiptConflict
from domain.ids import EventId
from domain.projects import CreatedProject
from domain.receipts import NewReceipt
from store.db.database import Database
from store.db.sql import SessionStatements
from store.ingest.requests import StoredResponse
from store.receipts.deadlines import open_incident
from store.receipts.expected import PAYLOAD_DROPPED, expect_receipts
from tests.store.ingest.desk import Desk, body_of, committing, count
from tests.support.given import Story, expected_receipt, keep_incidents_apart, new_result

EVENTS = 60


def receipt_of(desk: Desk, number: int, **changes: object) -> NewReceipt:
    return desk.receipt(provider_event_id=f"evt_{number:03}", **changes)


async def see(database: Database, desk: Desk, numbers: list[int]) -> list[EventId]:
    """A source sees the events, in one transaction."""
    events = [
        expected_receipt(desk.project_id, provider_event_id=f"evt_{number:03}")
        for number in numbers
    ]
    async with database.transaction() as session:
        now = await database.now(session)
        return list(await expect_receipts(SessionStatements(session), events, now))


async def test_receipt_after_the_event_answers_with_the_id_of_the_event(
    database: Database, desk: Desk
) -> None:
    (event_id,) = await see(database, desk, [1])
    receipt = receipt_of(desk, 1, timeout_minutes=45.0)

    first = await desk.say(receipt, "key", "body")
    again = await desk.say(receipt, "key", "body")
    other = await desk.say(receipt)

    assert body_of(first)["event_id"] == event_id
    assert first.body == again.body == other.body
    assert (first.is_replayed, again.is_replayed) == (False, True)
    assert await count(database, "receipts", "state = 'waiting' AND NOT lacks_receipt") == 1
    assert await count(database, "outbox") == 1


async def test_receipt_with_other_facts_after_the_first_receipt_is_a_conflict(
    database: Database, desk: Desk
) -> None:
    await see(database, desk, [1])
    receipt = receipt_of(desk, 1, internal_reference="order of the app")
    await desk.say(receipt)

    conflict = await desk.say(receipt_of(desk, 1, internal_reference="another order"))

    assert (conflict.status, body_of(conflict)["code"]) == (409, ReceiptConflict.code.value)


async def test_payload_of_an_expected_receipt_is_dropped_and_noted(
    database: Database, desk: Desk
) -> None:
    await see(database, desk, [1])

    await desk.say(receipt_of(desk, 1, payload="{}"))

    assert await count(database, "receipts", "payload IS NOT NULL") == 0
    assert await count(database, "timeline", f"fields LIKE '%{PAYLOAD_DROPPED}%'") == 1


async def test_result_of_an_expected_event_in_one_batch_with_its_receipt(
    database: Database, desk: Desk
) -> None:
    (event_id,) = await see(database, desk, [1])

    answers = await asyncio.gather(
        desk.say(new_result(desk.project_id, provider_event_id="evt_001")),
        desk.say(receipt_of(desk, 1)),
    )

    assert {body_of(answer)["event_id"] for answer in answers} == {event_id}
    assert body_of(answers[0])["state"] == "applied"
    assert await count(database, "receipts", "state = 'applied' AND NOT lacks_receipt") == 1


@pytest.mark.parametrize("first", ["event", "receipt", "neither"])
async def test_two_processes_and_two_sources_make_one_receipt_of_each_event(
    database: Database, project: CreatedProject, first: str
) -> None:
    numbers = list(range(EVENTS))
    async with committing(database, project) as one, committing(database, project) as other:
        if first == "event":
            await see(database, one, numbers)
        if first == "receipt":
            await asyncio.gather(*(one.say(receipt_of(one, n)) for n in numbers))
        receipts = (
            [
                (desk, receipt_of(desk, n, internal_reference=f"order {n}"))
                for n in numbers
                for desk in (one, other)
            ]
            if first != "receipt"
            else []
        )
        random.Random(7).shuffle(receipts)
        seen, *answers = await asyncio.gather(
            see_twice(database, one, numbers),
            *(desk.say(receipt) for desk, receipt in receipts),
        )

    assert len(set(seen)) == EVENTS
    assert await count(database, "receipts") == EVENTS
    assert await count(database, "receipts", "state = 'waiting' AND NOT lacks_receipt") == EVENTS
    assert await count(database, "outbox", "kind = 'start'") == EVENTS
    assert await count(database, "receipts", "source_id IS NOT NULL") == EVENTS
    stored = [answer for answer in answers if isinstance(answer, StoredResponse)]
    assert {body_of(answer)["event_id"] for answer in stored} <= set(seen)
    assert {answer.status for answer in stored} <= {202}


async def test_receipt_at_the_deadline_leaves_at_most_one_incident(
    database: Database, project: CreatedProject
) -> None:
    story = Story(database, project.project)
    await story.do(keep_incidents_apart, project.project.id)
    async with committing(database, project) as one, committing(database, project) as other:
        event_ids = await see(database, one, list(range(EVENTS)))
        async with database.reading() as session:
            story.at = await database.now(session)
        story.later(minutes=15)
        await asyncio.gather(
            *(story.do(open_incident, event_id) for event_id in event_ids),
            *(
                desk.say(receipt_of(desk, n, internal_reference=f"order {n}"))
                for n in range(EVENTS)
                for desk in (one, other)
            ),
        )

    incidents = await count(database, "incidents")
    assert await count(database, "receipts", "state = 'incident'") == incidents
    assert await count(database, "receipts", "state = 'waiting'") == EVENTS - incidents
    assert await count(database, "receipts", "lacks_receipt") == 0
    assert await count(database, "alerts") == incidents
    assert await count(database, "timeline", "kind = 'receipt_accepted'") == EVENTS


async def see_twice(database: Database, desk: Desk, numbers: list[int]) -> list[EventId]:
    """Two sources see the events at the same time, each in parts and in an order of its own."""
    orders = [numbers, numbers[::-1]]
    parts = [order[start : start + 20] for order in orders for start in range(0, EVENTS, 20)]
    found = await asyncio.gather(*(see(database, desk, part) for part in parts))
    return [event_id for part in found for event_id in part]
