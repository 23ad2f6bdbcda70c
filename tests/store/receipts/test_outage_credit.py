"""An outage of ingest and the deadlines that were open in it, on SQLite and PostgreSQL:

whose move, by how much, and at what cost.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import Engine, event, text

from domain.ids import EventId
from domain.values.timestamps import to_unix_ms
from store.db.database import Database
from store.db.sql import Statements
from store.receipts.deadlines import NotYet, Opened, open_incident
from store.receipts.outage_credit import BATCH, CreditStep, credit_batch, credit_locked
from tests.support.given import START, Story
from worker.loops.outage_credit import PAUSE_SECONDS, credit_all

NOTICE = "INSERT INTO outages (down_from, up_at, accepted_until, cursor) VALUES ($1, $2, $3, '')"


async def notice(
    st: Statements, down_from: datetime, up_at: datetime, _: datetime | None = None
) -> None:
    """Record an outage as ingest does with its first heartbeat after it."""
    await st.fetch(NOTICE, to_unix_ms(down_from), to_unix_ms(up_at), to_unix_ms(up_at) - 2_000)


def outage_credited(down_from: datetime) -> Callable[[Statements, datetime], Awaitable[int]]:
    """Record an outage that ends now and credit it whole; how many deadlines moved."""

    async def credited(st: Statements, now: datetime) -> int:
        await notice(st, down_from, now)
        moved = 0
        while not (step := await credit_batch(st, now)).is_over:
            moved += step.credited
        return moved

    return credited


async def test_credit_of_many_rests_twice_as_long_as_each_batch_took(story: Story) -> None:
    for _ in range(3):
        await story.receipt()
    await story.do(notice, story.at + timedelta(minutes=1), story.at + timedelta(minutes=2))
    pauses: list[tuple[float, float]] = []  # how long the batch took, and how long the pause is
    began = time.monotonic()

    async def pause(seconds: float) -> None:
        nonlocal began
        pauses.append((time.monotonic() - began, seconds))
        began = time.monotonic()

    assert await credit_all(story.database, batch=1, pause=pause) == 3

    assert len(pauses) >= 3
    assert all(seconds >= PAUSE_SECONDS and seconds >= 1.8 * took for took, seconds in pauses)


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
        assert "deadline_credited" not in await story.timeline(other)


async def test_outage_is_credited_in_as_many_statements_for_many_receipts_as_for_one(
    story: Story,
) -> None:
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
        assert [await story.timeline(event_id) for event_id in event_ids] == [
            ["deadline_credited"]
        ] * receipts
        for event_id in event_ids:
            await story.result(event_id)
        return moved, sent

    one, many = await credited(1), await credited(5)

    assert (one[0], many[0]) == (1, 5)
    assert many[1] == one[1]


async def test_outage_is_credited_to_a_repair_whose_result_is_awaited(story: Story) -> None:
    event_id, replay_id = await story.awaiting_result()
    due_at = (await story.snapshot(event_id)).result_deadline_at
    story.later(minutes=5)
    down_from = story.at
    story.later(minutes=2)

    count = await story.do(outage_credited(down_from))

    assert count == 1
    assert due_at is not None
    assert (await story.snapshot(event_id)).result_deadline_at == due_at + timedelta(minutes=2)
    assert (await story.rows("timeline", event_id))[-1]["fields"]["replay_id"] == replay_id


async def test_credited_deadline_decides_when_the_incident_opens(story: Story) -> None:
    event_id = await story.receipt(timeout_minutes=30.0)
    story.later(minutes=10)
    await story.do(outage_credited(START + timedelta(minutes=5)))
    story.at = START + timedelta(minutes=30)

    assert await story.do(open_incident, event_id) == NotYet(remaining_ms=5 * 60_000)

    story.later(minutes=5)
    assert isinstance(await story.do(open_incident, event_id), Opened)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_locked_receipt_is_passed_by_and_credited_in_the_second_pass(
    story: Story, database: Database
) -> None:
    first, locked, last = [await story.receipt(timeout_minutes=30.0) for _ in range(3)]
    down_from = START + timedelta(minutes=5)
    story.later(minutes=7)
    await story.do(record, down_from)
    other = await asyncpg.connect(database.url)
    await other.execute(f"BEGIN; SELECT 1 FROM receipts WHERE event_id = '{locked}' FOR UPDATE")

    one = await story.do(batch)
    timelines = [await story.timeline(event_id) for event_id in (first, locked, last)]
    await other.execute("ROLLBACK")
    await other.close()
    two, three = await story.do(batch), await story.do(batch)

    assert timelines == [["deadline_credited"], [], ["deadline_credited"]]
    assert (one, two) == (CreditStep(3, 2, is_over=False), CreditStep(3, 1, is_over=False))
    assert three.is_over
    for event_id in (first, locked, last):
        assert await story.timeline(event_id) == ["deadline_credited"]
        assert await moved_ms(story, event_id) == 120_000


async def test_two_pending_outages_reach_a_locked_receipt_in_their_order_and_once(
    story: Story,
) -> None:
    event_id = await story.receipt(timeout_minutes=30.0)
    story.later(minutes=7)
    await story.do(record, START + timedelta(minutes=5))
    story.later(minutes=6)
    await story.do(record, START + timedelta(minutes=10))

    async def lock(st: Statements, _now: datetime) -> int:
        return await credit_locked(st, event_id)

    moved = await story.do(lock), await story.do(lock)
    left = [await story.do(batch) for _ in range(3)]
    async with story.database.reading() as session:
        newest = await session.scalar(text("SELECT max(id) FROM outages"))

    assert moved == (2, 0)
    assert [(step.credited, step.is_over) for step in left] == [(0, False), (0, False), (0, True)]
    assert await moved_ms(story, event_id) == 5 * 60_000
    entries = await story.rows("timeline", event_id)
    assert [entry["fields"]["credited_seconds"] for entry in entries] == [120, 180]
    assert (await story.rows("receipts", event_id))[0]["credited_outage"] == newest


async def test_results_between_batches_leave_one_credit_for_each_deadline(story: Story) -> None:
    events = [await story.receipt(timeout_minutes=30.0) for _ in range(5)]
    story.later(minutes=7)
    await story.do(record, START + timedelta(minutes=5))

    async def two(st: Statements, now: datetime) -> CreditStep:
        return await credit_batch(st, now, limit=2)

    steps = [await story.do(two)]
    for event_id in (
        events[0],
        events[4],
    ):  # one that the loop has passed, one that it has not reached
        await story.result(event_id)
    while not steps[-1].is_over:
        steps.append(await story.do(two))

    assert sum(step.credited for step in steps) == 4
    for event_id in events[:4]:
        assert (await story.timeline(event_id)).count("deadline_credited") == 1
        assert await moved_ms(story, event_id) == 120_000
    assert (await story.timeline(events[4])).count("deadline_credited") == 1


async def test_batch_among_twenty_thousand_waiting_receipts_takes_less_than_a_second(
    story: Story,
) -> None:
    original = await story.receipt(timeout_minutes=30.0)
    columns = [
        name
        for name in (await story.rows("receipts", original))[0]
        if name not in ("event_id", "provider_event_id")
    ]
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
    rest = ", ".join(columns)
    name = {"sqlite": "printf('%032d', i)", "postgresql": "lpad(CAST(i AS text), 32, '0')"}[
        story.database.dialect
    ]
    copies = (
        f"{numbers} SELECT 'evt_' || {name}, 'evt_' || {name}, {rest} FROM n, receipts WHERE"
        f" event_id = '{original}'"
    )
    async with story.database.transaction() as session:
        await session.execute(
            text(f"INSERT INTO receipts (event_id, provider_event_id, {rest}) {copies}")
        )
    story.later(minutes=7)
    await story.do(record, START + timedelta(minutes=5))

    began = time.perf_counter()
    step = await story.do(batch)
    seconds = time.perf_counter() - began

    assert step == CreditStep(BATCH, BATCH, is_over=False)
    assert seconds < 1


async def record(st: Statements, down_from: datetime, now: datetime) -> None:
    await notice(st, down_from, now)


async def batch(st: Statements, now: datetime) -> CreditStep:
    return await credit_batch(st, now)


async def moved_ms(story: Story, event_id: str) -> int:
    """How far the deadline of a receipt is past what it was promised."""
    (row,) = await story.rows("receipts", EventId(event_id))
    return int(row["deadline_at"] - row["timeout_at"])
