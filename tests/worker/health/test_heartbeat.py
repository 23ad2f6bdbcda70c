"""A worker that does no work ends after failed checks, and waits while Temporal is unavailable."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.service import RPCError, RPCStatusCode

from store.db.database import Database
from tests.support.waiting import wait_until_async
from worker.health.heartbeat import WorkerHeartbeat
from worker.health.thresholds import HealthThresholds, PollingDied
from worker.temporal.workflow_client import ReceiptWorkflowClient

THRESHOLDS = HealthThresholds(
    check_seconds=0.01,
    silent_seconds=0.05,
    dead_seconds=0.1,
    canary_every_seconds=0.01,
    canary_timeout_seconds=0.02,
    canary_fresh_seconds=0.05,
    timed_out_without_polls=3,
    timed_out_with_polls=6,
)
HEALTHY_WITHOUT_CANARIES = {
    "temporal_reachable": True,
    "pollers_alive": True,
    "canary_fresh": None,
    "canary_at": None,
    "secrets": [],
}
POLLED_AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class PollTimes(ReceiptWorkflowClient):
    """A client whose Temporal saw polls at the given instants; None: it is unavailable."""

    def __init__(self, polled: Iterator[datetime] | None, error: RPCError | None = None) -> None:
        self.calls = 0
        self._polled = polled
        self._error = error or _unavailable()

    async def last_polled_by(self, identity: str, queue: str = "") -> datetime | None:
        self.calls += 1
        if self._polled is None:
            raise self._error
        return next(self._polled)


@pytest.fixture
async def heartbeat(tmp_path: Path) -> AsyncIterator[WorkerHeartbeat]:
    database = Database.open(f"sqlite:///{tmp_path / 'unused.db'}")
    yield WorkerHeartbeat(
        database, identity="worker-1", started_at=POLLED_AT, thresholds=THRESHOLDS
    )
    await database.close()


@asynccontextmanager
async def canaries(
    heartbeat: WorkerHeartbeat,
    run: Callable[[], Awaitable[None]],
    workflow_client: ReceiptWorkflowClient,
) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(heartbeat.self_check.canary_loop(run, workflow_client))
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_timed_out_canaries_end_the_process_when_temporal_sees_no_poll(
    heartbeat: WorkerHeartbeat,
) -> None:
    runs = Runs(hang=True)

    with pytest.raises(PollingDied):
        await heartbeat.self_check.canary_loop(runs, PollTimes(itertools.repeat(POLLED_AT)))

    assert THRESHOLDS.timed_out_without_polls <= runs.count < THRESHOLDS.timed_out_with_polls


async def test_timed_out_canaries_end_the_process_later_when_temporal_sees_polls(
    heartbeat: WorkerHeartbeat,
) -> None:
    runs = Runs(hang=True)

    with pytest.raises(PollingDied):
        await heartbeat.self_check.canary_loop(runs, PollTimes(_moving()))

    assert runs.count >= THRESHOLDS.timed_out_with_polls


async def test_timed_out_canaries_do_not_end_the_process_while_temporal_is_unavailable(
    heartbeat: WorkerHeartbeat,
) -> None:
    runs = Runs(hang=True)

    async with canaries(heartbeat, runs, PollTimes(None)) as running:
        await wait_until_async(
            lambda: runs.count >= 3 * THRESHOLDS.timed_out_with_polls,
            what="many canaries that timed out",
        )

        assert not running.done()


async def test_canary_that_cannot_be_started_does_not_count_as_timed_out(
    heartbeat: WorkerHeartbeat,
) -> None:
    runs = Runs(hang=True, error=_unavailable())

    async with canaries(heartbeat, runs, PollTimes(_moving())) as running:
        await wait_until_async(
            lambda: runs.count >= 3 * THRESHOLDS.timed_out_with_polls,
            what="many canaries that were refused",
        )

        assert not running.done()


async def test_canary_that_temporal_refuses_is_reported_and_ends_nothing(
    heartbeat: WorkerHeartbeat,
) -> None:
    runs = Runs(error=_denied())
    checking = asyncio.create_task(heartbeat.self_check.poll_check_loop(PollTimes(_moving())))

    async with canaries(heartbeat, runs, PollTimes(_moving())) as running:
        await wait_until_async(
            lambda: runs.count >= 3 * THRESHOLDS.timed_out_with_polls,
            what="many canaries that were refused",
        )

        assert not running.done()
        assert heartbeat._report() == HEALTHY_WITHOUT_CANARIES | {
            "missing": ["canary: PERMISSION_DENIED: not permitted"]
        }
    await _end(checking)


async def test_worker_whose_polls_are_not_listed_is_healthy_while_canaries_complete(
    heartbeat: WorkerHeartbeat,
) -> None:
    runs, workflow_client = Runs(), PollTimes(None, _denied())
    checking = asyncio.create_task(heartbeat.self_check.poll_check_loop(workflow_client))

    async with canaries(heartbeat, runs, workflow_client) as running:
        await wait_until_async(
            lambda: runs.count > 3 and workflow_client.calls > 3, what="canaries and checks"
        )

        assert not running.done()
        assert not checking.done()
        report = heartbeat._report()
        assert (report["temporal_reachable"], report["pollers_alive"], report["canary_fresh"]) == (
            True,
            True,
            True,
        )
        assert report["missing"] == ["DescribeTaskQueue: PERMISSION_DENIED: not permitted"]
    await _end(checking)


async def test_worker_whose_checks_are_all_refused_is_unhealthy(heartbeat: WorkerHeartbeat) -> None:
    runs, workflow_client = Runs(error=_denied()), PollTimes(None, _denied())
    checking = asyncio.create_task(heartbeat.self_check.poll_check_loop(workflow_client))

    async with canaries(heartbeat, runs, workflow_client) as running:
        await wait_until_async(
            lambda: runs.count > 3 and workflow_client.calls > 3, what="canaries and checks"
        )

        assert not running.done()
        assert (
            heartbeat._report()["temporal_reachable"],
            heartbeat._report()["pollers_alive"],
        ) == (
            True,
            False,
        )
    await _end(checking)


async def test_canary_that_completes_now_and_then_keeps_the_process(
    heartbeat: WorkerHeartbeat,
) -> None:
    runs = Runs(hang_all_but=THRESHOLDS.timed_out_without_polls)

    async with canaries(heartbeat, runs, PollTimes(itertools.repeat(POLLED_AT))) as running:
        await wait_until_async(
            lambda: runs.count >= 5 * THRESHOLDS.timed_out_with_polls, what="many canaries"
        )

        assert not running.done()


async def test_process_ends_when_temporal_sees_no_poll_of_it(heartbeat: WorkerHeartbeat) -> None:
    workflow_client = PollTimes(itertools.repeat(POLLED_AT))

    with pytest.raises(PollingDied):
        await heartbeat.self_check.poll_check_loop(workflow_client)

    assert workflow_client.calls > THRESHOLDS.dead_seconds / THRESHOLDS.check_seconds


class Runs:
    """Counted canaries: each one hangs or fails, or all but every n-th one hang."""

    def __init__(
        self, *, hang: bool = False, hang_all_but: int = 1, error: Exception | None = None
    ) -> None:
        self.count = 0
        self._hang, self._hang_all_but, self._error = hang, hang_all_but, error

    async def __call__(self) -> None:
        self.count += 1
        if self._error is not None:
            raise self._error
        if self._hang or self.count % self._hang_all_but:
            await asyncio.Event().wait()


def _moving() -> Iterator[datetime]:
    at = POLLED_AT
    while True:
        yield at
        at += timedelta(seconds=1)


def _unavailable() -> RPCError:
    return RPCError("unavailable", RPCStatusCode.UNAVAILABLE, b"")


def _denied() -> RPCError:
    return RPCError("not permitted", RPCStatusCode.PERMISSION_DENIED, b"")


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
