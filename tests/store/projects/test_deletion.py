"""Receipts and alerts of a deleted project end and are erased. Other projects keep theirs."""

from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, event, text

from domain.errors import ValidationFailed
from domain.lifecycle import LifecycleState
from store.crypto.encryption import Sealer
from store.crypto.tokens import new_event_id
from store.projects import deletion as deleting
from store.projects import projects
from store.receipts.queries import ListFilters, list_events, list_incidents
from tests.store.projects.delete_project import LATER, delete, rows_left
from tests.support.given import START, Story, keep_incidents_apart


class Erased(NamedTuple):
    """What the worker's loop did in one pass."""

    ended: int
    receipts: int
    answers: int

    @property
    def total(self) -> int:
        return sum(self)


async def erase(story: Story, **after: float) -> Erased:
    at = LATER + timedelta(**after)
    async with story.database.transaction() as session:
        open_receipts = await deleting.open_of_deleted(session, after=None, limit=200)
        for event_id in open_receipts:
            await deleting.end_deleted(session, event_id, at)
        erased = await deleting.erase_deleted(session, at)
    return Erased(len(open_receipts), erased.receipts, erased.answers)


async def deliver_outbox(story: Story) -> set[tuple[str, str]]:
    """Delete the outbox rows as if they were delivered. Returns the receipt and kind of each."""
    async with story.database.transaction() as session:
        gone = await session.execute(text("DELETE FROM outbox RETURNING event_id, kind"))
        return {(row.event_id, row.kind) for row in gone}


async def test_receipts_that_have_not_ended_keep_a_project(story: Story) -> None:
    await story.reach(LifecycleState.WAITING)
    await story.reach(LifecycleState.CALLING)
    await story.reach(LifecycleState.APPLIED)

    with pytest.raises(ValidationFailed) as refused:
        await delete(story, end_open=False)

    assert refused.value.errors[0].message.startswith("2 receipts have not ended")
    async with story.database.reading() as session:
        assert await projects.read_project(session, story.project.id) == story.project


async def test_receipt_that_another_worker_has_erased_needs_no_end(story: Story) -> None:
    kept = await story.receipt()
    await delete(story)

    async with story.database.transaction() as session:
        await deleting.end_deleted(session, new_event_id(), LATER)
        left = await deleting.open_of_deleted(session, after=None, limit=200)

    assert left == [kept]


async def test_deletion_counts_to_a_bound_and_leaves_alerts_to_the_loop(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleting, "COUNTED", 3)
    for _ in range(2):
        await story.receipt()
    for _ in range(3):
        await story.opened()
    with pytest.raises(ValidationFailed) as refused:
        await delete(story, end_open=False)
    sent: list[str] = []

    def keep(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", keep)
    try:
        counted = await delete(story)
    finally:
        event.remove(Engine, "before_cursor_execute", keep)

    assert refused.value.errors[0].message.startswith("3 or more receipts have not ended")
    assert counted == 3
    assert [
        statement for statement in sent if "alerts" in statement and statement.startswith("DELETE")
    ] == []


async def test_alerts_of_a_deleted_project_are_erased_in_batches_and_no_others(
    story: Story, sealer: Sealer
) -> None:
    async with story.database.transaction() as session:
        wanted: dict[str, Any] = {"repair_url": None, "alert_emails": ("ops@other.example",)}
        other = await projects.create_project(
            session, sealer, name="other", livemode=False, now=START, **wanted
        )
    neighbour = Story(story.database, other.project)
    await story.do(keep_incidents_apart, story.project.id)
    theirs, _ = await neighbour.opened()
    ours = [(await story.opened())[0] for _ in range(3)]
    assert [len(await story.alerts(event_id)) for event_id in ours] == [1, 1, 1]
    await delete(story)

    batches = []
    for _ in range(3):
        async with story.database.transaction() as session:
            batches.append((await deleting.erase_deleted(session, LATER, limit=2)).alerts)

    assert batches == [2, 1, 0]
    assert [len(await story.alerts(event_id)) for event_id in (*ours, theirs)] == [0, 0, 0, 1]


async def test_erased_project_is_not_checked_again_until_a_late_receipt(
    story: Story,
) -> None:
    await story.receipt()
    await delete(story)
    await deliver_outbox(story)

    async def is_looked_at(*, after_hours: float) -> bool:
        async with story.database.transaction() as session:
            await deleting.mark_erased(session, LATER + timedelta(hours=after_hours))
            return await deleting.has_deleted(session)

    with_rows = await is_looked_at(after_hours=2)
    await erase(story)
    await deliver_outbox(story)
    while (await erase(story, minutes=2)).total:
        pass
    looked_at = [with_rows, await is_looked_at(after_hours=0.9), await is_looked_at(after_hours=1)]
    late = await story.receipt()
    async with story.database.transaction() as session:
        unmarked = await deleting.unmark_erased(session)
        open_receipts = await deleting.open_of_deleted(session, after=None, limit=10)

    assert looked_at == [True, True, False]
    assert (unmarked, open_receipts) == (1, [late])


async def test_receipts_of_a_deleted_project_end_are_signalled_and_then_erased(
    story: Story, sealer: Sealer
) -> None:
    async with story.database.transaction() as session:
        wanted: dict[str, Any] = {
            "repair_url": "https://other.example/repair",
            "alert_emails": ("ops@other.example",),
        }
        other = await projects.create_project(
            session, sealer, name="other", livemode=False, now=START, **wanted
        )
    neighbour = Story(story.database, other.project)
    theirs = [(await neighbour.reach(state))[0] for state in LifecycleState]
    ours = {state: (await story.reach(state))[0] for state in LifecycleState}
    await deliver_outbox(story)
    before = await rows_left(story, other.project.id, theirs)
    open_ones = [
        ours[at]
        for at in (
            LifecycleState.EXPECTED,
            LifecycleState.WAITING,
            LifecycleState.OPEN,
            LifecycleState.HELD,
            LifecycleState.CALLING,
            LifecycleState.AWAITING_RESULT,
        )
    ]

    ended = await delete(story)
    first = await erase(story)
    states = [(await story.snapshot(event_id)).state for event_id in open_ones]
    alerts = [
        row
        for event_id in ours.values()
        for row in await story.rows("alerts", event_id)
        if row["sent_at"] is None
    ]
    delivered = await deliver_outbox(story)
    too_soon = await erase(story, seconds=59)
    last = await erase(story, seconds=60)

    assert (ended, first.ended) == (6, 6)
    assert states == [LifecycleState.CLOSED] * 6
    assert alerts == []
    assert {event_id for event_id, kind in delivered if kind == "resolve"} == set(open_ones)
    assert first.receipts + too_soon.receipts == 3, "those that had ended before"
    assert (last.receipts, (await erase(story, hours=1)).total) == (6, 0)
    assert set((await rows_left(story, story.project.id, list(ours.values()))).values()) == {0}
    assert await rows_left(story, other.project.id, theirs) == before


async def test_receipt_with_an_undelivered_signal_is_not_erased(story: Story) -> None:
    event_id, _ = await story.reach(LifecycleState.OPEN)
    await delete(story)
    await erase(story)

    assert (await erase(story, hours=1)).receipts == 0
    assert {row for row in await deliver_outbox(story) if row[1] == "resolve"} == {
        (event_id, "resolve")
    }
    assert (await erase(story, hours=1)).receipts == 1


async def test_receipt_that_another_process_took_meanwhile_is_ended_and_erased_too(
    story: Story,
) -> None:
    await delete(story)
    story.at = LATER
    late, _ = await story.reach(LifecycleState.WAITING)
    async with story.database.reading() as session:
        listed = await list_events(session, ListFilters(project_id=None), limit=20, cursor=None)
        incidents = await list_incidents(
            session, ListFilters(project_id=None), limit=20, cursor=None
        )

    ended = await erase(story)
    await deliver_outbox(story)

    assert (listed.rows, incidents.rows) == ((), ())
    assert ended.ended == 1
    assert (await erase(story, minutes=1)).receipts == 1
    assert set((await rows_left(story, story.project.id, [late, new_event_id()])).values()) == {0}
