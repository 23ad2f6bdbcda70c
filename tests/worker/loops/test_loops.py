"""The worker's small loops survive any error in one of their turns."""

import asyncio
from datetime import UTC, datetime

from activities.alerts.send import AlertActivities
from activities.messages import AlertsSent
from store.db.database import Clock, Database
from store.status.heartbeats import read_heartbeats
from tests.support.given import Story
from tests.support.waiting import wait_until_async
from worker.health.heartbeat import WorkerHeartbeat
from worker.health.thresholds import DEFAULT_THRESHOLDS
from worker.loops.alert_retries import alert_retry_loop
from worker.loops.retention import retention_loop
from worker.temporal.workflow_client import ReceiptWorkflowClient


class FailingClock(Clock):
    """Fails at the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    async def now(self, statements: object) -> datetime:
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("unexpected")
        return datetime.now(UTC)


async def test_heartbeat_loop_continues_after_an_unexpected_error(story: Story) -> None:
    database = Database.open(story.database.url, clock=FailingClock())
    heartbeat = WorkerHeartbeat(database, identity="worker-1", started_at=datetime.now(UTC))
    loop = asyncio.create_task(heartbeat.heartbeat_loop())

    async def has_written() -> bool:
        async with story.database.reading() as session:
            return bool(await read_heartbeats(session, datetime.now(UTC)))

    await wait_until_async(has_written, what="a heartbeat after the error")

    assert not loop.done()
    await _end(loop)
    await database.close()


class LatePoll(ReceiptWorkflowClient):
    """Temporal has seen no poll at the first check, and one at the second."""

    def __init__(self) -> None:
        self.calls = 0

    async def last_polled_by(self, identity: str, queue: str = "") -> datetime | None:
        self.calls += 1
        return datetime.now(UTC) if self.calls > 1 else None


async def test_new_worker_reports_healthy_before_the_next_regular_check(story: Story) -> None:
    heartbeat = WorkerHeartbeat(story.database, identity="worker-1", started_at=datetime.now(UTC))
    tasks = [
        asyncio.create_task(heartbeat.heartbeat_loop()),
        asyncio.create_task(heartbeat.self_check.poll_check_loop(LatePoll())),
    ]

    async def is_healthy() -> bool:
        async with story.database.reading() as session:
            heartbeats = await read_heartbeats(session, datetime.now(UTC))
        return any(
            one.report["temporal_reachable"] and one.report["pollers_alive"] for one in heartbeats
        )

    await wait_until_async(
        is_healthy, seconds=DEFAULT_THRESHOLDS.check_seconds - 1, what="a healthy heartbeat"
    )

    for task in tasks:
        await _end(task)


async def test_retention_loop_continues_after_an_unexpected_error(story: Story) -> None:
    database = Database.open(story.database.url, clock=(clock := FailingClock()))
    purging = asyncio.create_task(retention_loop(database))

    await wait_until_async(lambda: _is_true(clock.calls > 0), what="a first purge")
    await asyncio.sleep(0)

    assert not purging.done()
    await _end(purging)
    await database.close()


class FailingAlerts(AlertActivities):
    """Fails once, then sends some alerts, then has none left."""

    def __init__(self) -> None:
        self.turns = 0

    async def deliver(self) -> AlertsSent:
        self.turns += 1
        if self.turns == 1:
            raise RuntimeError("unexpected")
        return AlertsSent(sent=8 if self.turns == 2 else 0, failed=0)


async def test_alert_loop_continues_after_an_unexpected_error() -> None:
    alerting = asyncio.create_task(alert_retry_loop(alerts := FailingAlerts(), every_seconds=0.01))

    await wait_until_async(lambda: _is_true(alerts.turns >= 4), what="four turns")

    assert not alerting.done()
    await _end(alerting)


async def _is_true(value: bool) -> bool:
    return value


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
