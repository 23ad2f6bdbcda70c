"""The dispatcher delivers requests of people first, and a receipt that fails delays no other."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from domain.ids import EventId
from domain.temporal.outbox import OutboxKind
from store.db.sql import SessionStatements
from store.receipts.outbox import OutboxBatch, count, enqueue_signal, enqueue_start_again
from store.status.heartbeats import beat
from tests.support.given import Story
from tests.support.waiting import wait_until_async
from tests.workflows.world import World
from worker.loops.dispatch import Dispatcher
from worker.loops.start_rate_limiter import StartRateLimiter
from worker.temporal.workflow_client import ReceiptWorkflowClient


class RecordingClient(ReceiptWorkflowClient):
    """Records the receipts that were delivered. Deliveries of `slow` receipts time out."""

    def __init__(self) -> None:
        self.delivered: list[EventId] = []
        self.slow: set[EventId] = set()

    async def start_or_signal(self, batch: OutboxBatch) -> None:
        if batch.event_id in self.slow:
            raise TimeoutError
        self.delivered.append(batch.event_id)


@asynccontextmanager
async def dispatching(
    story: Story, client: RecordingClient, limiter: StartRateLimiter
) -> AsyncIterator[Dispatcher]:
    dispatcher = Dispatcher(story.database, client, limiter, is_notified=False)
    running = asyncio.create_task(dispatcher.run())
    yield dispatcher
    dispatcher.stop()
    await running


async def enqueued(story: Story, *kinds: str) -> EventId:
    """Create a receipt with these rows in the outbox."""
    event_id = await story.receipt()
    async with story.database.transaction() as session:
        for kind in kinds:
            await enqueue_signal(SessionStatements(session), event_id, OutboxKind(kind), story.at)
    return event_id


async def test_requests_of_people_pass_the_backlog_and_the_rate_limit(story: Story) -> None:
    async with story.database.transaction() as session:
        now = await story.database.now(session)
        busy = {"accepted_per_second": 900}
        await beat(session, process="api-1", role="api", started_at=now, now=now, report=busy)
    backlog = [await enqueued(story, "start") for _ in range(60)]
    requested = await enqueued(story, "reprocess")
    client = RecordingClient()

    async with dispatching(story, client, StartRateLimiter(1)):
        await wait_until_async(
            lambda: _is_in(requested, client.delivered), what="the reprocess is delivered"
        )

        assert len(set(backlog) - set(client.delivered)) > 30


async def test_receipt_whose_delivery_times_out_stops_no_other(story: Story) -> None:
    slow, client = await enqueued(story, "start"), RecordingClient()
    client.slow.add(slow)

    with capture_logs() as logs:
        async with dispatching(story, client, StartRateLimiter(40)):
            await wait_until_async(
                lambda: _has("dispatch_refused", logs), what="the slow delivery times out"
            )
            other = await enqueued(story, "start")
            await wait_until_async(
                lambda: _is_in(other, client.delivered), what="the other receipt is delivered"
            )

    assert "temporal_unavailable" not in [line["event"] for line in logs]


@pytest.mark.parametrize("signals", [2, 8, 40])
async def test_many_rows_are_sent_as_one_signal(makegood: World, signals: int) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    async with makegood.database.transaction() as session:
        now = await makegood.database.now(session)
        for _ in range(signals):
            await enqueue_signal(SessionStatements(session), event_id, OutboxKind.EXPIRE, now)
        await enqueue_start_again(session, event_id, now)

    await makegood.eventually(makegood.outbox_is_empty, "an empty outbox")

    # A signal that arrives during a workflow task is in the history once that task has completed.
    await makegood.eventually(
        lambda: _has_signals(makegood, event_id, 1), "a signal in the history"
    )
    assert await _count_signals(makegood, event_id) == 1


async def _has_signals(makegood: World, event_id: EventId, count: int) -> bool:
    return await _count_signals(makegood, event_id) >= count


async def _count_signals(makegood: World, event_id: EventId) -> int:
    return (await makegood.event_types(event_id)).count("WORKFLOW_EXECUTION_SIGNALED")


async def test_dispatch_continues_after_a_temporary_fault_of_the_store(story: Story) -> None:
    event_id, client = await enqueued(story, "start"), RecordingClient()
    await rename(story, "claimed_until", "hidden")

    with capture_logs() as logs:
        async with dispatching(story, client, StartRateLimiter(40)):
            await wait_until_async(lambda: _has("dispatch_turn_failed", logs), what="a turn failed")
            await rename(story, "hidden", "claimed_until")
            await wait_until_async(
                lambda: _is_in(event_id, client.delivered), what="the receipt is delivered"
            )

    async with story.database.reading() as session:
        assert await count(session) == 0


async def test_failed_read_of_the_load_stops_no_delivery(story: Story) -> None:
    event_id, client = await enqueued(story, "start"), RecordingClient()
    async with story.database.transaction() as session:
        now = await story.database.now(session)
        await beat(session, process="api-1", role="api", started_at=now, now=now, report={})
        await session.execute(text("UPDATE heartbeats SET report = 'not JSON'"))

    with capture_logs() as logs:
        async with dispatching(story, client, StartRateLimiter(40)):
            await wait_until_async(
                lambda: _is_in(event_id, client.delivered), what="the receipt is delivered"
            )

    assert await _has("dispatch_load_failed", logs)
    assert not await _has("dispatch_turn_failed", logs)


async def rename(story: Story, column: str, to: str) -> None:
    async with story.database.transaction() as session:
        await session.execute(text(f"ALTER TABLE outbox RENAME COLUMN {column} TO {to}"))


async def _is_in(event_id: EventId, delivered: list[EventId]) -> bool:
    return event_id in delivered


async def _has(event: str, logs: Sequence[Mapping[str, object]]) -> bool:
    return event in [line["event"] for line in logs]
