"""Attempts of a repair on SQLite and PostgreSQL: each is recorded, none begins after the end."""

import asyncio

import pytest

from domain.lifecycle import LifecycleState
from store.receipts.attempts import AttemptBegun, SeriesOver, begin_attempt, record_attempt
from store.receipts.operator_actions import resolve_manually
from tests.store.receipts.repair_setup import OPS, set_repair_url
from tests.support.given import OPERATOR, Story


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

    assert (await story.snapshot(event_id)).repair_url == "https://shop.example/new"


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

    snapshot = await story.snapshot(event_id)
    assert snapshot.result_deadline_at is not None
    assert (
        snapshot.result_deadline_at - story.at
    ).total_seconds() == story.project.timeout_minutes * 60


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
    before = await story.snapshot(event_id)
    repairs = await story.rows("repairs", event_id)

    outcome = {"status": 200, "duration_ms": 40, "error_class": None, "ending": ending}
    position = await story.do(record_attempt, event_id, replay_id, begun.number, **outcome)

    (attempt,) = await story.rows("attempts", event_id)
    assert (attempt["state"], attempt["status"], attempt["duration_ms"]) == ("finished", 200, 40)
    assert position is before.position
    assert await story.snapshot(event_id) == before
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


async def test_attempt_recorded_twice_keeps_the_first_outcome(story: Story) -> None:
    event_id, replay_id = await story.repairing()
    await story.do(begin_attempt, event_id, replay_id)
    outcome = {"duration_ms": 7, "error_class": None}
    await story.do(
        record_attempt, event_id, replay_id, 1, status=500, ending="exhausted", **outcome
    )

    position = await story.do(
        record_attempt, event_id, replay_id, 1, status=200, ending="accepted", **outcome
    )

    (attempt,) = await story.rows("attempts", event_id)
    assert position is LifecycleState.OPEN
    assert attempt["status"] == 500
    assert len(await story.alerts(event_id)) == 2
