"""When a worker that lives and does no work ends itself, and when it only waits: nobody's clock decides it, lost tries do."""

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
from worker.health.heartbeat import Bounds, Heartbeat, PollingDied
from worker.temporal.workflow_client import ReceiptWorkflowClient

BOUNDS = Bounds(
    look_seconds=0.01,
    silent_seconds=0.05,
    dead_seconds=0.1,
    canary_every_seconds=0.01,
    canary_patience_seconds=0.02,
    canary_fresh_seconds=0.05,
    canaries_lost_unheard=3,
    canaries_lost_heard=6,
)
WELL_WITHOUT_CANARIES = {
    "engine_reachable": True,
    "pollers_alive": True,
    "canary_fresh": None,
    "canary_at": None,
    "secrets": [],
}
POLLED_AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class Engine(ReceiptWorkflowClient):
    """Heard the worker poll when `polled` says, or is away while that is None."""

    def __init__(self, polled: Iterator[datetime] | None, error: RPCError | None = None) -> None:
        self.looks = 0
        self._polled = polled
        self._error = error or _away()

    async def last_polled_by(self, identity: str, queue: str = "") -> datetime | None:
        self.looks += 1
        if self._polled is None:
            raise self._error
        return next(self._polled)


@pytest.fixture
async def heartbeat(tmp_path: Path) -> AsyncIterator[Heartbeat]:
    database = Database.open(f"sqlite:///{tmp_path / 'unused.db'}")
    yield Heartbeat(database, identity="worker-1", started_at=POLLED_AT, bounds=BOUNDS)
    await database.close()


@asynccontextmanager
async def canaries(
    heartbeat: Heartbeat, run: Callable[[], Awaitable[None]], engine: ReceiptWorkflowClient
) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(heartbeat.canary_loop(run, engine))
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_canaries_lost_while_the_engine_answers_and_hears_no_poll_end_the_process(heartbeat: Heartbeat) -> None:
    runs = Runs(lose=True)

    with pytest.raises(PollingDied):
        await heartbeat.canary_loop(runs, Engine(itertools.repeat(POLLED_AT)))

    assert BOUNDS.canaries_lost_unheard <= runs.count < BOUNDS.canaries_lost_heard


async def test_canaries_lost_while_the_engine_hears_the_polls_end_the_process_later(heartbeat: Heartbeat) -> None:
    runs = Runs(lose=True)

    with pytest.raises(PollingDied):
        await heartbeat.canary_loop(runs, Engine(_moving()))

    assert runs.count >= BOUNDS.canaries_lost_heard


async def test_canaries_that_do_not_come_back_from_an_engine_that_is_away_do_not(heartbeat: Heartbeat) -> None:
    runs = Runs(lose=True)

    async with canaries(heartbeat, runs, Engine(None)) as running:
        await wait_until_async(lambda: runs.count >= 3 * BOUNDS.canaries_lost_heard, what="many lost canaries")

        assert not running.done()


async def test_canary_that_the_engine_does_not_take_is_not_lost(heartbeat: Heartbeat) -> None:
    runs = Runs(lose=True, error=_away())

    async with canaries(heartbeat, runs, Engine(_moving())) as running:
        await wait_until_async(lambda: runs.count >= 3 * BOUNDS.canaries_lost_heard, what="many canaries that were refused")

        assert not running.done()


async def test_canary_that_temporal_refuses_ends_nothing_and_is_named(heartbeat: Heartbeat) -> None:
    runs = Runs(error=_denied())
    looking = asyncio.create_task(heartbeat.self_check_loop(Engine(_moving())))

    async with canaries(heartbeat, runs, Engine(_moving())) as running:
        await wait_until_async(lambda: runs.count >= 3 * BOUNDS.canaries_lost_heard, what="many canaries that were refused")

        assert not running.done()
        assert heartbeat._report() == WELL_WITHOUT_CANARIES | {"missing": ["canary: PERMISSION_DENIED: not you"]}
    await _end(looking)


async def test_worker_whose_polls_temporal_does_not_name_is_well_while_its_canaries_come_back(heartbeat: Heartbeat) -> None:
    runs, engine = Runs(), Engine(None, _denied())
    looking = asyncio.create_task(heartbeat.self_check_loop(engine))

    async with canaries(heartbeat, runs, engine) as running:
        await wait_until_async(lambda: runs.count > 3 and engine.looks > 3, what="canaries and looks")

        assert not running.done()
        assert not looking.done()
        report = heartbeat._report()
        assert (report["engine_reachable"], report["pollers_alive"], report["canary_fresh"]) == (True, True, True)
        assert report["missing"] == ["DescribeTaskQueue: PERMISSION_DENIED: not you"]
    await _end(looking)


async def test_worker_of_which_nothing_can_be_known_is_red(heartbeat: Heartbeat) -> None:
    runs, engine = Runs(error=_denied()), Engine(None, _denied())
    looking = asyncio.create_task(heartbeat.self_check_loop(engine))

    async with canaries(heartbeat, runs, engine) as running:
        await wait_until_async(lambda: runs.count > 3 and engine.looks > 3, what="canaries and looks")

        assert not running.done()
        assert (heartbeat._report()["engine_reachable"], heartbeat._report()["pollers_alive"]) == (True, False)
    await _end(looking)


async def test_canary_that_comes_back_now_and_then_keeps_the_process(heartbeat: Heartbeat) -> None:
    runs = Runs(lose_all_but=BOUNDS.canaries_lost_unheard)

    async with canaries(heartbeat, runs, Engine(itertools.repeat(POLLED_AT))) as running:
        await wait_until_async(lambda: runs.count >= 5 * BOUNDS.canaries_lost_heard, what="many canaries")

        assert not running.done()


async def test_engine_that_no_longer_hears_the_worker_ends_the_process(heartbeat: Heartbeat) -> None:
    engine = Engine(itertools.repeat(POLLED_AT))

    with pytest.raises(PollingDied):
        await heartbeat.self_check_loop(engine)

    assert engine.looks > BOUNDS.dead_seconds / BOUNDS.look_seconds


class Runs:
    """Canaries, counted: each is lost, or fails, or all but every n-th one is."""

    def __init__(self, *, lose: bool = False, lose_all_but: int = 1, error: Exception | None = None) -> None:
        self.count = 0
        self._lose, self._lose_all_but, self._error = lose, lose_all_but, error

    async def __call__(self) -> None:
        self.count += 1
        if self._error is not None:
            raise self._error
        if self._lose or self.count % self._lose_all_but:
            await asyncio.Event().wait()


def _moving() -> Iterator[datetime]:
    at = POLLED_AT
    while True:
        yield at
        at += timedelta(seconds=1)


def _away() -> RPCError:
    return RPCError("away", RPCStatusCode.UNAVAILABLE, b"")


def _denied() -> RPCError:
    return RPCError("not you", RPCStatusCode.PERMISSION_DENIED, b"")


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
