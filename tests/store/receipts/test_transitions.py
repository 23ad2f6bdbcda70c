"""What results and deadlines do to a stored receipt, on SQLite and PostgreSQL:

the contract's "Life of a receipt", clause by clause.
"""

import asyncio
from datetime import datetime

import pytest

from domain.errors import NotFound
from domain.ids import EventId, ReplayId, ResultId
from domain.lifecycle import TRANSITIONS, LifecycleState, Trigger, transition
from domain.projects import ProjectChanges
from domain.receipts import Flag, ReceiptState
from domain.results import LateResult
from store.db.sql import SessionStatements, Statements
from store.projects.projects import change_project
from store.receipts.deadlines import NotYet, Opened, Settled, open_incident
from store.receipts.repairs import Begun, request_repair
from store.receipts.results import result_is_stored
from tests.support.given import OPERATOR, Story

OPEN = (LifecycleState.OPEN, LifecycleState.CALLING, LifecycleState.AWAITING_RESULT)
OPS = "ops@shop.example"


async def only_note_late_results(story: Story) -> None:
    async with story.database.transaction() as session:
        changes = ProjectChanges(late_result=LateResult.NOTE)
        await change_project(session, story.project.id, changes=changes)


async def reprocess(st: Statements, event_id: EventId, now: datetime) -> Begun:
    return await request_repair(st, event_id, now, requested_by=OPERATOR)


async def test_success_while_waiting_is_applied_and_enqueues_a_signal(story: Story) -> None:
    event_id = await story.receipt()
    story.later(minutes=1)

    applied = await story.result(event_id)

    assert applied.state is ReceiptState.APPLIED
    assert (await story.snapshot(event_id)).position is LifecycleState.APPLIED
    assert await story.outbox(event_id) == [
        ("result", {"result_id": applied.result_id, "status": "success"})
    ]
    assert await story.alerts(event_id) == []
    assert await story.rows("incidents", event_id) == []


async def test_failed_while_waiting_opens_the_incident_at_once_with_its_error(story: Story) -> None:
    event_id = await story.receipt()
    story.later(minutes=1)

    applied = await story.result(
        event_id, "failed", error_code="job_died", error_message="out of memory"
    )

    (incident,) = await story.rows("incidents", event_id)
    assert applied.state is ReceiptState.INCIDENT
    assert (incident["state"], incident["reason"], incident["error_code"]) == (
        "open",
        "failed_result",
        "job_died",
    )
    assert (incident["error_message"], incident["resolved_at"]) == ("out of memory", None)
    assert await story.timeline(event_id) == ["incident_opened"]
    assert await story.alerts(event_id) == [("incident_opened", "", OPS)]
    assert [kind for kind, _ in await story.outbox(event_id)] == ["result"]


async def test_deadline_opens_the_incident_with_one_alert_to_each_destination(story: Story) -> None:
    async with story.database.transaction() as session:
        changes = ProjectChanges(alert_emails=(OPS, "cto@shop.example", OPS))
        await change_project(session, story.project.id, changes=changes)
    event_id = await story.receipt(timeout_minutes=0.01)
    story.later(milliseconds=600)

    opened = await story.do(open_incident, event_id)

    (incident,) = await story.rows("incidents", event_id)
    assert opened == Opened(incident["id"])
    assert (incident["state"], incident["reason"], incident["error_code"]) == (
        "open",
        "missing_result",
        None,
    )
    assert await story.timeline(event_id) == ["deadline_passed", "incident_opened"]
    assert sorted(await story.alerts(event_id)) == [
        ("incident_opened", "", "cto@shop.example"),
        ("incident_opened", "", OPS),
    ]


async def test_incident_never_opens_before_the_deadline_by_the_stores_clock(story: Story) -> None:
    event_id = await story.receipt(timeout_minutes=30.0)
    story.later(minutes=30, milliseconds=-1)

    answer = await story.do(open_incident, event_id)

    assert answer == NotYet(remaining_ms=1)
    assert (await story.snapshot(event_id)).position is LifecycleState.WAITING
    assert await story.timeline(event_id) == []


async def test_incident_never_opens_when_a_success_is_stored(story: Story) -> None:
    event_id = await story.receipt()
    story.later(minutes=31)
    await story.result(event_id)

    answer = await story.do(open_incident, event_id)

    assert answer == Settled(LifecycleState.APPLIED)
    assert await story.rows("incidents", event_id) == []


async def test_opening_twice_finds_the_same_incident(story: Story) -> None:
    event_id, incident_id = await story.opened()

    again = await story.do(open_incident, event_id)

    assert again == Opened(incident_id)
    assert await story.timeline(event_id) == ["deadline_passed", "incident_opened"]
    assert len(await story.alerts(event_id)) == 1


async def test_twenty_openings_and_a_success_at_once_leave_one_incident_or_none(
    story: Story,
) -> None:
    event_id = await story.receipt()
    story.later(minutes=30)

    *answers, applied = await asyncio.gather(
        *(story.do(open_incident, event_id) for _ in range(20)), story.result(event_id)
    )

    incidents = await story.rows("incidents", event_id)
    assert {type(answer) for answer in answers} <= {Opened, Settled}
    assert len({answer for answer in answers if isinstance(answer, Opened)}) == len(incidents) <= 1
    assert applied.state is (ReceiptState.RECOVERED if incidents else ReceiptState.APPLIED)
    assert (await story.snapshot(event_id)).receipt_state is applied.state


@pytest.mark.parametrize("position", OPEN)
async def test_success_with_any_replay_recovers_it_from_any_open_state(
    story: Story, position: LifecycleState
) -> None:
    event_id, replay_id = await story.reach(position)

    applied = await story.result(event_id, replay_id=replay_id)

    (incident,) = await story.rows("incidents", event_id)
    (repair,) = await story.rows("repairs", event_id)
    assert applied.state is ReceiptState.RECOVERED
    assert (incident["state"], incident["resolution"], incident["resolving_replay_id"]) == (
        "resolved",
        "repaired",
        replay_id,
    )
    assert repair["state"] == "succeeded"
    assert (await story.timeline(event_id))[-1] == "incident_resolved"
    assert ("incident_resolved", "", OPS) in await story.alerts(event_id)


@pytest.mark.parametrize("position", OPEN)
async def test_late_success_recovers_the_receipt_and_ends_an_active_repair(
    story: Story, position: LifecycleState
) -> None:
    event_id, _ = await story.reach(position)

    applied = await story.result(event_id)

    (incident,) = await story.rows("incidents", event_id)
    (repair,) = await story.rows("repairs", event_id)
    assert applied.state is ReceiptState.RECOVERED
    assert (incident["resolution"], incident["resolving_replay_id"]) == ("late_result", None)
    assert (repair["state"], repair["cause"]) == (
        "failed",
        "rejected" if position is LifecycleState.OPEN else "superseded",
    )


@pytest.mark.parametrize("position", OPEN)
async def test_late_success_is_only_noted_where_the_project_wants_that(
    story: Story, position: LifecycleState
) -> None:
    await only_note_late_results(story)
    event_id, _ = await story.reach(position)

    applied = await story.result(event_id)

    assert applied.state is ReceiptState.INCIDENT
    assert (await story.snapshot(event_id)).position is position
    assert (await story.timeline(event_id))[-1] == "noted"


async def test_success_in_time_ends_the_receipt_even_if_late_results_are_only_noted(
    story: Story,
) -> None:
    await only_note_late_results(story)
    event_id = await story.receipt()

    assert (await story.result(event_id)).state is ReceiptState.APPLIED


@pytest.mark.parametrize("position", [LifecycleState.CALLING, LifecycleState.AWAITING_RESULT])
async def test_failed_with_the_active_replay_fails_the_repair_and_opens_the_incident_again(
    story: Story, position: LifecycleState
) -> None:
    event_id, replay_id = await story.reach(position)

    applied = await story.result(event_id, "failed", replay_id=replay_id, error_code="again")

    (incident,) = await story.rows("incidents", event_id)
    (repair,) = await story.rows("repairs", event_id)
    assert applied.state is ReceiptState.INCIDENT
    assert incident["state"] == "open"
    assert (repair["state"], repair["cause"]) == ("failed", "failed_result")
    assert (await story.timeline(event_id))[-1] == "repair_failed"
    assert ("repair_failed", replay_id, OPS) in await story.alerts(event_id)


@pytest.mark.parametrize("position", OPEN)
async def test_failed_without_replay_while_an_incident_is_open_is_noted(
    story: Story, position: LifecycleState
) -> None:
    event_id, _ = await story.reach(position)
    alerts = await story.alerts(event_id)

    applied = await story.result(event_id, "failed", error_code="still")

    assert applied.state is ReceiptState.INCIDENT
    assert (await story.snapshot(event_id)).position is position
    assert (await story.timeline(event_id))[-1] == "noted"
    assert await story.alerts(event_id) == alerts


async def test_failed_with_an_inactive_replay_is_noted(story: Story) -> None:
    event_id, ended = await story.reach(LifecycleState.OPEN)

    await story.result(event_id, "failed", replay_id=ended, error_code="late")

    assert (await story.snapshot(event_id)).position is LifecycleState.OPEN
    assert (await story.timeline(event_id))[-1] == "noted"
    assert [row["cause"] for row in await story.rows("repairs", event_id)] == ["rejected"]


@pytest.mark.parametrize("position", [LifecycleState.APPLIED, LifecycleState.RECOVERED])
async def test_equal_repeat_after_the_end_changes_nothing(
    story: Story, position: LifecycleState
) -> None:
    event_id, replay_id = await story.reach(position)
    before = {
        table: await story.rows(table, event_id)
        for table in ("receipts", "results", "timeline", "outbox", "alerts")
    }
    story.later(minutes=1)

    again = await story.result(event_id, replay_id=replay_id)

    assert again.result_id is None
    assert again.state.value == position.value
    assert before == {table: await story.rows(table, event_id) for table in before}


@pytest.mark.parametrize(
    ("position", "status", "with_replay", "flag"),
    [
        (LifecycleState.APPLIED, "failed", False, Flag.CONTRADICTION),
        (LifecycleState.RECOVERED, "failed", False, Flag.CONTRADICTION),
        (LifecycleState.RECOVERED, "failed", True, Flag.CONTRADICTION),
        (LifecycleState.RECOVERED, "success", False, Flag.DOUBLE_APPLICATION),
        (LifecycleState.CLOSED, "success", False, Flag.LATE_SUCCESS),
        (LifecycleState.CLOSED, "success", True, Flag.LATE_SUCCESS),
    ],
)
async def test_result_that_contradicts_the_end_is_noted_and_flagged_once(
    story: Story, position: LifecycleState, status: str, with_replay: bool, flag: Flag
) -> None:
    event_id, replay_id = await story.reach(position)
    timeline, outbox = await story.timeline(event_id), await story.outbox(event_id)

    applied = [
        await story.result(event_id, status, replay_id=replay_id if with_replay else None)
        for _ in range(2)
    ]

    assert {each.state.value for each in applied} == {position.value}
    assert (await story.snapshot(event_id)).flags == (flag,)
    assert await story.timeline(event_id) == [*timeline, "noted", "flagged"]
    assert await story.outbox(event_id) == outbox, (
        "what comes after the end goes to the store alone"
    )


async def test_failed_after_a_success_that_came_after_closing_is_a_contradiction(
    story: Story,
) -> None:
    event_id, _ = await story.reach(LifecycleState.CLOSED)
    await story.result(event_id, "failed", error_code="early")
    before = (await story.snapshot(event_id)).flags

    await story.result(event_id)
    await story.result(event_id, "failed", error_code="late")

    assert before == ()
    assert set((await story.snapshot(event_id)).flags) == {Flag.LATE_SUCCESS, Flag.CONTRADICTION}
    assert (await story.timeline(event_id))[-5:] == [
        "noted",
        "noted",
        "flagged",
        "noted",
        "flagged",
    ]


async def test_success_under_another_replay_than_the_one_that_ended_it_is_double(
    story: Story,
) -> None:
    event_id, first = await story.reach(LifecycleState.OPEN)
    story.later(minutes=1)
    second = (await story.do(reprocess, event_id)).replay_id
    await story.result(event_id, replay_id=second)

    await story.result(event_id, replay_id=first)

    assert (await story.snapshot(event_id)).flags == (Flag.DOUBLE_APPLICATION,)
    (incident,) = await story.rows("incidents", event_id)
    assert incident["resolving_replay_id"] == second


async def test_success_with_an_ended_replay_supersedes_the_active_one(story: Story) -> None:
    event_id, first = await story.reach(LifecycleState.OPEN)
    story.later(minutes=1)
    await story.do(reprocess, event_id)

    await story.result(event_id, replay_id=first)

    assert [(row["state"], row["cause"]) for row in await story.rows("repairs", event_id)] == [
        ("succeeded", None),
        ("failed", "superseded"),
    ]


@pytest.mark.parametrize("named", ["event", "replay", "another event's replay"])
async def test_unknown_names_are_not_found(story: Story, named: str) -> None:
    event_id = await story.receipt()
    _, other_replay = await story.repairing()
    changes = {"replay": ReplayId("anything"), "another event's replay": other_replay}

    with pytest.raises(NotFound):
        await story.result(
            EventId("no such") if named == "event" else event_id, replay_id=changes.get(named)
        )

    assert await story.rows("results", event_id) == []


@pytest.mark.parametrize(
    "trigger",
    [h for h in TRANSITIONS if h in {Trigger.SUCCESS, Trigger.FAILED, Trigger.DEADLINE_PASSED}],
)
async def test_stored_state_follows_the_transition_table_from_every_state(
    story: Story, trigger: Trigger
) -> None:
    for position in TRANSITIONS[trigger]:
        event_id, _ = await story.reach(position)
        story.later(days=1)

        if trigger is Trigger.DEADLINE_PASSED:
            await story.do(open_incident, event_id)
        else:
            await story.result(
                event_id, trigger.value, error_code="x" if trigger is Trigger.FAILED else None
            )

        assert (await story.snapshot(event_id)).position is transition(position, trigger).to


async def test_only_stored_results_are_known(story: Story) -> None:
    event_id, other = await story.receipt(), await story.receipt()
    result_id = (await story.result(event_id)).result_id
    assert result_id is not None

    async with story.database.reading() as session:
        st = SessionStatements(session)
        assert await result_is_stored(st, event_id, result_id) is True
        assert await result_is_stored(st, other, result_id) is False
        assert await result_is_stored(st, event_id, ResultId("made up")) is False
