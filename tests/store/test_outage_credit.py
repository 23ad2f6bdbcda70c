"""An outage of ingest and the deadlines that were open in it, on both engines: whose move, by how much, and at what cost."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from sqlalchemy import Engine, event

from domain.instants import milliseconds
from store.crediting import credit_batch
from store.moves import NotYet, Opened, open_incident
from store.statements import Statements
from tests.given import START, Story

NOTICE = "INSERT INTO outages (down_from, up_at, accepted_until, cursor) VALUES ($1, $2, $3, '')"


async def notice(st: Statements, down_from: datetime, up_at: datetime) -> None:
    """Record an outage as the front door does with its first beat after it."""
    await st.fetch(NOTICE, milliseconds(down_from), milliseconds(up_at), milliseconds(up_at) - 2_000)


def outage_credited(down_from: datetime) -> Callable[[Statements, datetime], Awaitable[int]]:
    """Record an outage that ends now and credit it whole; how many deadlines moved."""

    async def credited(st: Statements, now: datetime) -> int:
        await notice(st, down_from, now)
        moved = 0
        while not (step := await credit_batch(st, now)).is_over:
            moved += step.credited
        return moved

    return credited


async def test_outage_is_credited_to_the_deadlines_that_were_open(story: Story) -> None:
    before = await story.receipt(timeout_minutes=30.0)
    over = await story.receipt(timeout_minutes=1.0)
    settled = await story.receipt()
    await story.result(settled)
    story.later(minutes=5)
    down_from = story.at
    story.later(minutes=2)
    during = await story.receipt()

    count = await story.do(outage_credited(down_from))

    assert count == 1
    (row,) = await story.rows("receipts", before)
    assert row["deadline_at"] - row["timeout_at"] == 120_000
    assert row["timeout_at"] - row["accepted_at"] == 30 * 60_000
    (entry,) = await story.rows("timeline", before)
    assert (entry["kind"], entry["fields"]["credited_seconds"]) == ("deadline_credited", 120)
    for other in (over, settled, during):
        (row,) = await story.rows("receipts", other)
        assert row["deadline_at"] == row["timeout_at"]
        assert "deadline_credited" not in await story.told(other)


async def test_outage_is_credited_in_as_many_statements_for_many_receipts_as_for_one(story: Story) -> None:
    async def credited(receipts: int) -> tuple[int, list[str]]:
        event_ids = [await story.receipt(timeout_minutes=30.0) for _ in range(receipts)]
        story.later(minutes=5)
        down_from = story.at
        story.later(minutes=2)
        sent: list[str] = []

        def count(_conn: object, _cursor: object, statement: str, *_: object) -> None:
            sent.append(statement.split()[0])

        event.listen(Engine, "before_cursor_execute", count)
        try:
            moved = await story.do(outage_credited(down_from))
        finally:
            event.remove(Engine, "before_cursor_execute", count)
        assert [await story.told(event_id) for event_id in event_ids] == [["deadline_credited"]] * receipts
        for event_id in event_ids:
            await story.result(event_id)
        return moved, sent

    one, many = await credited(1), await credited(5)

    assert (one[0], many[0]) == (1, 5)
    assert many[1] == one[1]


async def test_outage_is_credited_to_a_repair_whose_result_is_awaited(story: Story) -> None:
    event_id, replay_id = await story.awaiting_result()
    due_at = (await story.standing(event_id)).result_deadline_at
    story.later(minutes=5)
    down_from = story.at
    story.later(minutes=2)

    count = await story.do(outage_credited(down_from))

    assert count == 1
    assert due_at is not None
    assert (await story.standing(event_id)).result_deadline_at == due_at + timedelta(minutes=2)
    assert (await story.rows("timeline", event_id))[-1]["fields"]["replay_id"] == replay_id


async def test_credited_deadline_decides_when_the_incident_opens(story: Story) -> None:
    event_id = await story.receipt(timeout_minutes=30.0)
    story.later(minutes=10)
    await story.do(outage_credited(START + timedelta(minutes=5)))
    story.at = START + timedelta(minutes=30)

    assert await story.do(open_incident, event_id) == NotYet(remaining_ms=5 * 60_000)

    story.later(minutes=5)
    assert isinstance(await story.do(open_incident, event_id), Opened)
