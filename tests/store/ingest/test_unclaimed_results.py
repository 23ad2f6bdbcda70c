"""Held results that no receipt claims: found after an hour, alerted once a day."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from domain.ids import ProjectId
from domain.projects import CreatedProject, ProjectChanges
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.projects.deletion import delete_project
from store.projects.projects import change_project, create_project, set_suspended
from store.receipts.early_results.hold import hold_result
from store.receipts.early_results.unclaimed import (
    _FIND,
    COUNTED_AT_MOST,
    Unclaimed,
    alert_unclaimed,
    projects_to_alert,
    read_unclaimed,
)
from store.schema.tables import ALERT_DESTINATIONS, ALERTS
from tests.support.given import START, let_results_come_early, new_result

HOUR = timedelta(hours=1)
MOMENT = timedelta(milliseconds=1)
MIDNIGHT = START.replace(hour=0) + 24 * HOUR


async def hold(
    database: Database, project_id: ProjectId, *names: str, at: datetime = START
) -> None:
    async with database.transaction() as session:
        await let_results_come_early(SessionStatements(session), project_id)
        for name in names:
            early = new_result(project_id, provider_event_id=name)
            assert await hold_result(SessionStatements(session), early, at)


async def due(database: Database, at: datetime) -> Sequence[ProjectId]:
    async with database.reading() as session:
        return (await projects_to_alert(session, at, after=None, limit=100)).due


async def alert(database: Database, project_id: ProjectId, at: datetime) -> bool:
    async with database.transaction() as session:
        return await alert_unclaimed(session, project_id, at)


async def unclaimed(database: Database, project_id: ProjectId, at: datetime) -> Unclaimed:
    async with database.reading() as session:
        return await read_unclaimed(session, project_id, at)


async def alerts(database: Database) -> Sequence[Any]:
    columns = (ALERTS.c.incident_id, ALERTS.c.event_id, ALERTS.c.kind, ALERTS.c.replay_id)
    async with database.reading() as session:
        return (await session.execute(select(*columns).order_by(ALERTS.c.id))).all()


@pytest.fixture
def project_id(project: CreatedProject) -> ProjectId:
    return project.project.id


async def other_project(database: Database, sealer: Sealer, name: str) -> ProjectId:
    async with database.transaction() as session:
        created = await create_project(
            session,
            sealer,
            name=name,
            livemode=False,
            alert_emails=("ops@other.example",),
            now=START,
        )
    return created.project.id


async def test_result_is_unclaimed_after_an_hour_and_until_it_is_deleted(
    database: Database, project_id: ProjectId
) -> None:
    await hold(database, project_id, "evt_1")

    found = [
        await due(database, START + passed)
        for passed in (HOUR - MOMENT, HOUR, 24 * HOUR - MOMENT, 24 * HOUR)
    ]

    assert found == [[], [project_id], [project_id], []]


async def test_project_is_alerted_once_a_day(database: Database, project_id: ProjectId) -> None:
    await hold(database, project_id, "evt_1", "evt_2")
    await hold(database, project_id, "evt_3", at=MIDNIGHT - 2 * HOUR)

    found = []
    for at in (START + HOUR, START + 2 * HOUR, MIDNIGHT - MOMENT, MIDNIGHT, MIDNIGHT + HOUR):
        found.append(await due(database, at))
        for one in found[-1]:
            assert await alert(database, one, at)

    assert found == [[project_id], [], [], [project_id], []]
    kind = "early_results_unclaimed"
    assert await alerts(database) == [
        (project_id, project_id, kind, day) for day in ("2026-11-23", "2026-11-24")
    ]


async def test_alert_of_a_day_is_inserted_once(database: Database, project_id: ProjectId) -> None:
    await hold(database, project_id, "evt_1")

    for minutes in (60, 61, 62):
        assert await alert(database, project_id, START + timedelta(minutes=minutes))

    assert len(await alerts(database)) == 1


async def test_each_destination_gets_its_alert(database: Database, project_id: ProjectId) -> None:
    async with database.transaction() as session:
        changes = ProjectChanges(alert_emails=("a@shop.example", "b@shop.example"))
        await change_project(session, project_id, changes=changes)
    await hold(database, project_id, "evt_1")

    await alert(database, project_id, START + HOUR)

    async with database.reading() as session:
        sent_to = (await session.scalars(select(ALERTS.c.destination))).all()
    assert sorted(sent_to) == ["a@shop.example", "b@shop.example"]


async def test_results_that_were_claimed_meanwhile_are_not_alerted(
    database: Database, project_id: ProjectId
) -> None:
    await hold(database, project_id, "evt_1")
    assert await due(database, START + HOUR) == [project_id]
    async with database.transaction() as session:
        await session.execute(text("DELETE FROM early_results"))

    assert not await alert(database, project_id, START + HOUR)

    assert await alerts(database) == []


async def test_number_and_oldest_are_those_of_the_project_after_an_hour(
    database: Database, sealer: Sealer, project_id: ProjectId
) -> None:
    other = await other_project(database, sealer, "other")
    await hold(database, other, "evt_1", at=START - 2 * HOUR)
    await hold(database, project_id, "evt_gone", at=START - 23 * HOUR)
    await hold(database, project_id, "evt_1", "evt_2")
    await hold(database, project_id, "evt_young", at=START + MOMENT)

    assert await unclaimed(database, project_id, START + HOUR) == Unclaimed(2, START)
    assert await unclaimed(database, project_id, START + 25 * HOUR) == Unclaimed(0, None)


async def test_count_is_bounded_and_has_the_oldest(
    database: Database, project_id: ProjectId
) -> None:
    await hold(database, project_id, "evt_first", at=START - MOMENT)
    names = [f"evt_{number}" for number in range(COUNTED_AT_MOST)]
    await hold(database, project_id, *names)

    found = await unclaimed(database, project_id, START + HOUR)

    assert found == Unclaimed(COUNTED_AT_MOST, START - MOMENT)


@pytest.mark.parametrize("end", ["suspended", "deleted", "no address", "another kind"])
async def test_project_that_nobody_can_alert_is_not_due(
    database: Database, project_id: ProjectId, end: str
) -> None:
    await hold(database, project_id, "evt_1")

    async with database.transaction() as session:
        now = await database.now(session)
        match end:
            case "suspended":
                await set_suspended(session, project_id, suspended=True, now=now)
            case "deleted":
                await delete_project(session, project_id, end_open=False, now=now)
            case "no address":
                changes = ProjectChanges(alert_emails=())
                await change_project(session, project_id, changes=changes)
            case _:
                other = update(ALERT_DESTINATIONS).values(events="incident_opened source_silent")
                await session.execute(other)

    assert await due(database, START + HOUR) == []


async def test_destination_of_this_kind_is_alerted(
    database: Database, project_id: ProjectId
) -> None:
    await hold(database, project_id, "evt_1")
    events = "incident_opened early_results_unclaimed"
    async with database.transaction() as session:
        await session.execute(update(ALERT_DESTINATIONS).values(events=events))

    assert await due(database, START + HOUR) == [project_id]
    await alert(database, project_id, START + HOUR)
    assert len(await alerts(database)) == 1


async def test_turns_go_through_all_projects_in_bounded_parts(
    database: Database, sealer: Sealer, project_id: ProjectId
) -> None:
    ids = [project_id, *[await other_project(database, sealer, f"shop {n}") for n in range(4)]]
    for one in ids:
        await hold(database, one, "evt_1")
    found: list[ProjectId] = []
    after: ProjectId | None = None

    for _ in range(3):
        async with database.reading() as session:
            page = await projects_to_alert(session, START + HOUR, after=after, limit=2)
        found += page.due
        after = page.last

    assert found == sorted(ids)
    assert after is None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_projects_are_probed_by_index(database: Database) -> None:
    query = _FIND.replace("$1", "''").replace("$2", "200").replace("$5", "'2026-11-23'")
    query = query.replace("$3", "0").replace("$4", "1")
    async with database.reading() as session:
        plan = [
            str(row.detail) for row in await session.execute(text(f"EXPLAIN QUERY PLAN {query}"))
        ]

    assert any("SEARCH e USING COVERING INDEX early_results_by_project" in step for step in plan)
    assert any("SEARCH a USING" in step and "(incident_id=? AND kind=?" in step for step in plan)
    assert [step for step in plan if step.startswith("SCAN") and step != "SCAN p"] == []
