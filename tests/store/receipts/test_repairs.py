"""A repair from its request to its end, on both engines:

one at a time, every attempt recorded, late outcomes only noted.
"""

import asyncio

import pytest

from domain.errors import IncidentAlreadyResolved, NotFound, RepairUrlMissing
from domain.ids import EventId, ReplayId
from domain.incidents import RepairCause
from domain.lifecycle import LifecycleState
from domain.projects import ProjectChanges
from store.projects.projects import change_project
from store.receipts.attempts import AttemptBegun, SeriesOver, begin_attempt, record_attempt
from store.receipts.deadlines import NotYet, fail_overdue_repair
from store.receipts.operator_actions import resolve_manually
from store.receipts.outbox import mark_delivered
from store.receipts.repairs import SEEN, Begun, RepairRefused, begin_repair, request_repair
from tests.support.given import OPERATOR, Story

OPS = "ops@shop.example"
ENDED = (LifecycleState.APPLIED, LifecycleState.RECOVERED, LifecycleState.CLOSED)


async def requested(story: Story, event_id: EventId) -> Begun:
    return await story.do(request_repair, event_id, requested_by=OPERATOR)


async def signalled(
    story: Story, event_id: EventId, replay_id: ReplayId | None = None
) -> Begun | RepairRefused:
    return await story.do(begin_repair, event_id, requested_by="signal", replay_id=replay_id)


async def set_repair_url(story: Story, repair_url: str | None) -> None:
    async with story.database.transaction() as session:
        await change_project(
            session, story.project.id, changes=ProjectChanges(repair_url=repair_url)
        )


async def settle_outbox(story: Story, event_id: EventId) -> None:
    """The engine has taken everything there was to tell."""
    row_ids = [row["id"] for row in await story.rows("outbox", event_id)]
    async with story.database.transaction() as session:
        await mark_delivered(session, row_ids)


async def test_reprocess_while_open_begins_a_repair_and_tells_the_engine(story: Story) -> None:
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
    assert (await story.standing(event_id)).position is LifecycleState.CALLING
    assert (await story.told(event_id))[-1] == "reprocess_requested"
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
    assert (await story.told(event_id)).count("reprocess_requested") == 1


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
    assert (await story.standing(event_id)).position is LifecycleState.OPEN
    assert (await story.told(event_id))[-2:] == ["reprocess_requested", "repair_failed"]
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
        "without_a_place",
    ],
)
async def test_request_is_seen_when_all_its_places_are(
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


async def test_request_for_a_repair_that_nobody_calls_tells_the_engine_again(story: Story) -> None:
    event_id, replay_id = await story.repairing()
    await settle_outbox(story, event_id)

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
    await settle_outbox(story, event_id)

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


async def test_failed_attempts_are_counted_on_until_the_series_is_exhausted(story: Story) -> None:
    event_id, replay_id = await story.repairing()

    positions = [await story.attempt(event_id, replay_id, status=503) for _ in range(4)]
    last = await story.attempt(
        event_id, replay_id, status=None, error_class="timeout", ending="exhausted"
    )

    attempts = await story.rows("attempts", event_id)
    (repair,) = await story.rows("repairs", event_id)
    assert positions == [LifecycleState.CALLING] * 4
    assert last is LifecycleState.OPEN
    assert sorted(row["number"] for row in attempts) == [1, 2, 3, 4, 5]
    assert {row["state"] for row in attempts} == {"finished"}
    assert [(r["status"], r["error_class"]) for r in sorted(attempts, key=lambda r: r["number"])][
        -2:
    ] == [
        (503, None),
        (None, "timeout"),
    ]
    assert (repair["state"], repair["cause"]) == ("failed", "exhausted")
    assert ("repair_failed", replay_id, OPS) in await story.alerts(event_id)


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


async def test_gone_url_that_was_replaced_in_the_meantime_leaves_the_new_one(story: Story) -> None:
    event_id, replay_id = await story.repairing()
    begun = await story.do(begin_attempt, event_id, replay_id)
    await set_repair_url(story, "https://shop.example/new")

    gone = {
        "status": 410,
        "duration_ms": 1,
        "error_class": None,
        "ending": "rejected",
        "gone_url": story.project.repair_url,
    }
    await story.do(record_attempt, event_id, replay_id, begun.number, **gone)

    assert (await story.standing(event_id)).repair_url == "https://shop.example/new"


async def test_url_removed_in_mid_series_ends_the_repair_before_another_attempt(
    story: Story,
) -> None:
    event_id, replay_id = await story.repairing()
    await story.attempt(event_id, replay_id, status=503)
    await set_repair_url(story, None)

    over = await story.do(begin_attempt, event_id, replay_id)

    (repair,) = await story.rows("repairs", event_id)
    assert over == SeriesOver(LifecycleState.OPEN)
    assert (repair["state"], repair["cause"]) == ("failed", "repair_url_missing")
    assert [row["number"] for row in await story.rows("attempts", event_id)] == [1]
    assert ("repair_failed", replay_id, OPS) in await story.alerts(event_id)


async def test_attempt_left_by_a_crash_is_not_left_running_when_the_url_is_removed(
    story: Story,
) -> None:
    event_id, replay_id = await story.repairing()
    await story.do(begin_attempt, event_id, replay_id)
    await set_repair_url(story, None)

    await story.do(begin_attempt, event_id, replay_id)

    assert [
        (row["state"], row["error_class"]) for row in await story.rows("attempts", event_id)
    ] == [("finished", "unknown")]


async def test_accepted_call_awaits_its_result_with_a_deadline_of_its_own(story: Story) -> None:
    event_id, replay_id = await story.repairing()

    assert (
        await story.attempt(event_id, replay_id, ending="accepted")
        is LifecycleState.AWAITING_RESULT
    )

    snapshot = await story.standing(event_id)
    assert snapshot.result_deadline_at is not None
    assert (
        snapshot.result_deadline_at - story.at
    ).total_seconds() == story.project.timeout_minutes * 60


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


@pytest.mark.parametrize("ending", ["accepted", "rejected", "exhausted"])
@pytest.mark.parametrize("how", ["success", "late success", "closed", "failed"])
async def test_attempt_in_flight_when_its_repair_ends_is_only_recorded(
    story: Story, how: str, ending: str
) -> None:
    event_id, replay_id = await story.repairing()
    begun = await story.do(begin_attempt, event_id, replay_id)
    match how:
        case "closed":
            await story.do(
                resolve_manually,
                await story.incident_id(event_id),
                reason="refunded",
                requested_by=OPERATOR,
            )
        case "failed":
            await story.result(event_id, "failed", replay_id=replay_id)
        case _:
            await story.result(event_id, replay_id=replay_id if how == "success" else None)
    before = await story.standing(event_id)
    repairs = await story.rows("repairs", event_id)

    told = {"status": 200, "duration_ms": 40, "error_class": None, "ending": ending}
    position = await story.do(record_attempt, event_id, replay_id, begun.number, **told)

    (attempt,) = await story.rows("attempts", event_id)
    assert (attempt["state"], attempt["status"], attempt["duration_ms"]) == ("finished", 200, 40)
    assert position is before.position
    assert await story.standing(event_id) == before
    assert await story.rows("repairs", event_id) == repairs


@pytest.mark.parametrize(
    "position",
    [
        LifecycleState.OPEN,
        LifecycleState.AWAITING_RESULT,
        LifecycleState.RECOVERED,
        LifecycleState.CLOSED,
    ],
)
async def test_no_attempt_begins_once_the_repair_is_not_calling(
    story: Story, position: LifecycleState
) -> None:
    event_id, replay_id = await story.reach(position)
    assert replay_id is not None
    before = await story.rows("attempts", event_id)

    assert await story.do(begin_attempt, event_id, replay_id) == SeriesOver(position)
    assert await story.rows("attempts", event_id) == before


async def test_attempts_and_a_success_at_once_never_begin_one_after_it(story: Story) -> None:
    event_id, replay_id = await story.repairing()

    begun, _ = await asyncio.gather(
        story.do(begin_attempt, event_id, replay_id), story.result(event_id, replay_id=replay_id)
    )

    assert isinstance(begun, AttemptBegun) == bool(await story.rows("attempts", event_id))
    assert await story.do(begin_attempt, event_id, replay_id) == SeriesOver(
        LifecycleState.RECOVERED
    )


async def test_attempt_left_by_a_crash_is_unknown_and_sent_again_under_its_number(
    story: Story,
) -> None:
    event_id, replay_id = await story.repairing()
    await story.attempt(event_id, replay_id, status=500)
    await story.do(begin_attempt, event_id, replay_id)

    again = await story.do(begin_attempt, event_id, replay_id)

    (left,) = [row for row in await story.rows("attempts", event_id) if row["number"] == 2]
    assert again == AttemptBegun(2, is_again=True)
    assert (left["state"], left["error_class"]) == ("started", "unknown")
    await story.do(
        record_attempt,
        event_id,
        replay_id,
        2,
        status=200,
        duration_ms=1,
        error_class=None,
        ending="accepted",
    )
    (left,) = [row for row in await story.rows("attempts", event_id) if row["number"] == 2]
    assert (left["state"], left["status"], left["error_class"]) == ("finished", 200, None)


async def test_recording_twice_keeps_the_first_and_moves_once(story: Story) -> None:
    event_id, replay_id = await story.repairing()
    await story.do(begin_attempt, event_id, replay_id)
    told = {"duration_ms": 7, "error_class": None}
    await story.do(record_attempt, event_id, replay_id, 1, status=500, ending="exhausted", **told)

    position = await story.do(
        record_attempt, event_id, replay_id, 1, status=200, ending="accepted", **told
    )

    (attempt,) = await story.rows("attempts", event_id)
    assert position is LifecycleState.OPEN
    assert attempt["status"] == 500
    assert len(await story.alerts(event_id)) == 2


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


async def test_repair_that_is_not_overdue_any_more_is_left_alone(story: Story) -> None:
    event_id, replay_id = await story.awaiting_result()
    await story.result(event_id, replay_id=replay_id)
    story.later(days=1)

    assert await story.do(fail_overdue_repair, event_id, replay_id) is LifecycleState.RECOVERED
