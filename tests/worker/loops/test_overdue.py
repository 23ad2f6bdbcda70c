"""Many or locked overdue receipts of one project delay neither other projects nor repairs."""

from datetime import datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from domain.ids import EventId
from domain.lifecycle import LifecycleState
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.store.alerts.test_claims import other_project
from tests.store.receipts.test_overdue_turns import pile_up
from tests.support.given import Story
from tests.worker.loops.test_retention import broken
from worker.loops import overdue, overdue_selection
from worker.loops.overdue import OverdueOpener


@pytest.fixture
async def late(story: Story) -> EventId:
    """A receipt whose deadline was a minute ago."""
    story.at = await now(story.database) - timedelta(minutes=2)
    return await story.receipt(timeout_minutes=1.0)


async def test_incident_of_one_project_opens_in_the_first_turn_despite_a_backlog_of_another(
    database: Database, story: Story, late: EventId
) -> None:
    await pile_up(database, "greedy", 25_000)

    has_more = await OverdueOpener(database, outage_seconds=0).open_overdue()

    assert (await story.snapshot(late)).position is LifecycleState.OPEN
    assert has_more


async def test_projects_left_out_of_a_turn_are_first_in_the_next(
    database: Database, story: Story, sealer: Sealer, late: EventId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overdue, "TURN_SECONDS", 0.0)
    stories = [
        story,
        *[await other_project(story, sealer, name) for name in ("second", "third", "fourth")],
    ]
    events = [(one, await one.receipt(timeout_minutes=1.0)) for one in stories for _ in range(3)]
    opener = OverdueOpener(database, outage_seconds=0)

    opened = []
    for _ in range(2):
        await opener.open_overdue()
        positions = [
            (one.project.id, (await one.snapshot(event_id)).position)
            for one, event_id in [*events, (story, late)]
        ]
        opened.append(
            sorted(
                project_id for project_id, position in positions if position is LifecycleState.OPEN
            )
        )

    assert [len(ids) for ids in opened] == [2, 4]
    assert opened[1] == sorted(one.project.id for one in stories)


async def test_receipt_behind_many_failing_ones_is_opened(
    database: Database, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overdue_selection, "OF_EACH", 5)
    monkeypatch.setattr(overdue_selection, "WALKED_PART", 5)
    story.at = await now(database) - timedelta(hours=2)
    for _ in range(12):
        await story.receipt(timeout_minutes=1.0, internal_reference="failing")
    story.later(minutes=1)
    behind = await story.receipt(timeout_minutes=1.0)
    opener = OverdueOpener(database, outage_seconds=0)

    async with broken(database, "receipts", "UPDATE", "OLD.internal_reference = 'failing'"):
        with capture_logs() as logs:
            for _ in range(2):
                await opener.open_overdue()

    assert (await story.snapshot(behind)).position is LifecycleState.OPEN
    assert sum(line["event"] == "overdue_item_failed" for line in logs) == 12


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_locked_receipts_of_one_project_delay_neither_repairs_nor_other_projects(
    database: Database, sealer: Sealer, story: Story, late: EventId
) -> None:
    awaited, _ = await Story(database, story.project).awaiting_result()
    locked = [late, *[await story.receipt(timeout_minutes=1.0) for _ in range(40)]]
    other = await other_project(story, sealer)
    late_of_other = [await other.receipt(timeout_minutes=1.0) for _ in range(9)]
    await make_repairs_late(database)
    opener = OverdueOpener(database.for_loops(), outage_seconds=0)

    connection = await asyncpg.connect(database.url.replace("+asyncpg", ""))
    try:
        await connection.execute("BEGIN")
        await connection.execute(
            "SELECT 1 FROM receipts WHERE event_id = ANY($1) FOR UPDATE", locked
        )
        # With a counter of failures in a row, so many turns would have stopped all items.
        for _ in range(3):
            await opener.open_overdue()
    finally:
        await connection.close()

    assert (await story.snapshot(awaited)).position is LifecycleState.OPEN
    assert {(await other.snapshot(event_id)).position for event_id in late_of_other} == {
        LifecycleState.OPEN
    }
    assert {(await story.snapshot(event_id)).position for event_id in locked} == {
        LifecycleState.WAITING
    }


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_overdue_repairs_fail_although_receipts_cannot_be_read(
    database: Database, story: Story
) -> None:
    awaited, _ = await story.awaiting_result()
    await make_repairs_late(database)
    async with database.transaction() as session:
        await session.execute(text("DROP INDEX receipts_overdue"))

    await OverdueOpener(database, outage_seconds=0).open_overdue()

    assert (await story.snapshot(awaited)).position is LifecycleState.OPEN


async def make_repairs_late(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text("UPDATE repairs SET result_deadline_at = 1"))


async def now(database: Database) -> datetime:
    async with database.reading() as session:
        return await database.now(session)
