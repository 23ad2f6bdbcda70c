"""The worker's small loops outlive whatever one of their turns meets."""

import asyncio
from datetime import UTC, datetime

from activities.alerts.send import AlertActivities
from activities.messages import AlertsSent
from store.db.database import Clock, Database
from store.status.heartbeats import read_beats
from tests.support.given import Story
from tests.support.waiting import wait_until_async
from worker.health.heartbeat import USUAL, Heartbeat
from worker.loops.alert_retries import alert_retry_loop
from worker.loops.retention import retention_loop
from worker.temporal.workflow_client import ReceiptWorkflowClient


class OddClock(Clock):
    """Fails the first time that it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def now(self, statements: object) -> datetime:
        self.asked += 1
        if self.asked == 1:
            raise RuntimeError("odd")
        return datetime.now(UTC)


async def test_the_heart_goes_on_after_anything(story: Story) -> None:
    database = Database.open(story.database.url, clock=OddClock())
    heartbeat = Heartbeat(database, identity="worker-1", started_at=datetime.now(UTC))
    beating = asyncio.create_task(heartbeat.heartbeat_loop())

    async def has_beaten() -> bool:
        async with story.database.reading() as session:
            return bool(await read_beats(session, datetime.now(UTC)))

    await wait_until_async(has_beaten, what="a beat after the odd one")

    assert not beating.done()
    await _end(beating)
    await database.close()


class HearingEngine(ReceiptWorkflowClient):
    """Has not heard the worker at the first look, and has at the second."""

    def __init__(self) -> None:
        self.looks = 0

    async def last_polled_by(self, identity: str, queue: str = "") -> datetime | None:
        self.looks += 1
        return datetime.now(UTC) if self.looks > 1 else None


async def test_a_new_worker_is_known_to_be_well_before_the_next_regular_look(story: Story) -> None:
    heartbeat = Heartbeat(story.database, identity="worker-1", started_at=datetime.now(UTC))
    tasks = [asyncio.create_task(heartbeat.heartbeat_loop()), asyncio.create_task(heartbeat.self_check_loop(HearingEngine()))]

    async def is_well() -> bool:
        async with story.database.reading() as session:
            beats = await read_beats(session, datetime.now(UTC))
        return any(one.report["engine_reachable"] and one.report["pollers_alive"] for one in beats)

    await wait_until_async(is_well, seconds=USUAL.look_seconds - 1, what="a beat that says so")

    for task in tasks:
        await _end(task)


async def test_purging_goes_on_after_anything(story: Story) -> None:
    database = Database.open(story.database.url, clock=(clock := OddClock()))
    purging = asyncio.create_task(retention_loop(database))

    await wait_until_async(lambda: _is_true(clock.asked > 0), what="a first purge")
    await asyncio.sleep(0)

    assert not purging.done()
    await _end(purging)
    await database.close()


class OddMail(AlertActivities):
    """Fails, sends something, and then has nothing left."""

    def __init__(self) -> None:
        self.turns = 0

    async def deliver(self) -> AlertsSent:
        self.turns += 1
        if self.turns == 1:
            raise RuntimeError("odd")
        return AlertsSent(sent=8 if self.turns == 2 else 0, failed=0)


async def test_alerting_goes_on_after_anything() -> None:
    alerting = asyncio.create_task(alert_retry_loop(mail := OddMail(), every_seconds=0.01))

    await wait_until_async(lambda: _is_true(mail.turns >= 4), what="four turns")

    assert not alerting.done()
    await _end(alerting)


async def _is_true(said: bool) -> bool:
    return said


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
