"""Holds on SQLite and PostgreSQL: what they hold, and that all of it begins when they end."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import NotFound, ValidationFailed
from domain.ids import EventId, HoldId, ReplayId
from domain.lifecycle import LifecycleState
from domain.repairing.holds import Hold
from store.receipts.attempts import SeriesOver, begin_attempt
from store.receipts.held import holds
from store.receipts.held.holds import MOST_HOLDS, end_hold, list_holds, read_hold
from store.receipts.held.release import (
    end_due_holds,
    held_repairs,
    holds_to_release,
    mark_released,
    release_repair,
)
from store.receipts.operator_actions import resolve_manually
from store.receipts.repairs import Begun, begin_repair, request_repair
from tests.store.receipts.repair_setup import set_repair_url
from tests.support.given import OPERATOR, Story

HELD, CALLING = LifecycleState.HELD, LifecycleState.CALLING


async def request(story: Story, event_id: EventId) -> ReplayId:
    begun: Begun = await story.do(request_repair, event_id, requested_by=OPERATOR)
    return begun.replay_id


async def end(story: Story, hold: Hold) -> None:
    async with story.database.transaction() as session:
        await end_hold(session, story.project.id, hold.id, story.at)


async def release_all(story: Story) -> list[bool]:
    """Release what ended holds hold, as the worker's loop does; whether each began."""
    began = []
    async with story.database.transaction() as session:
        await end_due_holds(session, story.at, limit=10)
    async with story.database.reading() as session:
        ended = await holds_to_release(session, after=None, limit=10)
    for hold_id, _ in ended:
        async with story.database.reading() as session:
            held = await held_repairs(session, hold_id, limit=100)
        for event_id, replay_id in held:
            began.append(await story.do(release_repair, event_id, replay_id))
        async with story.database.transaction() as session:
            await mark_released(session, hold_id, story.at)
    return began


async def states(story: Story, event_ids: list[EventId]) -> list[LifecycleState]:
    return [(await story.snapshot(event_id)).state for event_id in event_ids]


@pytest.mark.parametrize(
    ("of", "is_held"),
    [
        ({}, True),
        ({"effect_type": "access_unlock"}, True),
        ({"effect_type": "seat_update"}, False),
        ({"internal_reference": "seat 7"}, True),
        ({"internal_reference": "seat 8"}, False),
        ({"until": timedelta(minutes=31)}, True),
        ({"until": timedelta(minutes=29)}, False),
    ],
    ids=str,
)
async def test_repair_that_is_requested_while_a_hold_matches_is_held(
    story: Story, of: dict[str, Any], is_held: bool
) -> None:
    span = of.get("until")
    await story.hold(**of | {"until": None if span is None else story.at + span})
    event_id, _ = await story.opened(internal_reference="seat 7")

    replay_id = await request(story, event_id)
    again = await request(story, event_id)
    by_signal = await story.do(begin_repair, event_id, requested_by="temporal", replay_id=None)

    (repair,) = await story.rows("repairs", event_id)
    (incident,) = await story.rows("incidents", event_id)
    assert (repair["state"], incident["state"]) == ("held" if is_held else "calling", "repairing")
    assert again == replay_id == by_signal.replay_id
    assert bool(await story.outbox(event_id)) is not is_held


async def test_signal_without_payload_is_held_too(story: Story) -> None:
    await story.hold()
    event_id, _ = await story.opened()

    begun = await story.do(begin_repair, event_id, requested_by="temporal", replay_id=None)

    assert begun.is_new
    assert await states(story, [event_id]) == [HELD]


async def test_held_repairs_begin_in_order_when_the_hold_is_removed(story: Story) -> None:
    hold = await story.hold()
    event_ids = [(await story.opened())[0] for _ in range(3)]
    replay_ids = [await request(story, event_id) for event_id in reversed(event_ids)]

    before = await release_all(story)
    await end(story, hold)
    began = await release_all(story)
    again = await release_all(story)

    assert (before, began, again) == ([], [True] * 3, [])
    assert await states(story, event_ids) == [CALLING] * 3
    rows = [(await story.rows("outbox", event_id))[0] for event_id in reversed(event_ids)]
    assert [row["fields"]["replay_id"] for row in rows] == replay_ids
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert "noted" in await story.timeline(event_ids[0])


async def test_held_repair_begins_after_the_last_hold_that_matches(story: Story) -> None:
    first, second = await story.hold(), await story.hold(effect_type="access_unlock")
    event_id, _ = await story.opened()
    await request(story, event_id)

    await end(story, first)
    still_held = await release_all(story), await states(story, [event_id])
    await end(story, second)
    began = await release_all(story), await states(story, [event_id])

    assert still_held == ([False], [HELD])
    assert began == ([True], [CALLING])


async def test_hold_ends_by_itself(story: Story) -> None:
    await story.hold(until=story.at + timedelta(hours=1))
    event_id, _ = await story.opened()
    await request(story, event_id)

    early = await release_all(story)
    story.later(minutes=31)
    late = await release_all(story)

    assert (early, late) == ([], [True])
    async with story.database.reading() as session:
        assert await list_holds(session, story.project.id) == []


@pytest.mark.parametrize("ends", ["success", "resolve", "by replay"])
async def test_held_repair_ends_with_its_incident(story: Story, ends: str) -> None:
    hold = await story.hold()
    event_id, incident_id = await story.opened()
    replay_id = await request(story, event_id)
    if ends == "resolve":
        closing = {"reason": "refunded", "requested_by": OPERATOR}
        await story.do(resolve_manually, incident_id, **closing)
    else:
        of = {"replay_id": replay_id} if ends == "by replay" else {}
        await story.result(event_id, "success", **of)

    await end(story, hold)
    began = await release_all(story)

    (repair,) = await story.rows("repairs", event_id)
    (incident,) = await story.rows("incidents", event_id)
    expected = {"success": "superseded", "resolve": "closed", "by replay": None}[ends]
    assert (repair["cause"], incident["state"], began) == (expected, "resolved", [])


async def test_release_without_a_repair_url_fails_the_repair_by_its_first_attempt(
    story: Story,
) -> None:
    hold = await story.hold()
    event_id, _ = await story.opened()
    replay_id = await request(story, event_id)
    await set_repair_url(story, None)
    await end(story, hold)
    await release_all(story)

    over = await story.do(begin_attempt, event_id, replay_id)

    assert over == SeriesOver(LifecycleState.OPEN)
    (repair,) = await story.rows("repairs", event_id)
    assert (repair["state"], repair["cause"]) == ("failed", "repair_url_missing")


async def test_no_repair_is_lost_when_requests_and_the_end_of_the_hold_are_at_once(
    story: Story,
) -> None:
    hold = await story.hold()
    event_ids = [(await story.opened())[0] for _ in range(12)]

    async def end_then_release() -> None:
        await end(story, hold)
        await release_all(story)

    requests = [request(story, event_id) for event_id in event_ids]
    await asyncio.gather(*requests[:6], end_then_release(), *requests[6:])
    await release_all(story)

    assert await states(story, event_ids) == [CALLING] * 12
    assert [len(await story.outbox(event_id)) for event_id in event_ids] == [1] * 12


async def test_release_twice_at_once_signals_once(story: Story) -> None:
    hold = await story.hold()
    event_id, _ = await story.opened()
    replay_id = await request(story, event_id)
    await end(story, hold)

    both = (story.do(release_repair, event_id, replay_id) for _ in range(2))
    began = await asyncio.gather(*both)

    assert sorted(began) == [False, True]
    assert len(await story.outbox(event_id)) == 1


async def test_holds_are_listed_with_what_they_hold_and_removed_once(story: Story) -> None:
    hold = await story.hold()
    event_id, _ = await story.opened()
    await request(story, event_id)

    async with story.database.reading() as session:
        (listed,) = await list_holds(session, story.project.id)
    await end(story, hold)
    story.later(hours=1)
    await end(story, hold)

    async with story.database.reading() as session:
        ended = await read_hold(session, story.project.id, hold.id)
        assert await list_holds(session, story.project.id) == []
        with pytest.raises(NotFound):
            await read_hold(session, story.project.id, HoldId("hld_none"))
    assert (listed.held, listed.is_of_all, listed.ended_at) == (1, True, None)
    assert ended.ended_at == story.at - timedelta(hours=1)


async def test_project_has_a_limit_of_active_holds(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_HOLDS == 200
    monkeypatch.setattr(holds, "MOST_HOLDS", 2)
    first = await story.hold()
    await story.hold(effect_type="seat_update")

    with pytest.raises(ValidationFailed):
        await story.hold()
    await end(story, first)
    await story.hold()
