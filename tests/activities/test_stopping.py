"""An attempt whose run or worker stops is recorded, or left to the next worker."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.testing import ActivityEnvironment

from activities.messages import SendCallback
from domain.ids import EventId
from domain.lifecycle import LifecycleState
from store.crypto.encryption import Sealer
from tests.activities.callback.endpoints import Endpoint, Slow, built
from tests.activities.callback.test_holding import Counted
from tests.activities.callback.test_send import order
from tests.support.given import Story

__all__ = ["order"]


async def test_stopping_worker_leaves_an_attempt_in_flight_to_the_next_one(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    environment, slow, endpoint = ActivityEnvironment(), Slow(), Endpoint(200)
    stopping, following = (built(story, sealer, transport) for transport in (slow, endpoint))
    running = asyncio.create_task(environment.run(stopping.send_callback, order))
    await slow.is_called.wait()

    environment.worker_shutdown()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await stopping.end()
    left = [row["state"] for row in await story.rows("attempts", EventId(order.event_id))]
    story.database.clock.skew += timedelta(seconds=6)
    await ActivityEnvironment().run(following.send_callback, order)

    assert left == ["started"]
    assert not stopping.has_attempts()
    assert [
        endpoint.headers(index)["x-sendpromptly-attempt"] for index in range(len(endpoint.requests))
    ] == ["1"]


async def test_attempt_outlives_the_temporal_worker_and_the_next_one_in_its_process_joins_it(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    ended, slow = ActivityEnvironment(), Counted()
    activities = built(story, sealer, slow)
    running = asyncio.create_task(ended.run(activities.send_callback, order))
    await slow.is_called.wait()

    ended.worker_shutdown()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    again = asyncio.create_task(ActivityEnvironment().run(activities.send_callback, order))
    await asyncio.sleep(0)
    slow.may_answer.set()
    answer = await again

    assert (slow.calls, answer.status.state) == (1, LifecycleState.AWAITING_RESULT)
    assert [
        (row["number"], row["state"])
        for row in await story.rows("attempts", EventId(order.event_id))
    ] == [(1, "finished")]


async def test_stopping_worker_finishes_a_running_record(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    environment, slow = ActivityEnvironment(), Slow()
    activities = built(story, sealer, slow)
    running = asyncio.create_task(environment.run(activities.send_callback, order))
    await slow.is_called.wait()

    async with story.database.transaction():
        # The transaction blocks other writers, so the record begins and waits.
        slow.may_answer.set()
        for _ in range(10):
            await asyncio.sleep(0)
        environment.worker_shutdown()
        running.cancel()
        ending = asyncio.create_task(activities.end())
        for _ in range(10):
            await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running
    await ending

    assert [row["state"] for row in await story.rows("attempts", EventId(order.event_id))] == [
        "finished"
    ]


async def test_cancelled_attempt_is_recorded_while_the_worker_goes_on(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    slow = Slow()
    running = asyncio.create_task(
        ActivityEnvironment().run(built(story, sealer, slow).send_callback, order)
    )
    await slow.is_called.wait()

    running.cancel()
    slow.may_answer.set()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert [row["state"] for row in await story.rows("attempts", EventId(order.event_id))] == [
        "finished"
    ]
