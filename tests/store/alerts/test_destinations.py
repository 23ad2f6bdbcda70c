"""Alert destinations: replaced in place, kept apart by project, sealed if secret."""

import asyncio

import pytest
from sqlalchemy import select, text

from domain.alerts import AlertChannel, AlertDestination, is_destination_id
from domain.errors import NotFound
from domain.ids import DestinationId, ProjectId
from domain.incidents import AlertKind
from domain.lifecycle import LifecycleState
from domain.projects import ProjectChanges
from store.alerts.claims import claim_alerts
from store.alerts.destinations import (
    add_secret_destination,
    read_destinations,
    read_secret_target,
    remove_destination,
)
from store.alerts.due import AlertDue
from store.crypto.encryption import SealBroken, Sealer
from store.crypto.root_secret import rotate
from store.db.database import Database
from store.projects.deletion import delete_project
from store.projects.projects import change_project, read_project
from store.schema.tables import ALERT_DESTINATIONS
from tests.conftest import SECRET_KEY
from tests.store.alerts.test_claims import other_project
from tests.support.given import START, Story

SECRET = "https://hooks.example/T0/very-secret"


async def save(story: Story, *addresses: str) -> None:
    async with story.database.transaction() as session:
        changes = ProjectChanges(alert_emails=addresses)
        await change_project(session, story.project.id, changes=changes)


async def listed(story: Story) -> tuple[AlertDestination, ...]:
    async with story.database.reading() as session:
        return (await read_destinations(session, [story.project.id]))[story.project.id]


async def add_secret(story: Story, sealer: Sealer, target: str = SECRET) -> DestinationId:
    async with story.database.transaction() as session:
        return await add_secret_destination(
            session,
            sealer,
            project_id=story.project.id,
            channel=AlertChannel.EMAIL,
            target=target,
        )


async def alert_to(story: Story, destination: str) -> AlertDue:
    """The due alert to this destination."""
    async with story.database.transaction() as session:
        due = await claim_alerts(session, story.at, limit=100)
    (alert,) = [alert for alert in due if alert.destination == destination]
    return alert


async def test_addresses_are_listed_in_the_order_in_which_they_were_saved(story: Story) -> None:
    await save(story, "zoe@shop.example", "ada@shop.example")
    first = await listed(story)

    await save(story, "ada@shop.example", "eve@shop.example", "zoe@shop.example")

    second = await listed(story)
    ids = {destination.target: destination.id for destination in second}
    assert [one.target for one in first] == ["zoe@shop.example", "ada@shop.example"]
    assert list(ids) == ["ada@shop.example", "eve@shop.example", "zoe@shop.example"]
    assert all(ids[one.target or ""] == one.id for one in first), "an address keeps its row"
    assert all(is_destination_id(one.id) for one in second)


async def test_change_of_addresses_touches_no_other_project_and_no_secret_destination(
    story: Story, sealer: Sealer
) -> None:
    other = await other_project(story, sealer)
    secret = await add_secret(story, sealer)
    before = await listed(other)

    await save(story)

    assert [(one.id, one.target) for one in await listed(story)] == [(secret, None)]
    assert await listed(other) == before
    async with story.database.reading() as session:
        assert (await read_project(session, story.project.id)).alert_emails == ()


async def test_simultaneous_changes_of_addresses_leave_one_of_the_lists(story: Story) -> None:
    lists = [tuple(f"{name}{n}@shop.example" for name in "ab") for n in range(5)]

    await asyncio.gather(*(save(story, *addresses) for addresses in lists))

    assert tuple(one.target for one in await listed(story)) in lists


async def test_destination_gets_only_the_kinds_of_alerts_that_it_wants(story: Story) -> None:
    await save(story, "all@shop.example", "ends@shop.example")
    async with story.database.transaction() as session:
        wanted = "UPDATE alert_destinations SET events = :events WHERE target = :target"
        kinds = f"{AlertKind.INCIDENT_RESOLVED} {AlertKind.DESTINATION_FAILING}"
        await session.execute(text(wanted), {"events": kinds, "target": "ends@shop.example"})

    event_id, replay_id = await story.reach(LifecycleState.CLOSED)

    assert [one.events for one in await listed(story)] == [
        None,
        frozenset({AlertKind.INCIDENT_RESOLVED, AlertKind.DESTINATION_FAILING}),
    ]
    assert sorted(await story.alerts(event_id)) == [
        ("incident_opened", "", "all@shop.example"),
        ("incident_resolved", "", "all@shop.example"),
        ("incident_resolved", "", "ends@shop.example"),
    ]
    assert replay_id is not None


async def test_secret_target_is_in_no_row_and_opens_for_its_alert(
    story: Story, sealer: Sealer
) -> None:
    destination_id = await add_secret(story, sealer)
    await story.opened()
    alert = await alert_to(story, destination_id)

    async with story.database.reading() as session:
        target = await read_secret_target(session, sealer, alert)
        rows = [
            str(tuple(row))
            for table in ALERT_DESTINATIONS.metadata.sorted_tables
            for row in await session.execute(select(table))
        ]

    assert target == SECRET
    assert any(destination_id in row for row in rows)
    assert not any("very-secret" in row for row in rows)


async def test_secret_target_opens_after_the_root_secret_was_replaced(
    story: Story, sealer: Sealer
) -> None:
    destination_id = await add_secret(story, sealer)
    await story.opened()
    alert = await alert_to(story, destination_id)
    renewed = "another root secret of the tests, long enough"
    async with story.database.transaction() as session:
        await rotate(session, Sealer(renewed, SECRET_KEY), await story.database.now(session))

    async with story.database.reading() as session:
        target = await read_secret_target(session, Sealer(renewed), alert)
        with pytest.raises(SealBroken):
            await read_secret_target(session, sealer, alert)

    assert target == SECRET


async def test_target_of_another_project_or_of_none_is_not_opened(
    story: Story, sealer: Sealer
) -> None:
    other = await other_project(story, sealer)
    theirs = await add_secret(other, sealer)
    await other.opened()
    alert = await alert_to(other, theirs)
    async with story.database.transaction() as session:
        moved = "UPDATE alerts SET project_id = :ours WHERE id = :id"
        await session.execute(text(moved), {"ours": story.project.id, "id": alert.alert_id})
    story.later(days=1)
    foreign = await alert_to(story, theirs)

    async with story.database.reading() as session:
        assert await read_secret_target(session, sealer, foreign) is None
        assert await read_secret_target(session, sealer, alert) == SECRET
    async with story.database.transaction() as session:
        await remove_destination(session, other.project.id, theirs)
        assert await read_secret_target(session, sealer, alert) is None


async def test_destination_of_another_project_is_not_removed(story: Story, sealer: Sealer) -> None:
    other = await other_project(story, sealer)
    ours = await add_secret(story, sealer)

    async with story.database.transaction() as session:
        with pytest.raises(NotFound):
            await remove_destination(session, other.project.id, ours)

    assert ours in [one.id for one in await listed(story)]


async def test_deleted_project_has_no_destinations_and_no_others_lose_theirs(
    story: Story, sealer: Sealer
) -> None:
    other = await other_project(story, sealer)
    await add_secret(story, sealer)
    kept = await listed(other)

    async with story.database.transaction() as session:
        await delete_project(session, story.project.id, end_open=True, now=START)

    assert await listed(story) == ()
    assert await listed(other) == kept
    assert [one.target for one in kept] == ["ops@other.example"]


async def test_change_of_addresses_that_meets_a_deletion_leaves_no_address_behind(
    database: Database, story: Story
) -> None:
    async def delete() -> None:
        async with database.transaction() as session:
            await delete_project(session, story.project.id, end_open=True, now=START)

    await asyncio.gather(
        delete(),
        *(save(story, f"late{number}@shop.example") for number in range(5)),
        return_exceptions=True,
    )

    async with database.reading() as session:
        assert (await session.execute(select(ALERT_DESTINATIONS))).all() == []


async def test_destination_of_a_channel_of_a_newer_version_is_listed_and_gets_its_alert(
    story: Story,
) -> None:
    async with story.database.transaction() as session:
        of_later = ALERT_DESTINATIONS.insert().values(channel="pager", position=0, target="on-call")
        row = of_later.values(id=f"dst_{'0' * 32}", project_id=story.project.id)
        await session.execute(row)
    await story.opened()

    assert (await alert_to(story, "on-call")).channel == "pager"
    assert sorted((one.channel, one.target) for one in await listed(story)) == [
        ("email", "ops@shop.example"),
        ("pager", "on-call"),
    ]
    async with story.database.reading() as session:
        project = await read_project(session, story.project.id)
    assert project.alert_emails == ("ops@shop.example",)


async def test_destinations_of_a_project_are_read_by_their_index(story: Story) -> None:
    if story.database.dialect != "sqlite":
        return  # PostgreSQL chooses by size: with few rows it reads the table.
    columns = "WHERE project_id = 'x' ORDER BY channel, position"
    query = text(f"EXPLAIN QUERY PLAN SELECT * FROM alert_destinations {columns}")

    async with story.database.reading() as session:
        plan = [row.detail for row in await session.execute(query)]

    assert plan[0].startswith("SEARCH alert_destinations USING INDEX")
    assert plan[0].endswith("(project_id=?)")


async def test_projects_without_destinations_are_in_the_answer(story: Story) -> None:
    await save(story)
    nowhere = ProjectId("prj_none")

    async with story.database.reading() as session:
        found = await read_destinations(session, [story.project.id, nowhere])

    assert found == {story.project.id: (), nowhere: ()}
