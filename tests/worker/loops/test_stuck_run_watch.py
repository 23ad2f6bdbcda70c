"""What the watch of runs takes for stuck: what Temporal refuses or nobody takes, and never what waits for its turn."""

from datetime import datetime, timedelta

import pytest

from domain.ids import EventId
from domain.runs import RunCondition, StuckCause
from store.receipts.outbox import claim, enqueue_start_again, retry_later
from store.receipts.stuck_runs import count_stuck, stuck_run, suspect_run
from tests.support.given import Story
from worker.loops.stuck_runs import UNTAKEN_AFTER, StuckRunWatch
from worker.temporal.workflow_client import ReceiptWorkflowClient


class Seen(ReceiptWorkflowClient):
    """A gateway to a Temporal server that says the same of every run."""

    def __init__(self, condition: RunCondition) -> None:
        self.condition = condition
        self.untaken_since: list[datetime] = []

    async def condition_of(self, event_id: EventId, *, untaken_since: datetime) -> RunCondition:
        self.untaken_since.append(untaken_since)
        return self.condition


async def suspected(story: Story, *, seconds_ago: float) -> EventId:
    """A receipt whose start is in the outbox, and whose run was suspected so long ago."""
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
    await StuckRunWatch(story.database, Seen(condition)).look()
    async with story.database.reading() as session:
        return await count_stuck(session)


async def test_start_that_waits_for_its_turn_is_not_stuck(story: Story) -> None:
    await suspected(story, seconds_ago=600)

    assert await look(story, RunCondition.MISSING) == 0


async def test_start_that_is_being_sent_is_not_stuck(story: Story) -> None:
    await suspected(story, seconds_ago=600)
    async with story.database.transaction() as session:
        await claim(session, await story.database.now(session), limit=1)

    assert await look(story, RunCondition.MISSING) == 0


async def test_start_that_temporal_refuses_is_stuck(story: Story) -> None:
    event_id = await suspected(story, seconds_ago=600)
    async with story.database.transaction() as session:
        now = await story.database.now(session)
        (event,) = await claim(session, now, limit=1)
        await retry_later(session, [row.id for row in event.rows], now + timedelta(seconds=27), now=now)

    assert await look(story, RunCondition.MISSING) == 1

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

    assert await look(story, condition) == stuck


async def test_temporal_is_asked_for_tasks_that_are_older_than_the_patience_with_them(story: Story) -> None:
    await suspected(story, seconds_ago=600)
    gateway = Seen(RunCondition.TASK_WAITS)

    await StuckRunWatch(story.database, gateway).look()

    assert abs(gateway.untaken_since[0] - (story.at - UNTAKEN_AFTER)) < timedelta(seconds=5)
