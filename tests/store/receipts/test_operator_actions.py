"""What an operator does by hand: resolve, stop a repair, reopen, acknowledge, assign, comment,
snooze, deadlines; each refused where the contract says so.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from sqlalchemy import text

from domain.errors import IncidentAlreadyResolved, NotClosed, NotFound, NotWaiting
from domain.ids import EventId, IncidentId, UserId
from domain.lifecycle import TRANSITIONS, LifecycleState, Trigger
from domain.values.timestamps import to_iso, to_unix_ms
from store.receipts.deadlines import Opened, open_incident
from store.receipts.operator_actions import (
    acknowledge,
    assign,
    comment,
    reopen,
    resolve_manually,
    snooze,
    stop_repair,
    unacknowledge,
)
from store.receipts.triage.deadline_moves import expire, move_deadline
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


@pytest.mark.parametrize("state", RESOLVED)
@pytest.mark.parametrize(
    "act", ["resolve", "stop", "acknowledge", "unacknowledge", "assign", "snooze"]
)
async def test_nothing_is_done_to_a_resolved_incident(
    story: Story, state: LifecycleState, act: str
) -> None:
    event_id, _ = await story.reach(state)
    timeline = await story.timeline(event_id)

    with pytest.raises(IncidentAlreadyResolved):
        await ACTS[act](story, event_id)

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


async def assigned(story: Story, event_id: EventId) -> EventId:
    incident_id = await story.incident_id(event_id)
    given = {"assignee": UserId("usr_ada"), "email": "ada@shop.example"}
    return await story.do(assign, incident_id, **given, requested_by=OPERATOR)


async def snoozed(story: Story, event_id: EventId) -> EventId:
    incident_id, until = await story.incident_id(event_id), story.at + timedelta(hours=1)
    return await story.do(snooze, incident_id, until=until, requested_by=OPERATOR)


async def unacknowledged(story: Story, event_id: EventId) -> EventId:
    incident_id = await story.incident_id(event_id)
    return await story.do(unacknowledge, incident_id, requested_by=OPERATOR)


async def reopened(story: Story, event_id: EventId) -> EventId:
    incident_id = await story.incident_id(event_id)
    return await story.do(reopen, incident_id, reason="not refunded", requested_by=OPERATOR)


async def test_acknowledgement_with_a_time_replaces_the_one_before(story: Story) -> None:
    event_id, incident_id = await story.opened()
    await acknowledged(story, event_id)
    until = story.at + timedelta(days=3)

    await story.do(acknowledge, incident_id, requested_by="usr_other", until=until)

    (incident,) = await story.rows("incidents", event_id)
    assert (incident["acknowledged_by"], incident["acknowledged_until"]) == (
        "usr_other",
        to_unix_ms(until),
    )
    assert (await story.timeline(event_id)).count("incident_acknowledged") == 2


async def test_assignee_is_mailed_once_for_each_assignment(story: Story) -> None:
    event_id, incident_id = await story.opened()
    before = await story.alerts(event_id)

    await assigned(story, event_id)
    await assigned(story, event_id)
    story.later(minutes=1)
    nobody = {"assignee": None, "email": "", "requested_by": OPERATOR}
    await story.do(assign, incident_id, **nobody)
    await story.do(assign, incident_id, **nobody)
    await assigned(story, event_id)

    mails = [alert for alert in await story.alerts(event_id) if alert not in before]
    assert [(kind, to) for kind, _, to in mails] == [("incident_assigned", "ada@shop.example")] * 2
    assert mails[0] != mails[1]
    assert (await story.timeline(event_id)).count("incident_assigned") == 3


async def test_comment_is_on_the_timeline_also_after_the_end(story: Story) -> None:
    event_id, _ = await story.reach(LifecycleState.RECOVERED)
    incident_id = await story.incident_id(event_id)

    await story.do(comment, incident_id, text="Seen <b>twice</b>\nby us", requested_by=OPERATOR)

    entry = (await story.rows("timeline", event_id))[-1]
    assert (entry["kind"], entry["fields"]) == (
        "incident_commented",
        {"text": "Seen <b>twice</b>\nby us", "requested_by": OPERATOR},
    )


async def test_reopened_incident_is_open_as_if_it_were_new(story: Story) -> None:
    event_id, _ = await story.reach(LifecycleState.CLOSED)
    before = await story.alerts(event_id)
    async with story.database.transaction() as session:
        await session.execute(text("UPDATE alerts SET sent_at = created_at"))

    assert await reopened(story, event_id) == event_id

    (receipt,) = await story.rows("receipts", event_id)
    (incident,) = await story.rows("incidents", event_id)
    entry = (await story.rows("timeline", event_id))[-1]
    new = [kind for kind, *_ in await story.alerts(event_id)][len(before) :]
    assert (receipt["state"], receipt["ended_at"]) == ("incident", None)
    assert (incident["state"], incident["resolution"], incident["resolved_at"]) == (
        "open",
        None,
        None,
    )
    assert (entry["kind"], entry["fields"]["reason"]) == ("incident_reopened", "not refunded")
    assert new == ["incident_opened"] * len(new)
    assert len(new) == len({destination for *_, destination in before})
    assert (await story.outbox(event_id))[-1] == ("restart", {"requested_by": OPERATOR})


async def test_results_of_a_reopened_incident_count_as_those_of_an_open_one(story: Story) -> None:
    event_id, replay_id = await story.reach(LifecycleState.CLOSED)
    await story.result(event_id)
    await reopened(story, event_id)

    await story.result(event_id, "failed")
    failed = (await story.snapshot(event_id)).state
    await story.result(event_id, replay_id=replay_id)

    assert failed is LifecycleState.OPEN
    assert (await story.snapshot(event_id)).state is LifecycleState.RECOVERED
    (repair,) = await story.rows("repairs", event_id)
    assert repair["state"] == "succeeded"


@pytest.mark.parametrize(
    "state",
    sorted(state for state, follows in TRANSITIONS[Trigger.REOPEN].items() if follows.refusal),
)
async def test_only_what_was_resolved_by_hand_is_reopened(
    story: Story, state: LifecycleState
) -> None:
    event_id, _ = await story.reach(state)
    before = await story.timeline(event_id), await story.outbox(event_id)

    with pytest.raises(NotClosed):
        await reopened(story, event_id)

    assert (await story.timeline(event_id), await story.outbox(event_id)) == before


@pytest.mark.parametrize("hours", [1, 100], ids=["shorter", "longer"])
async def test_deadline_of_a_waiting_receipt_is_moved_and_its_answer_stays(
    story: Story, hours: int
) -> None:
    event_id = await story.receipt(timeout_minutes=120.0)
    before = await story.snapshot(event_id)
    to = story.at + timedelta(hours=hours)

    await story.do(move_deadline, event_id, deadline_at=to, requested_by=OPERATOR)

    (receipt,) = await story.rows("receipts", event_id)
    entry = (await story.rows("timeline", event_id))[-1]
    assert (receipt["deadline_at"], receipt["timeout_at"]) == (
        to_unix_ms(to),
        to_unix_ms(before.deadline_at),
    )
    assert entry["fields"]["moved_from"] == to_iso(before.deadline_at)
    assert [kind for kind, _ in await story.outbox(event_id)] == ["expire"]


@pytest.mark.parametrize(
    "state", [state for state in LifecycleState if state is not LifecycleState.WAITING]
)
async def test_only_the_deadline_of_a_waiting_receipt_is_moved(
    story: Story, state: LifecycleState
) -> None:
    event_id, _ = await story.reach(state)
    to = story.at + timedelta(hours=1)

    with pytest.raises(NotWaiting):
        await story.do(move_deadline, event_id, deadline_at=to, requested_by=OPERATOR)


ACTS: dict[str, Callable[[Story, EventId], Awaitable[EventId]]] = {
    "resolve": resolved,
    "stop": stopped,
    "acknowledge": acknowledged,
    "unacknowledge": unacknowledged,
    "assign": assigned,
    "snooze": snoozed,
}
