"""The worker's loops of groups: alerts over two workers and kills, and a broken window."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import event, select, text

from domain.projects import CreatedProject
from store.db.database import Database
from store.schema.tables import ALERTS, GROUP_WINDOWS
from tests.support.given import Story
from worker.groups.adoption import GroupAdoption
from worker.groups.alerts import GroupAlerts


@pytest.fixture
async def story(database: Database, project: CreatedProject) -> Story:
    """Two groups of three incidents, whose windows have just ended."""
    story = Story(database, project.project)
    for code in ("a", "b"):
        for _ in range(3):
            event_id = await story.receipt()
            await story.result(event_id, "failed", error_code=code)
    async with database.reading() as session:
        now = await database.now(session)
    database.clock.skew = story.at + timedelta(minutes=5) - now
    return story


async def kinds(database: Database) -> list[str]:
    async with database.reading() as session:
        return sorted(await session.scalars(select(ALERTS.c.kind)))


@pytest.mark.both_stores
async def test_two_workers_alert_once(story: Story) -> None:
    workers = [GroupAlerts(story.database), GroupAlerts(story.database)]

    for _ in range(2):
        await asyncio.gather(*(worker.turn() for worker in workers))

    assert await kinds(story.database) == ["group_grew"] * 2 + ["incident_opened"] * 2


async def test_worker_that_dies_before_its_commit_loses_no_alert(story: Story) -> None:
    engine = story.database._writing.engine.sync_engine

    def die(_: object) -> None:
        raise asyncio.CancelledError

    event.listen(engine, "commit", die)
    with pytest.raises(asyncio.CancelledError):
        await GroupAlerts(story.database).turn()
    event.remove(engine, "commit", die)
    assert await kinds(story.database) == ["incident_opened"] * 2

    await GroupAlerts(story.database).turn()

    assert await kinds(story.database) == ["group_grew"] * 2 + ["incident_opened"] * 2


async def test_window_that_cannot_be_ended_does_not_stop_the_others(story: Story) -> None:
    async with story.database.transaction() as session:
        broken = await session.scalar(select(GROUP_WINDOWS.c.group_id).limit(1))
        await session.execute(
            text("UPDATE incident_groups SET muted_until = 9000000000000000000 WHERE id = :id"),
            {"id": broken},
        )

    await GroupAlerts(story.database).turn()

    assert (await kinds(story.database)).count("group_grew") == 1


async def test_incidents_without_a_group_get_one(story: Story) -> None:
    async with story.database.transaction() as session:
        for sql in (
            "UPDATE incidents SET group_id = NULL",
            "DELETE FROM incident_groups",
            "DELETE FROM group_windows",
        ):
            await session.execute(text(sql))

    adopted = await GroupAdoption(story.database).turn()

    assert adopted == 6
    async with story.database.reading() as session:
        counts = await session.execute(text("SELECT open_count FROM incident_groups"))
        assert sorted(counts.scalars()) == [3, 3]
