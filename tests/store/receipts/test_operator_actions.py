"""What an operator does by hand:

resolve, stop a repair, acknowledge, expire; each refused where the contract says so.
"""

import asyncio

import pytest

from domain.errors import IncidentAlreadyResolved, NotFound, NotWaiting
from domain.ids import EventId, IncidentId
from domain.lifecycle import TRANSITIONS, LifecycleState, Trigger
from store.receipts.deadlines import Opened, open_incident
from store.receipts.operator_actions import (
    acknowledge,
    expire,
    resolve_manually,
    stop_repair,
)
from tests.support.given import OPERATOR, Story

OPEN = (LifecycleState.OPEN, LifecycleState.CALLING, LifecycleState.AWAITING_RESULT)
RESOLVED = (LifecycleState.RECOVERED, LifecycleState.CLOSED)


async def resolved(story: Story, event_id: EventId) -> EventId:
    return await story.do(
        resolve_manually,
        await story.incident_id(event_id),
        reason="refunded",
        requested_by=OPERATOR,
    )


async def acknowledged(story: Story, event_id: EventId) -> EventId:
    return await story.do(acknowledge, await story.incident_id(event_id), requested_by=OPERATOR)


@pytest.mark.parametrize("state", OPEN)
async def test_resolving_by_hand_closes_the_receipt_and_ends_an_active_repair(
    story: Story, state: LifecycleState
) -> None:
    event_id, _ = await story.reach(state)

    assert await resolved(story, event_id) == event_id

    snapshot = await story.snapshot(event_id)
    (incident,) = await story.rows("incidents", event_id)
    (repair,) = await story.rows("repairs", event_id)
    entry = (await story.rows("timeline", event_id))[-1]
    assert snapshot.state is LifecycleState.CLOSED
    assert (incident["state"], incident["resolution"]) == ("resolved", "manual")
    assert (repair["state"], repair["cause"]) == (
        "failed",
        "rejected" if state is LifecycleState.OPEN else "closed",
    )
    assert (entry["kind"], entry["fields"]["reason"], entry["fields"]["requested_by"]) == (
        "incident_resolved",
        "refunded",
        OPERATOR,
    )
    assert (await story.outbox(event_id))[-1] == ("resolve", {"requested_by": OPERATOR})


async def stopped(story: Story, event_id: EventId) -> EventId:
    return await story.do(stop_repair, await story.incident_id(event_id), requested_by=OPERATOR)


@pytest.mark.parametrize("state", OPEN)
async def test_stopping_ends_an_active_repair_and_leaves_the_incident_open(
    story: Story, state: LifecycleState
) -> None:
    event_id, _ = await story.reach(state)
    before = await story.outbox(event_id)

    for _ in range(2):
        assert await stopped(story, event_id) == event_id

    (repair,) = await story.rows("repairs", event_id)
    is_active = state is not LifecycleState.OPEN
    assert (await story.snapshot(event_id)).state is LifecycleState.OPEN
    assert repair["cause"] == ("stopped" if is_active else "rejected")
    signals = [("resolve", {"requested_by": OPERATOR})] if is_active else []
    assert (await story.outbox(event_id))[len(before) :] == signals
    noted = [row["fields"] for row in await story.rows("timeline", event_id)][-1]
    assert (noted.get("text") == "The repair was stopped.") == is_active


@pytest.mark.parametrize("ask", [resolved, acknowledged, stopped])
@pytest.mark.parametrize("state", RESOLVED)
async def test_nothing_is_done_to_a_resolved_incident(
    story: Story, state: LifecycleState, ask: object
) -> None:
    event_id, _ = await story.reach(state)
    timeline = await story.timeline(event_id)

    with pytest.raises(IncidentAlreadyResolved):
        await ask(story, event_id)  # type: ignore[operator]

    assert await story.timeline(event_id) == timeline


async def test_resolving_at_once_by_many_happens_once(story: Story) -> None:
    event_id, _ = await story.opened()

    answers = await asyncio.gather(
        *(resolved(story, event_id) for _ in range(10)), return_exceptions=True
    )

    assert answers.count(event_id) == 1
    assert all(
        isinstance(answer, IncidentAlreadyResolved) for answer in answers if answer != event_id
    )
    assert (await story.timeline(event_id)).count("incident_resolved") == 1


@pytest.mark.parametrize("state", OPEN)
async def test_first_acknowledgement_counts(story: Story, state: LifecycleState) -> None:
    event_id, _ = await story.reach(state)
    await acknowledged(story, event_id)
    (first,) = await story.rows("incidents", event_id)
    story.later(minutes=1)

    await acknowledged(story, event_id)

    assert await story.rows("incidents", event_id) == [first]
    assert first["acknowledged_at"] is not None
    assert (await story.timeline(event_id)).count("incident_acknowledged") == 1
    assert (await story.snapshot(event_id)).state is state


async def test_expiring_makes_the_deadline_now(story: Story) -> None:
    event_id = await story.receipt()
    story.later(seconds=1)

    await story.do(expire, event_id, requested_by=OPERATOR)

    assert (await story.snapshot(event_id)).deadline_at == story.at
    assert [kind for kind, _ in await story.outbox(event_id)] == ["expire"]
    assert isinstance(await story.do(open_incident, event_id), Opened)


async def test_expiring_never_moves_a_passed_deadline_back(story: Story) -> None:
    event_id = await story.receipt(timeout_minutes=1.0)
    before = (await story.snapshot(event_id)).deadline_at
    story.later(minutes=2)

    await story.do(expire, event_id, requested_by=OPERATOR)

    assert (await story.snapshot(event_id)).deadline_at == before


@pytest.mark.parametrize(
    "state", [state for state, follows in TRANSITIONS[Trigger.EXPIRE].items() if follows.refusal]
)
async def test_only_a_waiting_receipt_expires(story: Story, state: LifecycleState) -> None:
    event_id, _ = await story.reach(state)
    outbox = await story.outbox(event_id)

    with pytest.raises(NotWaiting):
        await story.do(expire, event_id, requested_by=OPERATOR)

    assert await story.outbox(event_id) == outbox


async def test_unknown_things_are_not_found(story: Story) -> None:
    for move in (resolve_manually, acknowledge):
        named = {"reason": "x"} if move is resolve_manually else {}
        with pytest.raises(NotFound):
            await story.do(move, IncidentId("inc_none"), requested_by=OPERATOR, **named)
    with pytest.raises(NotFound):
        await story.do(expire, EventId("evt_none"), requested_by=OPERATOR)
