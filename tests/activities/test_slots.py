"""Limits of concurrent callbacks, per project, per host and in all. A refused callback writes
nothing.
"""

import asyncio
import time
from contextlib import ExitStack
from datetime import timedelta
from itertools import pairwise

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.callback.send import CallbackActivities, CallbackRules
from activities.callback.transport import OutgoingRequest
from activities.messages import LifecycleResult, SendCallback
from activities.slots import RETRY_AFTER_SECONDS, CallbackLimits, CallbackSlots, SlotsExhausted
from domain.ids import EventId, ProjectId, ReplayId
from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject, Scope
from domain.retries import ExchangeOutcome
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.projects import create_project
from tests.activities.callback.endpoints import SCHEDULE, SOURCES, failing
from tests.support.given import Story
from tests.support.waiting import wait_until_async

FEW = CallbackLimits(total=8, per_project=3, per_host=5)


class Held:
    """CallbackSlots with a clock to move, and the slots held."""

    def __init__(self, limits: CallbackLimits = FEW) -> None:
        self.now = 100.0
        self.slots = CallbackSlots(limits, lambda: self.now)
        self.leaving = ExitStack()
        self._replays = 0

    def take(self, project: str, host: str) -> float | None:
        """Acquire a slot. Return the retry delay in seconds if none is free."""
        self._replays += 1
        try:
            self.leaving.enter_context(
                self.slots.acquire(ReplayId(f"rpl_{self._replays}"), ProjectId(project), host)
            )
        except SlotsExhausted as full:
            return full.seconds
        return None

    def taken(self, *wanted: tuple[str, str]) -> int:
        """How many of these got a slot."""
        return sum(self.take(project, host) is None for project, host in wanted)


def test_each_project_has_its_share_of_slots() -> None:
    held = Held()

    assert held.taken(*[("a", "a.example")] * 6) == 3
    assert held.taken(*[("b", "b.example")] * 2) == 2


def test_host_has_its_share_across_projects() -> None:
    held = Held(CallbackLimits(total=80, per_project=3, per_host=5))

    assert held.taken(*[(project, "one.example") for project in "abc" for _ in range(3)]) == 5
    assert held.taken(("c", "other.example")) == 1


@pytest.mark.parametrize("hanging", [2, 3, 5, 7])
def test_project_with_none_running_gets_a_slot_however_many_projects_hang(hanging: int) -> None:
    held = Held()
    for _ in range(5):
        for number in range(hanging):
            held.take(f"hanging-{number}", f"hanging-{number}.example")

    assert held.take("other", "other.example") is None


@pytest.mark.parametrize("hanging", [1, 2, 3, 4])
def test_project_with_none_at_a_host_gets_a_slot_however_many_hang_there(hanging: int) -> None:
    held = Held(CallbackLimits(total=80, per_project=10, per_host=10))
    for _ in range(5):
        for number in range(hanging):
            held.take(f"hanging-{number}", "one.example")

    assert held.take("other", "one.example") is None


def test_slot_is_released_even_if_the_callback_raises() -> None:
    held = Held()
    with (
        pytest.raises(LookupError),
        held.slots.acquire(ReplayId("rpl"), ProjectId("a"), "a.example"),
    ):
        raise LookupError

    assert held.taken(*[("a", "a.example")] * 3) == 3
    held.leaving.close()
    assert held.taken(*[("a", "a.example")] * 3) == 3


@pytest.mark.parametrize(
    ("last_held_seconds", "between"),
    [(None, 1.0), (0.01, 0.1), (0.6, 0.2), (30.0, 3.0)],
    ids=["unknown", "quick", "usual", "hanging"],
)
def test_retries_are_spaced_about_as_fast_as_slots_become_free(
    last_held_seconds: float | None, between: float
) -> None:
    held = Held()
    if last_held_seconds is not None:
        held.take("a", "a.example")
        held.now += last_held_seconds
        held.leaving.close()
    held.taken(*[("a", "a.example")] * 3)

    turns = [held.take("a", "a.example") or 0 for _ in range(1000)]

    assert turns[0] == RETRY_AFTER_SECONDS
    gaps = [later - earlier for earlier, later in pairwise(turns) if later > RETRY_AFTER_SECONDS]
    assert gaps[1:] == pytest.approx([between] * len(gaps[1:]))
    assert len(gaps) > 900


def test_waiting_callers_are_counted_until_their_retry() -> None:
    held = Held()
    held.taken(*[("a", "a.example")] * 5)
    assert held.slots.counts() == {"callbacks_running": 3, "callbacks_waiting": 2}

    held.leaving.close()
    held.now += 2

    assert held.slots.counts() == {"callbacks_running": 0, "callbacks_waiting": 0}


class Hanging:
    """A transport whose calls to one host hang until `may_end` is set."""

    def __init__(self, host: str) -> None:
        self.calls = 0
        self.may_end = asyncio.Event()
        self.numbers: list[str] = []
        self._host = host

    async def __call__(self, request: OutgoingRequest) -> ExchangeOutcome:
        if self._host in request.url:
            self.calls += 1
            await self.may_end.wait()
        self.numbers.append(dict(request.headers)["X-SendPromptly-Attempt"])
        return ExchangeOutcome(200, None, 12)


@pytest.fixture
async def other(database: Database, sealer: Sealer) -> Story:
    """Another project, whose endpoint is elsewhere."""
    async with database.transaction() as session:
        now = await database.now(session)
        url = "https://quick.example/repair"
        made = await create_project(
            session,
            sealer,
            name="quick",
            livemode=False,
            scopes=frozenset(Scope),
            repair_url=url,
            now=now,
        )
    story = Story(database, made.project)
    story.at = now
    return story


async def test_hanging_endpoint_uses_only_its_own_slots_and_its_surplus_writes_nothing(
    story: Story, other: Story, sealer: Sealer, project: CreatedProject
) -> None:
    transport = Hanging(str(project.project.repair_url))
    slots, rules = CallbackSlots(FEW, time.monotonic), CallbackRules(schedule=SCHEDULE, jitter=0.1)
    activities = CallbackActivities(
        story.database,
        sealer=sealer,
        transport=transport,
        rules=rules,
        sources=SOURCES,
        slots=slots,
        holder="worker-1",
    )

    async def send(order: SendCallback) -> LifecycleResult:
        return await ActivityEnvironment().run(activities.send_callback, order)

    orders = [SendCallback(*await story.repairing()) for _ in range(4)]
    hanging = [asyncio.create_task(send(order)) for order in orders[:3]]
    await wait_until_async(lambda: transport.calls == 3)

    with pytest.raises(ApplicationError, match="under way") as full:
        await send(orders[3])
    answer = await send(SendCallback(*await other.repairing()))

    assert (full.value.type, full.value.non_retryable) == ("attempt_failed", False)
    assert full.value.next_retry_delay == timedelta(seconds=RETRY_AFTER_SECONDS)
    assert answer.status.state is LifecycleState.AWAITING_RESULT
    assert not any(task.done() for task in hanging)
    refused = EventId(orders[3].event_id)
    assert (await story.rows("attempts", refused), "attempt" in await story.timeline(refused)) == (
        [],
        False,
    )
    transport.may_end.set()
    await asyncio.gather(*hanging)
    assert (await send(orders[3])).status.state is LifecycleState.AWAITING_RESULT
    assert transport.numbers == ["1"] * 5


async def test_repair_of_an_unknown_receipt_ends_and_takes_no_slot(
    story: Story, sealer: Sealer
) -> None:
    failure = await failing(
        story, sealer, Hanging("nowhere"), SendCallback("evt_unknown", "rpl_unknown")
    )

    assert (failure.type, failure.non_retryable) == ("repair_over", True)
