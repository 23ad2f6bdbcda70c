"""The dispatcher: what a person asked for goes first, and one event's trouble is no other's."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from domain.ids import EventId
from store.db.sql import SessionStatements
from store.receipts.outbox import OutboxBatch, count, enqueue_signal, enqueue_start_again
from store.status.heartbeats import beat
from tests.support.given import Story
from tests.support.waiting import wait_until_async
from tests.workflows.world import World
from worker.loops.dispatch import Dispatcher
from worker.loops.start_rate_limiter import StartRateLimiter
from worker.temporal.workflow_client import ReceiptWorkflowClient


class Ear(ReceiptWorkflowClient):
    """A gateway that writes down whom it was told of; `slow` events never end in time."""

    def __init__(self) -> None:
        self.heard: list[EventId] = []
        self.slow: set[EventId] = set()

    async def start_or_signal(self, event: OutboxBatch) -> None:
        if event.event_id in self.slow:
            raise TimeoutError
        self.heard.append(event.event_id)


@asynccontextmanager
async def dispatching(story: Story, ear: Ear, pace: StartRateLimiter) -> AsyncIterator[Dispatcher]:
    dispatcher = Dispatcher(story.database, ear, pace, is_notified=False)
    running = asyncio.create_task(dispatcher.run())
    yield dispatcher
    dispatcher.stop()
    await running


async def told(story: Story, *kinds: str) -> EventId:
    """A receipt with these rows in the outbox."""
    event_id = await story.receipt()
    async with story.database.transaction() as session:
        for kind in kinds:
            await enqueue_signal(SessionStatements(session), event_id, kind, story.at)
    return event_id


async def test_what_a_person_asked_for_passes_the_backlog_and_the_pace(story: Story) -> None:
    async with story.database.transaction() as session:
        now = await story.database.now(session)
        busy = {"accepted_per_second": 900}
        await beat(session, process="api-1", role="api", started_at=now, now=now, report=busy)
    backlog = [await told(story, "start") for _ in range(60)]
    asked = await told(story, "reprocess")
    ear = Ear()

    async with dispatching(story, ear, StartRateLimiter(1)):
        await wait_until_async(lambda: _is_in(asked, ear.heard), what="the reprocess was told")

        assert len(set(backlog) - set(ear.heard)) > 30


async def test_an_event_that_takes_too_long_stops_no_other(story: Story) -> None:
    slow, ear = await told(story, "start"), Ear()
    ear.slow.add(slow)

    with capture_logs() as logs:
        async with dispatching(story, ear, StartRateLimiter(40)):
            await wait_until_async(lambda: _has("dispatch_refused", logs), what="the slow one failed")
            other = await told(story, "start")
            await wait_until_async(lambda: _is_in(other, ear.heard), what="the other was told")

    assert "engine_is_away" not in [line["event"] for line in logs]


@pytest.mark.parametrize("signals", [2, 8, 40])
async def test_ever_so_many_rows_are_told_as_one(makegood: World, signals: int) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    async with makegood.database.transaction() as session:
        now = await makegood.database.now(session)
        for _ in range(signals):
            await enqueue_signal(SessionStatements(session), event_id, "expire", now)
        await enqueue_start_again(session, event_id, now)

    await makegood.eventually(makegood.outbox_is_empty, "an empty outbox")

    # A signal that comes during a task of the run is in its history once that task has ended.
    await makegood.eventually(lambda: _has_heard(makegood, event_id, 1), "a signal heard")
    assert await _signals_heard(makegood, event_id) == 1


async def _has_heard(makegood: World, event_id: EventId, count: int) -> bool:
    return await _signals_heard(makegood, event_id) >= count


async def _signals_heard(makegood: World, event_id: EventId) -> int:
    return (await makegood.event_types(event_id)).count("WORKFLOW_EXECUTION_SIGNALED")


async def test_a_store_that_was_odd_for_a_while_is_dispatched_from_again(story: Story) -> None:
    event_id, ear = await told(story, "start"), Ear()
    await rename(story, "claimed_until", "hidden")

    with capture_logs() as logs:
        async with dispatching(story, ear, StartRateLimiter(40)):
            await wait_until_async(lambda: _has("dispatch_turn_failed", logs), what="a turn failed")
            await rename(story, "hidden", "claimed_until")
            await wait_until_async(lambda: _is_in(event_id, ear.heard), what="it was told")

    async with story.database.reading() as session:
        assert await count(session) == 0


async def test_a_look_at_the_load_that_fails_keeps_nothing_from_being_told(story: Story) -> None:
    event_id, ear = await told(story, "start"), Ear()
    async with story.database.transaction() as session:
        now = await story.database.now(session)
        await beat(session, process="api-1", role="api", started_at=now, now=now, report={})
        await session.execute(text("UPDATE heartbeats SET report = 'not JSON'"))

    with capture_logs() as logs:
        async with dispatching(story, ear, StartRateLimiter(40)):
            await wait_until_async(lambda: _is_in(event_id, ear.heard), what="it was told")

    assert await _has("dispatch_look_failed", logs)
    assert not await _has("dispatch_turn_failed", logs)


async def rename(story: Story, column: str, to: str) -> None:
    async with story.database.transaction() as session:
        await session.execute(text(f"ALTER TABLE outbox RENAME COLUMN {column} TO {to}"))


async def _is_in(event_id: EventId, heard: list[EventId]) -> bool:
    return event_id in heard


async def _has(event: str, logs: Sequence[Mapping[str, object]]) -> bool:
    return event in [line["event"] for line in logs]
