"""A run is stuck if Temporal refuses its start or no worker takes its task."""

from datetime import datetime, timedelta

import pytest

from domain.ids import EventId
from domain.runs import RunCondition, StuckCause
from store.receipts.outbox import claim, enqueue_start_again, retry_later
from store.receipts.stuck_runs import count_stuck, stuck_run, suspect_run
from tests.support.given import Story
from worker.loops.stuck_runs import UNTAKEN_AFTER, StuckRunWatch
from worker.temporal.workflow_client import ReceiptWorkflowClient


class SameCondition(ReceiptWorkflowClient):
    """A client whose runs all have the same condition."""

    def __init__(self, condition: RunCondition) -> None:
        self.condition = condition
        self.untaken_since: list[datetime] = []

    async def condition_of(self, event_id: EventId, *, untaken_since: datetime) -> RunCondition:
        self.untaken_since.append(untaken_since)
        return self.condition


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


async def count_stuck_after_check(story: Story, condition: RunCondition) -> int:
    """Check once and return how many runs are stuck."""
    await StuckRunWatch(story.database, SameCondition(condition)).check()
    async with story.database.reading() as session:
        return await count_stuck(session)


async def test_start_that_waits_in_the_outbox_is_not_stuck(story: Story) -> None:
    await suspected(story, seconds_ago=600)

    assert await count_stuck_after_check(story, RunCondition.MISSING) == 0


async def test_start_in_delivery_is_not_stuck(story: Story) -> None:
    await suspected(story, seconds_ago=600)
    async with story.database.transaction() as session:
        await claim(session, await story.database.now(session), limit=1)

    assert await count_stuck_after_check(story, RunCondition.MISSING) == 0


async def test_start_that_temporal_refuses_is_stuck(story: Story) -> None:
    event_id = await suspected(story, seconds_ago=600)
    async with story.database.transaction() as session:
        now = await story.database.now(session)
        (event,) = await claim(session, now, limit=1)
        await retry_later(session, [row.id for row in event.rows], now + timedelta(seconds=27), now=now)

    assert await count_stuck_after_check(story, RunCondition.MISSING) == 1

    async with story.database.reading() as session:
        found = await stuck_run(session, event_id)
    assert found is not None
    assert found.cause is StuckCause.NOT_STARTED


@pytest.mark.parametrize(
    ("condition", "seconds_ago", "stuck"),
    [
        (RunCondition.TASK_WAITS, 600, 0),
        (RunCondition.TASK_RUNS, 600, 0),
        (RunCondition.TASK_NOT_TAKEN, 10, 0),
        (RunCondition.TASK_NOT_TAKEN, 600, 1),
    ],
)
async def test_task_is_stuck_when_it_was_not_taken_for_long(
    story: Story, condition: RunCondition, seconds_ago: float, stuck: int
) -> None:
    await suspected(story, seconds_ago=seconds_ago)

    assert await count_stuck_after_check(story, condition) == stuck


async def test_task_counts_as_not_taken_after_the_limit(story: Story) -> None:
    await suspected(story, seconds_ago=600)
    workflow_client = SameCondition(RunCondition.TASK_WAITS)

    await StuckRunWatch(story.database, workflow_client).check()

    assert abs(workflow_client.untaken_since[0] - (story.at - UNTAKEN_AFTER)) < timedelta(seconds=5)
