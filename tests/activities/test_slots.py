"""How many callbacks are under way at once, of a project, to a host and in all; who finds no place leaves no trace."""

import asyncio
import time
from contextlib import ExitStack
from datetime import timedelta
from itertools import pairwise

import pytest
from temporalio.testing import ActivityEnvironment

from activities.callback.send import CallbackActivities, CallbackRules
from activities.callback.transport import OutgoingRequest
from activities.messages import Answer, SendCallback
from activities.slots import COME_BACK_SECONDS, CallbackLimits, CallbackSlots, SlotsExhausted
from domain.ids import EventId, ProjectId, ReplayId
from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject, Scope
from domain.retries import ExchangeOutcome
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.projects import create_project
from tests.activities.callback.test_send import CHANCE, SCHEDULE, failing
from tests.support.given import Story
from tests.support.waiting import wait_until_async

FEW = CallbackLimits(total=8, per_project=3, per_host=5)


class Held:
    """CallbackSlots, a clock to move, and who holds one."""

    def __init__(self, limits: CallbackLimits = FEW) -> None:
        self.now = 100.0
        self.places = CallbackSlots(limits, lambda: self.now)
        self.leaving = ExitStack()
        self._replays = 0

    def take(self, project: str, host: str) -> float | None:
        """Take a place; the seconds after which to come back when there is none."""
        self._replays += 1
        try:
            self.leaving.enter_context(self.places.taken(ReplayId(f"rpl_{self._replays}"), ProjectId(project), host))
        except SlotsExhausted as full:
            return full.seconds
        return None

    def taken(self, *asked: tuple[str, str]) -> int:
        """How many of these found a place."""
        return sum(self.take(project, host) is None for project, host in asked)


def test_project_has_its_share_and_others_theirs() -> None:
    held = Held()

    assert held.taken(*[("a", "a.example")] * 6) == 3
    assert held.taken(*[("b", "b.example")] * 2) == 2


def test_host_has_its_share_of_whatever_projects() -> None:
    held = Held(CallbackLimits(total=80, per_project=3, per_host=5))

    assert held.taken(*[(project, "one.example") for project in "abc" for _ in range(3)]) == 5
    assert held.taken(("c", "other.example")) == 1


@pytest.mark.parametrize("hanging", [2, 3, 5, 7])
def test_however_many_projects_hang_whoever_has_none_under_way_finds_a_place(hanging: int) -> None:
    held = Held()
    for _ in range(5):
        for number in range(hanging):
            held.take(f"hanging-{number}", f"hanging-{number}.example")

    assert held.take("other", "other.example") is None


@pytest.mark.parametrize("hanging", [1, 2, 3, 4])
def test_however_many_projects_hang_at_one_host_whoever_has_none_there_finds_a_place(hanging: int) -> None:
    held = Held(CallbackLimits(total=80, per_project=10, per_host=10))
    for _ in range(5):
        for number in range(hanging):
            held.take(f"hanging-{number}", "one.example")

    assert held.take("other", "one.example") is None


def test_place_is_free_again_afterwards_whatever_became_of_the_callback() -> None:
    held = Held()
    with pytest.raises(LookupError), held.places.taken(ReplayId("rpl"), ProjectId("a"), "a.example"):
        raise LookupError

    assert held.taken(*[("a", "a.example")] * 3) == 3
    held.leaving.close()
    assert held.taken(*[("a", "a.example")] * 3) == 3


@pytest.mark.parametrize(
    ("last_held_seconds", "between"),
    [(None, 1.0), (0.01, 0.1), (0.6, 0.2), (30.0, 3.0)],
    ids=["unknown", "quick", "usual", "hanging"],
)
def test_those_without_a_place_come_back_about_as_fast_as_places_become_free(
    last_held_seconds: float | None, between: float
) -> None:
    held = Held()
    if last_held_seconds is not None:
        held.take("a", "a.example")
        held.now += last_held_seconds
        held.leaving.close()
    held.taken(*[("a", "a.example")] * 3)

    turns = [held.take("a", "a.example") or 0 for _ in range(1000)]

    assert turns[0] == COME_BACK_SECONDS
    gaps = [later - earlier for earlier, later in pairwise(turns) if later > COME_BACK_SECONDS]
    assert gaps[1:] == pytest.approx([between] * len(gaps[1:]))
    assert len(gaps) > 900


def test_those_who_wait_are_counted_until_they_come_back() -> None:
    held = Held()
    held.taken(*[("a", "a.example")] * 5)
    assert held.places.counted() == {"callbacks_running": 3, "callbacks_waiting": 2}

    held.leaving.close()
    held.now += 2

    assert held.places.counted() == {"callbacks_running": 0, "callbacks_waiting": 0}


class Hanging:
    """A transport whose calls to one host never end, until they are let to."""

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
            session, sealer, name="quick", livemode=False, scopes=frozenset(Scope), repair_url=url, now=now
        )
    told = Story(database, made.project)
    told.at = now
    return told


async def test_hanging_endpoint_holds_its_own_places_and_its_surplus_leaves_no_trace(
    story: Story, other: Story, sealer: Sealer, project: CreatedProject
) -> None:
    transport = Hanging(str(project.project.repair_url))
    places, rules = CallbackSlots(FEW, time.monotonic), CallbackRules(schedule=SCHEDULE, jitter=0.1)
    activities = CallbackActivities(
        story.database, sealer=sealer, transport=transport, rules=rules, chance=CHANCE, places=places, holder="worker-1"
    )

    async def send(order: SendCallback) -> Answer:
        return await ActivityEnvironment().run(activities.send_callback, order)

    orders = [SendCallback(*await story.repairing()) for _ in range(4)]
    hanging = [asyncio.create_task(send(order)) for order in orders[:3]]
    await wait_until_async(lambda: transport.calls == 3)

    with pytest.raises(Exception, match="under way") as full:
        await send(orders[3])
    answer = await send(SendCallback(*await other.repairing()))

    assert (full.value.type, full.value.non_retryable) == ("attempt_failed", False)  # type: ignore[attr-defined]
    assert full.value.next_retry_delay == timedelta(seconds=COME_BACK_SECONDS)  # type: ignore[attr-defined]
    assert answer.standing.position is LifecycleState.AWAITING_RESULT
    assert not any(task.done() for task in hanging)
    turned_away = EventId(orders[3].event_id)
    assert (await story.rows("attempts", turned_away), "attempt" in await story.told(turned_away)) == ([], False)
    transport.may_end.set()
    await asyncio.gather(*hanging)
    assert (await send(orders[3])).standing.position is LifecycleState.AWAITING_RESULT
    assert transport.numbers == ["1"] * 5


async def test_repair_of_an_unknown_receipt_is_over_and_takes_no_place(story: Story, sealer: Sealer) -> None:
    failure = await failing(story, sealer, Hanging("nowhere"), SendCallback("evt_unknown", "rpl_unknown"))

    assert (failure.type, failure.non_retryable) == ("repair_over", True)
