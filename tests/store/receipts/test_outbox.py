"""The outbox:

everything of one event to one dispatcher at a time, nothing lost, nothing twice during a lease.
"""

import asyncio
from datetime import timedelta

import pytest

from domain.ids import EventId
from domain.receipts import ReceiptState
from domain.temporal.outbox import OutboxKind
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts import outbox
from store.receipts.outbox import OutboxBatch, enqueue_signal
from store.receipts.reconcile.stuck_runs import request_restart
from store.schema.tables import OUTBOX
from tests.support.given import OPERATOR, START, Story


async def claim(
    story: Story, *, after_seconds: float = 0, limit: int = 100, due_limit: int = 0
) -> list[OutboxBatch]:
    async with story.database.transaction() as session:
        return await outbox.claim(
            session, START + timedelta(seconds=after_seconds), limit=limit, due_limit=due_limit
        )


async def settle(story: Story, event: OutboxBatch) -> None:
    async with story.database.transaction() as session:
        await outbox.mark_delivered(session, [row.id for row in event.rows])


async def started(story: Story) -> EventId:
    event_id = await story.receipt()
    await enqueue(story, event_id, "start")
    return event_id


async def enqueue(story: Story, event_id: EventId, kind: str, **fields: object) -> None:
    async with story.database.transaction() as session:
        await enqueue_signal(
            SessionStatements(session), event_id, OutboxKind(kind), story.at, **fields
        )


async def test_an_event_is_claimed_whole_with_its_receipt_in_order(story: Story) -> None:
    first, second = await started(story), await started(story)
    await enqueue(story, first, "result", result_id="res_1", status="success")

    events = await claim(story)

    assert [event.event_id for event in events] == [first, second]
    assert [row.kind for row in events[0].rows] == ["start", "result"]
    assert events[0].rows[1].fields == {"result_id": "res_1", "status": "success"}
    assert (events[0].receipt.event_id, events[0].receipt.state) == (first, ReceiptState.WAITING)


async def test_nothing_claimed_is_claimed_again_before_its_lease_ends(story: Story) -> None:
    event_id = await started(story)
    await claim(story)

    during, after = await claim(story, after_seconds=9.9), await claim(story, after_seconds=10)

    assert (during, [event.event_id for event in after]) == ([], [event_id])


async def test_row_of_a_claimed_receipt_waits_for_the_lease(story: Story) -> None:
    event_id = await started(story)
    (claimed,) = await claim(story)
    await enqueue(story, event_id, "result")

    during = await claim(story, after_seconds=1)
    await settle(story, claimed)
    after = await claim(story, after_seconds=1)

    assert during == []
    assert [row.kind for row in after[0].rows] == ["result"]


async def test_settled_rows_are_gone(story: Story) -> None:
    await started(story)
    (claimed,) = await claim(story)

    await settle(story, claimed)

    async with story.database.reading() as session:
        assert await outbox.count(session) == 0
        assert await outbox.oldest_age(session, START) is None


async def test_a_settled_rows_id_is_not_given_to_another(story: Story) -> None:
    await started(story)
    (late,) = await claim(story)
    await settle(story, late)
    event_id = await started(story)

    await settle(story, late)

    assert [event.event_id for event in await claim(story)] == [event_id]


async def test_released_rows_wait_until_their_time_and_delay_their_receipt(story: Story) -> None:
    event_id = await started(story)
    (claimed,) = await claim(story)
    async with story.database.transaction() as session:
        await outbox.retry_later(
            session, [row.id for row in claimed.rows], START + timedelta(seconds=60), now=START
        )
    await enqueue(story, event_id, "result")

    before, after = await claim(story, after_seconds=59), await claim(story, after_seconds=60)

    assert (before, [len(event.rows) for event in after]) == ([], [2])


@pytest.mark.parametrize(
    "is_requested_first",
    [True, False],
    ids=["while the row is sent", "while the row is backed off"],
)
async def test_restart_waits_ten_seconds_at_most_for_a_row_that_is_backed_off(
    story: Story, is_requested_first: bool
) -> None:
    event_id, other = await started(story), await started(story)
    claimed = await claim(story)

    if is_requested_first:
        await restart(story, event_id)
    async with story.database.transaction() as session:
        row_ids = [row.id for event in claimed for row in event.rows]
        await outbox.retry_later(session, row_ids, START + timedelta(minutes=10), now=START)
    if not is_requested_first:
        await restart(story, event_id)

    before, after = await claim(story, after_seconds=9), await claim(story, after_seconds=10)
    others = await claim(story, after_seconds=600)
    assert before == []
    assert [(event.event_id, [row.kind for row in event.rows]) for event in after] == [
        (event_id, ["start", "restart"])
    ]
    assert other in [event.event_id for event in others]


async def restart(story: Story, event_id: EventId) -> None:
    async with story.database.transaction() as session:
        assert await request_restart(session, event_id, START, requested_by=OPERATOR)


async def test_a_claim_takes_the_oldest_up_to_its_limit(story: Story) -> None:
    event_ids = [await started(story) for _ in range(5)]

    first, second = await claim(story, limit=2), await claim(story, limit=10)

    assert [event.event_id for event in first] == event_ids[:2]
    assert [event.event_id for event in second] == event_ids[2:]


async def test_next_deadlines_are_claimed_first_when_more_rows_wait_than_the_limit(
    story: Story,
) -> None:
    far = [await started(story) for _ in range(3)]
    near = [await story.receipt(timeout_minutes=minutes) for minutes in (0.15, 0.1)]
    for event_id in near:
        await enqueue(story, event_id, "start")

    first, second = await claim(story, limit=3), await claim(story, limit=10)

    assert {event.event_id for event in first} == {*near, far[0]}
    assert [event.event_id for event in second] == far[1:]


async def test_due_receipts_are_claimed_beyond_the_limit_of_the_others(story: Story) -> None:
    far = [await started(story) for _ in range(3)]
    near = [await story.receipt(timeout_minutes=0.1) for _ in range(3)]
    for event_id in near:
        await enqueue(story, event_id, "start")

    claimed = await claim(story, limit=1, due_limit=2)
    rest = await claim(story, limit=2, due_limit=10)

    assert [(event.event_id, event.is_due) for event in claimed] == [
        (near[0], True),
        (near[1], True),
    ]
    assert [(event.event_id, event.is_due) for event in rest] == [(far[0], False), (near[2], True)]


async def test_concurrent_dispatchers_share_without_overlap(story: Story) -> None:
    event_ids = [await started(story) for _ in range(30)]
    for event_id in event_ids:
        await enqueue(story, event_id, "result")
    other = Story(Database.open(story.database.url), story.project)

    claims = await asyncio.gather(*(claim(one, limit=4) for one in (story, other) * 10))

    await other.database.close()
    claimed = [event.event_id for events in claims for event in events]
    assert len(claimed) == len(set(claimed))
    assert all(len(event.rows) == 2 for events in claims for event in events)
    left = await claim(story)
    assert sorted([*claimed, *(event.event_id for event in left)]) == sorted(event_ids)


async def test_start_of_a_receipt_is_enqueued_again_once(story: Story) -> None:
    event_id = await story.receipt()

    async with story.database.transaction() as session:
        first = await outbox.enqueue_start_again(session, event_id, START)
        second = await outbox.enqueue_start_again(session, event_id, START)
        count = await outbox.count(session)

    assert (first, second, count) == (True, False, 1)


async def test_the_age_is_the_oldest_rows(story: Story) -> None:
    await started(story)
    story.later(seconds=30)
    await started(story)

    async with story.database.reading() as session:
        age = await outbox.oldest_age(session, START + timedelta(seconds=45))

    assert age == timedelta(seconds=45)


async def test_rows_of_an_operator_are_claimed_before_older_rows(story: Story) -> None:
    older = [await started(story) for _ in range(5)]
    asked = await started(story)
    await enqueue(story, asked, "reprocess", replay_id="rpl_1")

    async with story.database.transaction() as session:
        urgent = await outbox.claim(session, START, limit=0, urgent_limit=2)
        others = await outbox.claim(session, START, limit=2, urgent_limit=2)

    assert [[row.kind for row in event.rows] for event in urgent] == [["start", "reprocess"]]
    assert ([event.event_id for event in urgent], [event.event_id for event in others]) == (
        [asked],
        older[:2],
    )


async def test_urgent_events_leave_the_oldest_its_turn(story: Story) -> None:
    oldest = await started(story)
    for kind in ("reprocess", "resolve", "expire"):
        await enqueue(story, await started(story), kind)

    async with story.database.transaction() as session:
        claimed = await outbox.claim(session, START, limit=1, urgent_limit=2)

    assert claimed[0].event_id == oldest
    assert len(claimed) == 3


async def test_any_number_of_rows_of_one_receipt_is_marked_delivered(story: Story) -> None:
    event_id = await started(story)
    async with story.database.transaction() as session:
        for _ in range(70):
            row = {"event_id": event_id, "kind": "result", "fields": "{}", "created_at": START}
            await session.execute(OUTBOX.insert(), [row] * 500)

    (claimed,) = await claim(story)
    await settle(story, claimed)

    async with story.database.reading() as session:
        assert (len(claimed.rows), await outbox.count(session)) == (35_001, 0)
