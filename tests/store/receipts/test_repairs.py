"""Repairs on SQLite and PostgreSQL: one at a time, from the request to its end."""

import asyncio

import pytest

from domain.errors import IncidentAlreadyResolved, NotFound, RepairUrlMissing
from domain.ids import EventId, ReplayId
from domain.incidents import RepairCause
from domain.lifecycle import LifecycleState
from store.receipts.attempts import begin_attempt
from store.receipts.deadlines import NotYet, fail_overdue_repair
from store.receipts.outbox import mark_delivered
from store.receipts.repairs import SEEN, Begun, RepairRefused, begin_repair, request_repair
from tests.store.receipts.repair_setup import OPS, set_repair_url
from tests.support.given import OPERATOR, Story

ENDED = (LifecycleState.APPLIED, LifecycleState.RECOVERED, LifecycleState.CLOSED)


async def requested(story: Story, event_id: EventId) -> Begun:
    return await story.do(request_repair, event_id, requested_by=OPERATOR)


async def signalled(
    story: Story, event_id: EventId, replay_id: ReplayId | None = None
) -> Begun | RepairRefused:
    return await story.do(begin_repair, event_id, requested_by="signal", replay_id=replay_id)


async def deliver_outbox(story: Story, event_id: EventId) -> None:
    """Every outbox row of the receipt is delivered."""
    row_ids = [row["id"] for row in await story.rows("outbox", event_id)]
    async with story.database.transaction() as session:
        await mark_delivered(session, row_ids)


async def test_reprocess_while_open_begins_a_repair_and_enqueues_a_signal(story: Story) -> None:
    event_id, _ = await story.opened()

    begun = await requested(story, event_id)

    (incident,) = await story.rows("incidents", event_id)
    (repair,) = await story.rows("repairs", event_id)
    assert begun == Begun(repair["replay_id"], is_new=True)
    assert begun.replay_id.startswith("rpl_")
    assert (incident["state"], repair["state"], repair["requested_by"]) == (
        "repairing",
        "calling",
        OPERATOR,
    )
    assert (await story.snapshot(event_id)).position is LifecycleState.CALLING
    assert (await story.timeline(event_id))[-1] == "reprocess_requested"
    assert await story.outbox(event_id) == [
        ("reprocess", {"replay_id": begun.replay_id, "requested_by": OPERATOR})
    ]


@pytest.mark.parametrize("position", [LifecycleState.CALLING, LifecycleState.AWAITING_RESULT])
async def test_reprocess_while_repairing_returns_the_active_replay_and_nothing_new(
    story: Story, position: LifecycleState
) -> None:
    event_id, replay_id = await story.reach(position)
    before = {
        table: await story.rows(table, event_id)
        for table in ("repairs", "timeline", "outbox", "alerts")
    }

    answers = [
        await requested(story, event_id),
        await signalled(story, event_id),
        await signalled(story, event_id, replay_id),
    ]

    assert answers == [Begun(replay_id, is_new=False)] * 3
    assert before == {table: await story.rows(table, event_id) for table in before}


@pytest.mark.parametrize("way", ["requests", "signals", "both"])
async def test_twenty_concurrent_reprocesses_begin_one_repair(story: Story, way: str) -> None:
    event_id, _ = await story.opened()
    asks = {
        "requests": [requested] * 20,
        "signals": [signalled] * 20,
        "both": [requested, signalled] * 10,
    }[way]

    answers = await asyncio.gather(*(ask(story, event_id) for ask in asks))

    (repair,) = await story.rows("repairs", event_id)
    assert {answer.replay_id for answer in answers if isinstance(answer, Begun)} == {
        repair["replay_id"]
    }
    assert len(answers) == 20
    assert sum(answer.is_new for answer in answers if isinstance(answer, Begun)) == 1
    assert (await story.timeline(event_id)).count("reprocess_requested") == 1


@pytest.mark.parametrize("position", ENDED)
async def test_reprocess_of_what_has_ended_is_refused(
    story: Story, position: LifecycleState
) -> None:
    event_id, replay_id = await story.reach(position)
    refusal = NotFound if position is LifecycleState.APPLIED else IncidentAlreadyResolved

    with pytest.raises(refusal):
        await requested(story, event_id)

    assert (
        await signalled(story, event_id)
        == await signalled(story, event_id, replay_id)
        == RepairRefused(None)
    )


async def test_reprocess_before_the_incident_is_open_does_nothing_yet(story: Story) -> None:
    event_id = await story.receipt()

    assert await signalled(story, event_id) == RepairRefused(None)
    with pytest.raises(NotFound):
        await requested(story, event_id)


async def test_request_without_a_repair_url_is_refused_and_records_nothing(story: Story) -> None:
    await set_repair_url(story, None)
    event_id, _ = await story.opened()

    with pytest.raises(RepairUrlMissing):
        await requested(story, event_id)

    assert await story.rows("repairs", event_id) == []


async def test_signal_without_a_repair_url_records_a_failed_repair(story: Story) -> None:
    await set_repair_url(story, None)
    event_id, _ = await story.opened()

    answer = await signalled(story, event_id)

    (repair,) = await story.rows("repairs", event_id)
    assert answer == RepairRefused(RepairCause.REPAIR_URL_MISSING)
    assert (repair["state"], repair["cause"]) == ("failed", "repair_url_missing")
    assert (await story.snapshot(event_id)).position is LifecycleState.OPEN
    assert (await story.timeline(event_id))[-2:] == ["reprocess_requested", "repair_failed"]
    assert ("repair_failed", repair["replay_id"], OPS) in await story.alerts(event_id)


async def test_signal_that_was_seen_begins_one_repair(story: Story) -> None:
    event_id, _ = await story.opened()
    asked = {"requested_by": "signal", "replay_id": None, "marks": {"run": 1}}

    first = await story.do(begin_repair, event_id, **asked)
    second = await story.do(begin_repair, event_id, **asked)
    await story.result(event_id, "failed", replay_id=first.replay_id)
    third = await story.do(begin_repair, event_id, **asked)

    assert (first, second) == (
        Begun(first.replay_id, is_new=True),
        Begun(first.replay_id, is_new=False),
    )
    assert third == SEEN
    assert [row["replay_id"] for row in await story.rows("repairs", event_id)] == [first.replay_id]


async def test_signal_that_was_seen_fails_and_alerts_once_without_a_repair_url(
    story: Story,
) -> None:
    await set_repair_url(story, None)
    event_id, _ = await story.opened()
    asked = {"requested_by": "signal", "replay_id": None, "marks": {"run": 1}}
    await story.do(begin_repair, event_id, **asked)
    alerts = await story.alerts(event_id)

    assert await story.do(begin_repair, event_id, **asked) == SEEN
    assert len(await story.rows("repairs", event_id)) == 1
    assert await story.alerts(event_id) == alerts


@pytest.mark.parametrize(
    ("marks", "is_new"),
    [
        ({"a": 2}, False),
        ({"a": 1}, False),
        ({"a": 3}, True),
        ({"b": 1}, True),
        ({"a": 1, "b": 1}, True),
        ({}, True),
    ],
    ids=[
        "the_same",
        "an_earlier_one",
        "the_next",
        "another_series",
        "old_and_new_as_one",
        "without_a_number",
    ],
)
async def test_request_is_seen_when_all_its_numbers_are(
    story: Story, marks: dict[str, int], is_new: bool
) -> None:
    event_id, _ = await story.opened()
    first = await story.do(
        begin_repair, event_id, requested_by="signal", replay_id=None, marks={"a": 2}
    )
    await story.result(event_id, "failed", replay_id=first.replay_id)

    outcome = await story.do(
        begin_repair, event_id, requested_by="signal", replay_id=None, marks=marks
    )

    assert isinstance(outcome, Begun) is is_new
    assert len(await story.rows("repairs", event_id)) == 1 + is_new


async def test_request_for_a_repair_without_a_call_enqueues_its_signal_again(story: Story) -> None:
    event_id, replay_id = await story.repairing()
    await deliver_outbox(story, event_id)

    begun = await requested(story, event_id)
    await requested(story, event_id)

    assert begun == Begun(replay_id, is_new=False)
    assert await story.outbox(event_id) == [
        ("reprocess", {"replay_id": replay_id, "requested_by": OPERATOR})
    ]


@pytest.mark.parametrize(("seconds", "times"), [(0, 0), (61, 1)])
async def test_request_for_a_repair_without_an_attempt_of_the_last_minute_signals_it_once_more(
    story: Story, seconds: int, times: int
) -> None:
    event_id, replay_id = await story.repairing()
    await story.attempt(event_id, replay_id, status=503)
    await deliver_outbox(story, event_id)

    story.later(seconds=seconds)
    await requested(story, event_id)
    await requested(story, event_id)

    assert (
        await story.outbox(event_id)
        == [("reprocess", {"replay_id": replay_id, "requested_by": OPERATOR})] * times
    )


async def test_signal_with_a_made_up_replay_changes_nothing(story: Story) -> None:
    event_id, _ = await story.opened()

    assert await signalled(story, event_id, ReplayId("rpl_made_up")) == RepairRefused(None)
    assert await story.rows("repairs", event_id) == []


async def test_rejected_call_ends_the_series_and_a_new_reprocess_is_a_new_replay(
    story: Story,
) -> None:
    event_id, replay_id = await story.repairing()

    assert (
        await story.attempt(event_id, replay_id, status=422, ending="rejected")
        is LifecycleState.OPEN
    )

    again = await requested(story, event_id)
    assert again.is_new
    assert again.replay_id != replay_id


async def test_gone_url_makes_reprocess_fail_until_it_is_saved_again(story: Story) -> None:
    event_id, replay_id = await story.repairing()
    await story.attempt(
        event_id, replay_id, status=410, ending="rejected", gone_url=story.project.repair_url
    )

    with pytest.raises(RepairUrlMissing):
        await requested(story, event_id)

    await set_repair_url(story, "https://shop.example/repair")
    assert (await requested(story, event_id)).is_new


async def test_missing_result_fails_the_repair_at_its_deadline_and_not_before(story: Story) -> None:
    event_id, replay_id = await story.awaiting_result()
    story.later(minutes=30, milliseconds=-1)

    assert await story.do(fail_overdue_repair, event_id, replay_id) == NotYet(remaining_ms=1)

    story.later(milliseconds=1)
    outcomes = [await story.do(fail_overdue_repair, event_id, replay_id) for _ in range(2)]
    (repair,) = await story.rows("repairs", event_id)
    assert outcomes == [LifecycleState.OPEN, LifecycleState.OPEN]
    assert (repair["state"], repair["cause"]) == ("failed", "no_result")
    assert (await story.alerts(event_id)).count(("repair_failed", replay_id, OPS)) == 1


@pytest.mark.parametrize(
    "move",
    [
        lambda st, now: request_repair(st, EventId("evt_none"), now, requested_by=OPERATOR),
        lambda st, now: begin_repair(
            st, EventId("evt_none"), now, requested_by=OPERATOR, replay_id=None
        ),
        lambda st, now: begin_attempt(st, EventId("evt_none"), ReplayId("rpl_none"), now),
        lambda st, now: fail_overdue_repair(st, EventId("evt_none"), ReplayId("rpl_none"), now),
    ],
    ids=["request", "begin", "attempt", "overdue"],
)
async def test_unknown_receipt_is_not_found(story: Story, move: object) -> None:
    with pytest.raises(NotFound):
        await story.do(move)  # type: ignore[arg-type]


async def test_repair_that_is_no_longer_overdue_is_not_failed(story: Story) -> None:
    event_id, replay_id = await story.awaiting_result()
    await story.result(event_id, replay_id=replay_id)
    story.later(days=1)

    assert await story.do(fail_overdue_repair, event_id, replay_id) is LifecycleState.RECOVERED
