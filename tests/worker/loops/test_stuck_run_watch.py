"""A run is stuck if Temporal refuses its start or no worker takes its task."""

from datetime import datetime, timedelta

import pytest

from domain.ids import EventId
from domain.temporal.runs import RunCondition, RunLook, StuckCause
from store.receipts.outbox import claim, enqueue_start_again, retry_later
from store.receipts.reconcile.stuck_runs import (
    count_stuck,
    mark_stuck,
    request_restart,
    runs_to_look_at,
    stuck_run,
    suspect_run,
)
from tests.support.given import Story
from worker.loops.stuck_runs import StuckRunWatch
from worker.temporal.workflow_client import ReceiptWorkflowClient


class Seen(ReceiptWorkflowClient):
    """A client of a Temporal server that says the same of every run."""

    def __init__(self, condition: RunCondition, task_at: datetime | None = None) -> None:
        self.seen = RunLook(condition, task_at)

    async def look_at(self, event_id: EventId) -> RunLook:
        return self.seen


async def suspected(story: Story, *, seconds_ago: float) -> EventId:
    """Create a receipt whose start is in the outbox and whose run was suspected so long ago."""
    async with story.database.reading() as session:
        now = await story.database.now(session)
    story.at = now - timedelta(seconds=seconds_ago)
    event_id = await story.receipt()
    await story.do(suspect_run, event_id, story.project.id)
    async with story.database.transaction() as session:
        await enqueue_start_again(session, event_id, story.at)
    story.at = now
    return event_id


async def look(story: Story, condition: RunCondition) -> int:
    """How many runs are stuck after one look."""
    await StuckRunWatch(story.database, Seen(condition)).check()
    return await stuck(story)


async def stuck(story: Story) -> int:
    async with story.database.reading() as session:
        return await count_stuck(session)


async def test_start_that_waits_in_the_outbox_is_not_stuck(story: Story) -> None:
    await suspected(story, seconds_ago=600)

    assert await look(story, RunCondition.MISSING) == 0


async def test_start_in_delivery_is_not_stuck(story: Story) -> None:
    await suspected(story, seconds_ago=600)
    async with story.database.transaction() as session:
        await claim(session, await story.database.now(session), limit=1)

    assert await look(story, RunCondition.MISSING) == 0


async def test_start_that_temporal_refuses_is_stuck(story: Story) -> None:
    event_id = await suspected(story, seconds_ago=600)
    async with story.database.transaction() as session:
        now = await story.database.now(session)
        (event,) = await claim(session, now, limit=1)
        await retry_later(
            session, [row.id for row in event.rows], now + timedelta(seconds=27), now=now
        )

    assert await look(story, RunCondition.MISSING) == 1

    async with story.database.reading() as session:
        found = await stuck_run(session, event_id)
    assert found is not None
    assert found.cause is StuckCause.NOT_STARTED


async def test_refused_start_before_a_restart_is_stuck(story: Story) -> None:
    event_id = await suspected(story, seconds_ago=600)
    async with story.database.transaction() as session:
        now = await story.database.now(session)
        (event,) = await claim(session, now, limit=1)
        await request_restart(session, event_id, now, requested_by="cli:ops")
        await retry_later(
            session, [row.id for row in event.rows], now + timedelta(seconds=27), now=now
        )
    story.database.clock.skew += timedelta(seconds=6)

    assert await look(story, RunCondition.MISSING) == 1


async def test_run_that_was_stuck_for_another_cause_is_not_called_refused_while_its_start_waits(
    story: Story,
) -> None:
    event_id = await suspected(story, seconds_ago=600)
    async with story.database.transaction() as session:
        (run,) = await runs_to_look_at(session, story.at, limit=1, of_each=1)
        await mark_stuck(session, run, StuckCause.TASK_FAILS, story.at, look_at=story.at)

    await look(story, RunCondition.MISSING)

    async with story.database.reading() as session:
        found = await stuck_run(session, event_id)
    assert found is not None
    assert found.cause is StuckCause.TASK_FAILS


async def test_task_that_runs_is_not_stuck(story: Story) -> None:
    await suspected(story, seconds_ago=600)

    assert await look(story, RunCondition.TASK_RUNS) == 0


@pytest.mark.parametrize(
    ("seconds", "is_same", "count"), [(20, True, 0), (31, True, 1), (31, False, 0)]
)
async def test_task_is_stuck_when_the_same_one_waits_for_long(
    story: Story, seconds: int, is_same: bool, count: int
) -> None:
    """By the store's clock alone: Temporal's, which dates the task, is hours ahead."""
    await suspected(story, seconds_ago=600)
    task_at = story.at + timedelta(hours=3)
    client = Seen(RunCondition.TASK_WAITS, task_at)
    watch = StuckRunWatch(story.database, client)
    await watch.check()
    story.database.clock.skew += timedelta(seconds=seconds)
    if not is_same:
        client.seen = RunLook(RunCondition.TASK_WAITS, task_at + timedelta(seconds=1))

    await watch.check()

    assert await stuck(story) == count
