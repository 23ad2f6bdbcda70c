"""The loops of holds and rules: one broken row stops neither its neighbours nor other projects."""

from datetime import datetime

import pytest
from structlog.testing import capture_logs

from domain.lifecycle import LifecycleState
from domain.repairing.rules import RuleSpec
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.receipts.held.holds import end_hold
from store.receipts.repairs import request_repair
from store.repairing.rules import replace_rules
from tests.store.alerts.test_claims import other_project
from tests.store.receipts.repair_setup import set_repair_url
from tests.support.given import OPERATOR, Story
from tests.worker.loops.test_retention import broken
from worker.repairing import holds, rules
from worker.repairing.holds import HoldReleases
from worker.repairing.rules import RuleRepairs

RULE = RuleSpec("again", None, None, None, None, 0, 1, 1_000, 5)


@pytest.fixture
async def stories(story: Story, sealer: Sealer) -> list[Story]:
    """Two projects, both at the present instant."""
    async with story.database.reading() as session:
        story.at = await story.database.now(session)
    other = await other_project(story, sealer)
    await set_repair_url(other, "https://other.example/repair")
    return [story, other]


async def now(database: Database) -> datetime:
    async with database.reading() as session:
        return await database.now(session)


async def states(story: Story, event_ids: list[str]) -> list[str]:
    return [
        (await story.snapshot(event_id)).state  # type: ignore[arg-type]  # an id
        for event_id in event_ids
    ]


async def test_ended_hold_releases_a_part_of_each_project_in_a_turn(
    database: Database, stories: list[Story], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holds, "RELEASED_AT_ONCE", 2)
    held = []
    for story, count in zip(stories, (5, 1), strict=True):
        hold = await story.hold()
        events = [(await story.opened())[0] for _ in range(count)]
        for event_id in events:
            await story.do(request_repair, event_id, requested_by=OPERATOR)
        async with database.transaction() as session:
            await end_hold(session, story.project.id, hold.id, story.at)
        held.append(events)
    loop = HoldReleases(database)

    has_more = await loop.turn()
    first = [await states(story, ids) for story, ids in zip(stories, held, strict=True)]
    for _ in range(4):
        await loop.turn()
    last = [await states(story, ids) for story, ids in zip(stories, held, strict=True)]

    calling, waits = LifecycleState.CALLING, LifecycleState.HELD
    assert has_more
    assert first == [[calling] * 2 + [waits] * 3, [calling]]
    assert last == [[calling] * 5, [calling]]
    assert await loop.turn() is False


async def test_held_repair_that_cannot_begin_does_not_stop_the_others(
    database: Database, stories: list[Story]
) -> None:
    story = stories[0]
    hold = await story.hold()
    events = [(await story.opened())[0] for _ in range(3)]
    for event_id in events:
        await story.do(request_repair, event_id, requested_by=OPERATOR)
    async with database.transaction() as session:
        await end_hold(session, story.project.id, hold.id, story.at)
    loop = HoldReleases(database)

    async with broken(database, "repairs", "UPDATE", f"OLD.event_id = '{events[0]}'"):
        with capture_logs() as logs:
            for _ in range(2):
                await loop.turn()

    assert await states(story, list(events)) == ["held", "calling", "calling"]
    assert [log["event"] for log in logs] == ["held_repair_not_released"]
    loop._backoffs.forget((await story.rows("repairs", events[0]))[0]["replay_id"])
    await loop.turn()
    assert await states(story, list(events)) == ["calling"] * 3


async def test_incident_that_cannot_be_judged_does_not_stop_the_others(
    database: Database, stories: list[Story], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "JUDGED_AT_ONCE", 2)
    opened: list[list[str]] = []
    for story, count in zip(stories, (4, 1), strict=True):
        async with database.transaction() as session:
            await replace_rules(session, story.project.id, [RULE])
        events = [await story.receipt() for _ in range(count)]
        for event_id in events:
            await story.result(event_id, "failed")
        opened.append(list(events))
    loop = RuleRepairs(database)

    async with broken(database, "repairs", "INSERT", f"NEW.event_id = '{opened[0][0]}'"):
        with capture_logs() as logs:
            has_more = await loop.turn()
            other = await states(stories[1], opened[1])
            await loop.turn()
            await loop.turn()

    assert (has_more, other) == (True, ["calling"])
    assert await states(stories[0], opened[0]) == ["open", "calling", "calling", "calling"]
    assert [log["event"] for log in logs] == ["incident_not_judged"]
