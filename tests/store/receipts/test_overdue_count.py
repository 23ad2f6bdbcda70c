"""What says that Temporal is behind with incidents:

receipts past their deadline, but for those with a cause of their own.
"""

from datetime import timedelta

import pytest
from sqlalchemy import text

from domain.ids import EventId
from domain.values.timestamps import to_unix_ms
from store.receipts.deadlines import open_incident
from store.receipts.outbox import enqueue_start_again
from store.receipts.reconcile import overdue as overdue
from store.receipts.reconcile.stuck_runs import suspect_run
from store.status.heartbeats import write_heartbeat
from tests.store.receipts.test_overdue_turns import pile_up
from tests.support.given import START, Story

OVERDUE = START + timedelta(seconds=6)


async def count(story: Story, **after: float) -> int:
    async with story.database.reading() as session:
        return await overdue.count_overdue(session, OVERDUE + timedelta(**after))


async def late(story: Story, count: int = 1) -> list[EventId]:
    """Receipts whose deadline is at `OVERDUE`."""
    return [await story.receipt(timeout_minutes=0.1) for _ in range(count)]


async def test_count_has_dispatched_receipts_that_are_shortly_late(story: Story) -> None:
    dispatched, undispatched = (
        await story.receipt(timeout_minutes=0.1),
        await story.receipt(timeout_minutes=0.1),
    )
    async with story.database.transaction() as session:
        await enqueue_start_again(session, undispatched, START)

    counts = [await count(story, seconds=after_seconds) for after_seconds in (1, 3, 119, 121)]

    assert counts == [0, 1, 1, 0]
    story.later(seconds=9)
    await story.do(open_incident, dispatched)
    assert await count(story, seconds=3) == 0


@pytest.mark.parametrize(
    ("counts", "is_behind"),
    [
        ((5,), True),
        ((2,), False),
        ((500, 0), False),
        ((500, 1), True),
        ((500, 0, 0), False),
        ((500, 500, 0), False),
        ((1, 1, 1), True),
    ],
    ids=[
        "alone",
        "alone, two",
        "one of two",
        "both of two",
        "one of three",
        "two of three",
        "three of three",
    ],
)
async def test_overdue_receipts_of_some_projects_do_not_count_while_other_projects_have_none(
    story: Story, counts: tuple[int, ...], is_behind: bool
) -> None:
    """`counts`: of each project that has receipts waiting."""
    for name, overdue_count in zip("abc", counts, strict=False):
        due_at = OVERDUE if overdue_count else OVERDUE + timedelta(days=1)
        await pile_up(story.database, name, max(1, overdue_count), first=to_unix_ms(due_at))

    assert (await count(story, seconds=3) >= overdue.BEHIND_FROM_OVERDUE) is is_behind


async def test_runs_that_are_known_to_be_stuck_are_not_counted(story: Story) -> None:
    events = await late(story, 4)
    for event_id in events[:3]:
        await story.do(suspect_run, event_id, story.project.id)

    assert await count(story, seconds=3) == 1


async def test_deadlines_with_pending_credit_or_after_the_last_ingest_heartbeat_are_not_counted(
    story: Story,
) -> None:
    await late(story, 4)
    before = await count(story, seconds=30)
    async with story.database.transaction() as session:
        heartbeat_at = OVERDUE - timedelta(seconds=1)
        await write_heartbeat(
            session,
            process="ingest-1",
            role="ingest",
            started_at=START,
            now=heartbeat_at,
            report={},
        )
    while_silent = await count(story, seconds=30)
    async with story.database.transaction() as session:
        heartbeat_at = OVERDUE + timedelta(seconds=29)
        await write_heartbeat(
            session,
            process="ingest-1",
            role="ingest",
            started_at=START,
            now=heartbeat_at,
            report={},
        )
        await session.execute(
            text(
                "INSERT INTO outages (down_from, up_at, accepted_until, cursor, has_skipped) VALUES"
                " (1, 2, 3, '', :no)"
            ),
            {"no": False},
        )
    while_pending = await count(story, seconds=30)
    async with story.database.transaction() as session:
        await session.execute(text("UPDATE outages SET done_at = 4"))

    assert (before, while_silent, while_pending, await count(story, seconds=30)) == (4, 0, 0, 4)
