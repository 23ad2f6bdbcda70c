"""An attempt whose run is cancelled, or whose worker stops, is recorded if it can be, else left to the next."""

import asyncio

import pytest
from temporalio.testing import ActivityEnvironment

from activities.messages import SendCallback
from domain.ids import EventId
from store.sealing import Sealer
from tests.activities.test_callback import Slow, built, order
from tests.given import Story

__all__ = ["order"]


async def test_stopping_worker_leaves_an_attempt_in_flight_to_the_next_one(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    environment, slow = ActivityEnvironment(), Slow()
    running = asyncio.create_task(environment.run(built(story, sealer, slow).send_callback, order))
    await slow.is_called.wait()

    environment.worker_shutdown()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert [row["state"] for row in await story.rows("attempts", EventId(order.event_id))] == ["started"]


async def test_stopping_worker_ends_a_record_that_runs(story: Story, sealer: Sealer, order: SendCallback) -> None:
    environment, slow = ActivityEnvironment(), Slow()
    running = asyncio.create_task(environment.run(built(story, sealer, slow).send_callback, order))
    await slow.is_called.wait()

    async with story.database.transaction():
        # Nobody else writes meanwhile: the record has begun, and waits.
        slow.may_answer.set()
        for _ in range(10):
            await asyncio.sleep(0)
        environment.worker_shutdown()
        running.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running

    assert [row["state"] for row in await story.rows("attempts", EventId(order.event_id))] == ["finished"]


async def test_cancelled_attempt_is_recorded_while_the_worker_goes_on(story: Story, sealer: Sealer, order: SendCallback) -> None:
    slow = Slow()
    running = asyncio.create_task(ActivityEnvironment().run(built(story, sealer, slow).send_callback, order))
    await slow.is_called.wait()

    running.cancel()
    slow.may_answer.set()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert [row["state"] for row in await story.rows("attempts", EventId(order.event_id))] == ["finished"]
