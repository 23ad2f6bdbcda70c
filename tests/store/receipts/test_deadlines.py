"""Deadlines that have passed:

which receipts and repairs are past theirs, and whether one counts while ingest is silent.
"""

from datetime import timedelta

import pytest

from domain.ids import EventId
from domain.incidents import Reason
from domain.lifecycle import LifecycleState
from store.receipts.deadlines import (
    NotYet,
    Opened,
    deadlines_count_until,
    fail_due_repair,
    open_due_incident,
)
from store.receipts.reconcile.overdue import OverdueReceipt, overdue_receipts, overdue_repairs
from store.status.heartbeats import beat
from tests.support.given import START, Story


async def test_overdue_are_those_that_wait_past_their_deadline_part_by_part(story: Story) -> None:
    first = await story.receipt(timeout_minutes=1.0)
    second = await story.receipt(timeout_minutes=2.0)
    third = await story.receipt(timeout_minutes=2.0)
    settled = await story.receipt(timeout_minutes=1.0)
    await story.result(settled)

    async def overdue(
        seconds: float, *, limit: int = 10, after: OverdueReceipt | None = None
    ) -> list[OverdueReceipt]:
        async with story.database.reading() as session:
            return await overdue_receipts(
                session, START + timedelta(seconds=seconds), after=after, limit=limit
            )

    def ids(found: list[OverdueReceipt]) -> list[EventId]:
        return [one.event_id for one in found]

    assert ids(await overdue(59.9)) == []
    assert ids(await overdue(60)) == [first]
    assert ids(await overdue(120)) == [first, second, third]
    part = await overdue(120, limit=2)
    assert ids(part) == [first, second]
    assert ids(await overdue(120, limit=2, after=part[-1])) == [third]


async def test_overdue_repairs_are_those_whose_result_is_awaited_past_their_deadline(
    story: Story,
) -> None:
    event_id, replay_id = await story.awaiting_result()
    await story.repairing()
    due_at = (await story.snapshot(event_id)).result_deadline_at
    assert due_at is not None

    async with story.database.reading() as session:
        before = await overdue_repairs(session, due_at - timedelta(seconds=1), after=None, limit=10)
        at = await overdue_repairs(session, due_at, after=None, limit=10)
        rest = await overdue_repairs(session, due_at, after=at[-1], limit=10)

    assert (before, [(one.event_id, one.replay_id) for one in at], rest) == (
        [],
        [(event_id, replay_id)],
        [],
    )


@pytest.mark.parametrize(
    ("silent_seconds", "overdue_seconds", "opens"),
    [(2, 30, True), (40, 30, False), (40, 50, True)],
    ids=["ingest is up", "due after its last word", "due before its last word"],
)
async def test_deadline_after_the_last_heartbeat_of_ingest_opens_nothing(
    story: Story, silent_seconds: int, overdue_seconds: int, opens: bool
) -> None:
    event_id = await story.receipt()
    now = START + timedelta(minutes=30, seconds=overdue_seconds)
    async with story.database.transaction() as session:
        said_at = now - timedelta(seconds=silent_seconds)
        await beat(
            session, process="ingest-1", role="ingest", started_at=START, now=said_at, report={}
        )

    async with story.database.transaction() as session:
        until = await deadlines_count_until(session, now, outage_seconds=60)
        outcome = await open_due_incident(session, event_id, now, outage_seconds=60)

    assert isinstance(outcome, Opened if opens else NotYet)
    assert until == (now if silent_seconds == 2 else said_at)
    assert (await story.snapshot(event_id)).position is (
        LifecycleState.OPEN if opens else LifecycleState.WAITING
    )


async def test_a_second_opening_is_not_new(story: Story) -> None:
    event_id = await story.receipt()
    now = START + timedelta(minutes=31)

    async with story.database.transaction() as session:
        early = await open_due_incident(session, event_id, START, outage_seconds=0)
        first = await open_due_incident(session, event_id, now, outage_seconds=0)
        second = await open_due_incident(session, event_id, now, outage_seconds=0)

    assert early == NotYet(30 * 60 * 1000)
    assert isinstance(first, Opened)
    assert isinstance(second, Opened)
    assert (first.is_new, second.is_new) == (True, False)
    assert (await story.snapshot(event_id)).reason is Reason.MISSING_RESULT


async def test_a_repair_fails_past_its_deadline_and_not_before(story: Story) -> None:
    event_id, replay_id = await story.awaiting_result()
    due_at = (await story.snapshot(event_id)).result_deadline_at
    assert due_at is not None

    async with story.database.transaction() as session:
        early = await fail_due_repair(
            session, event_id, replay_id, due_at - timedelta(seconds=1), outage_seconds=0
        )
        late = await fail_due_repair(session, event_id, replay_id, due_at, outage_seconds=0)

    assert (early, late) == (NotYet(1000), LifecycleState.OPEN)
