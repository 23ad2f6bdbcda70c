"""Signals to re-read the store:

one in the outbox, however many results arrive before it is leased.
"""

import pytest

from domain.lifecycle import LifecycleState
from store.receipts.outbox import claim, mark_delivered
from tests.support.given import Story


async def test_thousand_failed_results_of_an_open_incident_are_one_signal(story: Story) -> None:
    event_id, _ = await story.reach(LifecycleState.OPEN)
    waiting = await story.outbox(event_id)

    for number in range(1_000):
        await story.result(event_id, "failed", error_code=f"try_{number}")

    assert len(await story.outbox(event_id)) <= max(1, len(waiting))


async def test_result_after_the_lease_is_a_signal_of_its_own(story: Story) -> None:
    event_id, _ = await story.reach(LifecycleState.OPEN)
    await story.result(event_id, "failed", error_code="first")
    async with story.database.transaction() as session:
        claimed = await claim(session, story.at, limit=10)

    await story.result(event_id, "failed", error_code="second")
    await story.result(event_id, "failed", error_code="third")

    async with story.database.transaction() as session:
        await mark_delivered(session, [row.id for event in claimed for row in event.rows])
    assert [kind for kind, _ in await story.outbox(event_id)] == ["result"]


@pytest.mark.parametrize("status", ["success", "failed"])
async def test_result_while_waiting_is_always_a_signal(story: Story, status: str) -> None:
    event_id = await story.receipt()
    story.later(minutes=1)

    await story.result(event_id, status)

    assert "result" in [kind for kind, _ in await story.outbox(event_id)]
