"""One attempt has one holder: no second process sends it while the first lives.

Each worker here has its heartbeat in the store, as a real one does. Time passes by the store's
clock.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.callback.send import RECORD_SECONDS, RUN_SECONDS, CallbackActivities
from activities.callback.transport import OutgoingRequest
from activities.messages import LifecycleResult, SendCallback
from domain.errors import Unavailable
from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.retries import ErrorClass, ExchangeOutcome
from store.crypto.encryption import Sealer
from store.receipts.attempts import LONGEST_ATTEMPT_HOLD
from store.status.heartbeats import ENDED, write_heartbeat
from tests.activities.callback.endpoints import Endpoint, Slow, built
from tests.support.given import Story
from worker.health.heartbeat import WorkerHeartbeat

LOST_SIGHT = timedelta(seconds=6)  # longer than Temporal's heartbeat timeout of a callback
_numbers = itertools.count(1)


@dataclass
class WorkerProcess:
    """A worker process that holds attempts under its heartbeat's name."""

    story: Story
    activities: CallbackActivities
    name: str

    async def send(self, order: SendCallback) -> LifecycleResult:
        return await ActivityEnvironment().run(self.activities.send_callback, order)

    async def refused(self, order: SendCallback) -> timedelta:
        """Send, and return the retry delay."""
        with pytest.raises(ApplicationError) as failure:
            await self.send(order)
        assert (failure.value.type, failure.value.non_retryable) == ("attempt_failed", False)
        assert failure.value.next_retry_delay is not None
        return failure.value.next_retry_delay

    async def write_heartbeat(self, **report: object) -> None:
        """Write the heartbeat of this process, now by the store's clock."""
        async with self.story.database.transaction() as session:
            now = await self.story.database.now(session)
            await write_heartbeat(
                session, process=self.name, role="worker", started_at=now, now=now, report=report
            )


def worker(story: Story, sealer: Sealer, transport: Any) -> WorkerProcess:
    name = f"worker-{next(_numbers)}"
    return WorkerProcess(story, built(story, sealer, transport, holder=name), name)


@pytest.fixture
async def order(story: Story) -> SendCallback:
    return SendCallback(*await story.repairing())


@asynccontextmanager
async def in_flight(
    process: WorkerProcess, order: SendCallback, slow: Slow
) -> AsyncIterator[asyncio.Task[LifecycleResult]]:
    """An attempt that waits for the endpoint's response."""
    sending = asyncio.create_task(process.send(order))
    await asyncio.wait_for(slow.is_called.wait(), 10)
    try:
        yield sending
    finally:
        slow.may_answer.set()
        await asyncio.gather(sending, return_exceptions=True)


async def attempts_of(story: Story, order: SendCallback) -> list[tuple[int, str, int | None]]:
    return [
        (row["number"], row["state"], row["status"])
        for row in await story.rows("attempts", EventId(order.event_id))
    ]


async def test_attempt_in_flight_is_not_sent_by_another_worker_while_its_own_lives(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    slow, endpoint = Slow(), Endpoint(200)
    first, second = worker(story, sealer, slow), worker(story, sealer, endpoint)
    async with in_flight(first, order, slow) as sending:
        for _ in range(4):
            story.database.clock.skew += LOST_SIGHT
            await first.write_heartbeat()
            assert await second.refused(order) == timedelta(seconds=2)
        slow.may_answer.set()
        answer = await sending

    assert endpoint.requests == []
    assert answer.status.state is LifecycleState.AWAITING_RESULT
    assert await attempts_of(story, order) == [(1, "finished", 200)]


async def test_second_run_in_a_worker_joins_its_attempt_in_flight(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    slow = Counted()
    process = worker(story, sealer, slow)
    async with in_flight(process, order, slow) as sending:
        story.database.clock.skew += LOST_SIGHT
        again = [asyncio.create_task(process.send(order)) for _ in range(3)]
        await asyncio.sleep(0)
        # Temporal gives up the first run.
        sending.cancel()
        slow.may_answer.set()
        answers = await asyncio.gather(*again)

    assert slow.calls == 1
    assert [answer.status.state for answer in answers] == [LifecycleState.AWAITING_RESULT] * 3
    assert await attempts_of(story, order) == [(1, "finished", 200)]


async def test_failure_of_a_joined_attempt_is_followed_by_one_next_attempt(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    slow = Counted(ExchangeOutcome(503, None, 12))
    process = worker(story, sealer, slow)
    async with in_flight(process, order, slow) as sending:
        again = asyncio.create_task(process.refused(order))
        await asyncio.sleep(0)
        slow.may_answer.set()
        assert await again == timedelta(seconds=60)
        with pytest.raises(ApplicationError):
            await sending

    assert await attempts_of(story, order) == [(1, "finished", 503)]


async def test_attempt_of_a_dead_worker_is_sent_again_after_two_checks_found_it_stale(
    story: Story, sealer: Sealer, order: SendCallback, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint(200)
    dead, second = worker(story, sealer, Dying()), worker(story, sealer, endpoint)
    await dead.write_heartbeat()
    with pytest.raises(asyncio.CancelledError):
        await dead.send(order)
    story.database.clock.skew += 2 * LOST_SIGHT

    await second.refused(order)
    await second.refused(order)
    before = len(endpoint.requests)
    monkeypatch.setattr("activities.callback.attempts.CONFIRM_SECONDS", 0)
    answer = await second.send(order)

    assert before == 0
    assert answer.status.state is LifecycleState.AWAITING_RESULT
    assert endpoint.headers()["x-sendpromptly-attempt"] == "1"


async def test_store_outage_makes_every_heartbeat_stale_and_hands_no_attempt_over(
    story: Story, sealer: Sealer, order: SendCallback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.callback.attempts.CONFIRM_SECONDS", 0)
    slow, endpoint = Slow(), Endpoint(200)
    first, second = worker(story, sealer, slow), worker(story, sealer, endpoint)
    await first.write_heartbeat()
    async with in_flight(first, order, slow):
        story.database.clock.skew += timedelta(seconds=12)
        await second.refused(order)
        await first.write_heartbeat()
        await second.refused(order)

    assert endpoint.requests == []


async def test_attempt_of_a_worker_that_ended_is_taken_over_at_once(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    endpoint = Endpoint(200)
    gone, second = worker(story, sealer, Dying()), worker(story, sealer, endpoint)
    with pytest.raises(asyncio.CancelledError):
        await gone.send(order)
    story.database.clock.skew += LOST_SIGHT
    await gone.write_heartbeat(**{ENDED: True})

    assert (await second.send(order)).status.state is LifecycleState.AWAITING_RESULT


async def test_stopped_heartbeat_reports_that_its_worker_ended(story: Story) -> None:
    heartbeat = WorkerHeartbeat(
        story.database, identity="worker-stopped", started_at=datetime.now(UTC)
    )
    loop = asyncio.create_task(heartbeat.heartbeat_loop())
    await asyncio.sleep(0)

    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    await heartbeat.end()

    async with story.database.reading() as session:
        from store.status.heartbeats import read_heartbeats

        heartbeats = await read_heartbeats(session, await story.database.now(session))
    assert [(found.process, found.report.get(ENDED)) for found in heartbeats] == [
        ("worker-stopped", True)
    ]


def test_attempt_is_held_for_longer_than_it_is_sent_and_recorded() -> None:
    assert (timedelta(seconds=RUN_SECONDS + RECORD_SECONDS), LONGEST_ATTEMPT_HOLD) == (
        timedelta(seconds=635),
        timedelta(seconds=660),
    )


@pytest.mark.parametrize(("seconds", "is_held"), [(60, True), (659, True), (661, False)])
async def test_attempt_that_a_living_worker_forgot_is_held_for_at_most_660_seconds(
    story: Story, sealer: Sealer, order: SendCallback, seconds: int, is_held: bool
) -> None:
    endpoint = Endpoint(200)
    forgetful, second = worker(story, sealer, Dying()), worker(story, sealer, endpoint)
    with pytest.raises(asyncio.CancelledError):
        await forgetful.send(order)
    story.database.clock.skew += timedelta(seconds=seconds)
    await forgetful.write_heartbeat()

    if is_held:
        await second.refused(order)
    else:
        await second.send(order)

    assert len(endpoint.requests) == (not is_held)


@pytest.mark.parametrize(
    "late",
    [
        ExchangeOutcome(200, None, 12),
        ExchangeOutcome(400, None, 12),
        ExchangeOutcome(None, ErrorClass.TIMEOUT, 30_000),
    ],
    ids=["accepted", "declined", "failed"],
)
async def test_worker_that_lost_its_attempt_while_it_was_stopped_records_nothing(
    story: Story,
    sealer: Sealer,
    order: SendCallback,
    late: ExchangeOutcome,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("activities.callback.attempts.CONFIRM_SECONDS", 0)
    stopped_in, taken_over_in = Counted(late), Slow()
    stopped, second = worker(story, sealer, stopped_in), worker(story, sealer, taken_over_in)
    await stopped.write_heartbeat()
    async with in_flight(stopped, order, stopped_in) as sending:
        story.database.clock.skew += timedelta(seconds=30)
        await second.refused(order)
        async with in_flight(second, order, taken_over_in) as taken_over:
            stopped_in.may_answer.set()
            with pytest.raises(ApplicationError, match="took this attempt over"):
                await sending
            meanwhile = await attempts_of(story, order)
            taken_over_in.may_answer.set()
            answer = await taken_over

    assert meanwhile == [(1, "started", None)]
    assert answer.status.state is LifecycleState.AWAITING_RESULT
    assert await attempts_of(story, order) == [(1, "finished", 200)]


async def test_outcome_is_kept_until_it_is_stored_even_after_the_run_ends(
    story: Story, sealer: Sealer, order: SendCallback, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Counted()
    process = worker(story, sealer, slow)
    refusals, transaction = iter(range(5)), story.database.transaction
    async with in_flight(process, order, slow) as sending:
        monkeypatch.setattr(story.database, "transaction", lambda: _away(refusals) or transaction())
        slow.may_answer.set()
        # Temporal gives up the run, and this worker gets the next one.
        answer = await process.send(order)
        await sending

    assert (slow.calls, answer.status.state) == (1, LifecycleState.AWAITING_RESULT)
    assert next(refusals, None) is None


def _away(refusals: Iterator[int]) -> None:
    if next(refusals, None) is not None:
        raise Unavailable("the store is away")


class Counted(Slow):
    """Counts its calls, and returns the outcome once `may_answer` is set."""

    def __init__(self, outcome: ExchangeOutcome | None = None) -> None:
        super().__init__()
        self.calls = 0
        self._outcome = outcome or ExchangeOutcome(200, None, 12)

    async def __call__(self, request: OutgoingRequest) -> ExchangeOutcome:
        self.calls += 1
        await super().__call__(request)
        return self._outcome


class Dying:
    """The process dies while the endpoint is being called."""

    async def __call__(self, request: OutgoingRequest) -> ExchangeOutcome:
        raise asyncio.CancelledError
