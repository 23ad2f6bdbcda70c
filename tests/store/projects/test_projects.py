"""Projects and signing secrets, as stored."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from domain.errors import NotFound, ValidationFailed
from domain.ids import ProjectId
from domain.projects import CreatedProject, ProjectChanges, Scope
from domain.results import LateResult
from store.crypto.encryption import SealBroken, Sealer
from store.db.database import Database
from store.projects import projects, signing_secrets

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOWHERE = ProjectId("prj_none")


async def create(database: Database, sealer: Sealer, name: str = "other") -> CreatedProject:
    async with database.transaction() as session:
        return await projects.create_project(session, sealer, name=name, livemode=True, now=NOW)


async def test_a_new_project_has_the_contracts_defaults(database: Database, sealer: Sealer) -> None:
    created = await create(database, sealer)

    project = created.project
    assert (project.livemode, project.timeout_minutes, project.late_result) == (
        True,
        30,
        LateResult.RESOLVE,
    )
    assert (project.repair_url, project.alert_emails, project.snapshots, project.is_suspended) == (
        None,
        (),
        False,
        False,
    )
    assert created.key.scopes == frozenset({Scope.INGEST})
    assert created.api_key.startswith("sk_live_")
    assert created.signing_secret.startswith("whsec_")


async def test_a_project_is_found_by_name_and_by_id(
    database: Database, project: CreatedProject
) -> None:
    async with database.reading() as session:
        by_name = await projects.find_project(session, "shop")
        by_id = await projects.find_project(session, project.project.id)
        by_reading = await projects.read_project(session, project.project.id)

    assert by_name == by_id == by_reading == project.project


async def test_an_id_goes_before_a_project_named_like_it(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    await create(database, sealer, name=project.project.id)

    async with database.reading() as session:
        assert await projects.find_project(session, project.project.id) == project.project


async def test_an_unknown_project_is_not_found(database: Database) -> None:
    async with database.transaction() as session:
        with pytest.raises(NotFound):
            await projects.find_project(session, "nothing")
        with pytest.raises(NotFound):
            await projects.change_project(session, NOWHERE, changes=ProjectChanges(name="x"))
        with pytest.raises(NotFound):
            await projects.set_suspended(session, NOWHERE, suspended=True, now=NOW)
        with pytest.raises(NotFound):
            await signing_secrets.finish_rotation(session, project_id=NOWHERE)


async def test_name_in_use_is_refused(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    other = await create(database, sealer)

    with pytest.raises(ValidationFailed) as at_creation:
        await create(database, sealer, name="shop")
    with pytest.raises(ValidationFailed):
        async with database.transaction() as session:
            await projects.change_project(
                session, other.project.id, changes=ProjectChanges(name="shop")
            )

    assert [(error.pointer, error.code) for error in at_creation.value.errors] == [
        ("/name", "taken")
    ]


async def test_one_of_several_equal_projects_created_at_once_is_stored(
    database: Database, sealer: Sealer
) -> None:
    made = await asyncio.gather(
        *(create(database, sealer, name="same") for _ in range(5)), return_exceptions=True
    )

    assert (
        sorted(type(outcome).__name__ for outcome in made)
        == ["CreatedProject"] + ["ValidationFailed"] * 4
    )


async def test_only_the_fields_given_change(database: Database, project: CreatedProject) -> None:
    changes = ProjectChanges(
        timeout_minutes=5.5,
        late_result=LateResult.NOTE,
        alert_emails=("a@b.example", "c@d.example"),
    )

    async with database.transaction() as session:
        changed = await projects.change_project(session, project.project.id, changes=changes)

    assert (changed.timeout_minutes, changed.late_result) == (5.5, LateResult.NOTE)
    assert changed.alert_emails == ("a@b.example", "c@d.example")
    assert (changed.name, changed.repair_url) == (project.project.name, project.project.repair_url)


async def test_saving_a_repair_url_again_activates_it(
    database: Database, project: CreatedProject
) -> None:
    url = project.project.repair_url
    async with database.transaction() as session:
        await session.execute(text("UPDATE projects SET repair_url_gone = :gone"), {"gone": True})
        before = await projects.change_project(
            session, project.project.id, changes=ProjectChanges(snapshots=True)
        )
        after = await projects.change_project(
            session, project.project.id, changes=ProjectChanges(repair_url=url)
        )
        removed = await projects.change_project(
            session, project.project.id, changes=ProjectChanges(repair_url=None)
        )

    assert (before.repair_url_gone, after.repair_url_gone, removed.repair_url) == (
        True,
        False,
        None,
    )
    assert after.snapshots


async def test_a_name_from_outside_is_cut_and_has_no_nul(
    database: Database, sealer: Sealer
) -> None:
    created = await create(database, sealer, name="a\0b" + "c" * 3_000)

    assert created.project.name == "ab" + "c" * 2_046


async def test_suspending_and_resuming(database: Database, project: CreatedProject) -> None:
    async with database.transaction() as session:
        suspended = await projects.set_suspended(
            session, project.project.id, suspended=True, now=NOW
        )
        resumed = await projects.set_suspended(
            session, project.project.id, suspended=False, now=NOW
        )
        every = await projects.list_projects(session)

    assert (suspended.is_suspended, resumed.is_suspended) == (True, False)
    assert every == [project.project]


async def test_the_signing_secret_is_stored_sealed_and_read_back(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    async with database.reading() as session:
        secrets = await signing_secrets.signing_secrets(session, sealer, project.project.id, NOW)
        stored = await session.scalar(text("SELECT sealed FROM signing_secrets"))

    assert (secrets.current, secrets.next) == (project.signing_secret, None)
    assert project.signing_secret.encode() not in bytes(stored)


async def test_another_root_secret_does_not_read_it(
    database: Database, project: CreatedProject
) -> None:
    other_sealer = Sealer("another root secret of more than thirty-two characters")

    async with database.reading() as session:
        with pytest.raises(SealBroken):
            await signing_secrets.signing_secrets(session, other_sealer, project.project.id, NOW)


async def test_a_rotation_overlaps_and_then_the_next_secret_is_the_current_one(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    project_id = project.project.id
    async with database.transaction() as session:
        lost = await signing_secrets.rotate_signing_secret(
            session, sealer, project_id=project_id, now=NOW
        )
        following = await signing_secrets.rotate_signing_secret(
            session, sealer, project_id=project_id, now=NOW
        )
        during = await signing_secrets.signing_secrets(session, sealer, project_id, NOW)
        await signing_secrets.finish_rotation(session, project_id=project_id)
        after = await signing_secrets.signing_secrets(session, sealer, project_id, NOW)
        kept = (
            await session.execute(text("SELECT sealed FROM signing_secrets WHERE role = 'retired'"))
        ).all()

    assert (during.current, during.next) == (project.signing_secret, following)
    assert (after.current, after.next) == (following, None)
    assert lost not in (project.signing_secret, following)
    assert [bytes(row.sealed) for row in kept] == [b"", b""]


async def test_a_rotation_that_was_not_begun_cannot_end(
    database: Database, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        with pytest.raises(NotFound):
            await signing_secrets.finish_rotation(session, project_id=project.project.id)


async def test_concurrent_rotations_leave_one_next_secret(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    async def rotate() -> str:
        async with database.transaction() as session:
            return await signing_secrets.rotate_signing_secret(
                session, sealer, project_id=project.project.id, now=NOW
            )

    made = await asyncio.gather(*(rotate() for _ in range(5)))

    async with database.reading() as session:
        count = await session.scalar(
            text("SELECT count(*) FROM signing_secrets WHERE role = 'next'")
        )
        secrets = await signing_secrets.signing_secrets(session, sealer, project.project.id, NOW)
    assert count == 1
    assert secrets.next in made


async def test_an_overlap_ends_by_itself_after_24_hours(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    project_id, last = project.project.id, NOW + timedelta(hours=24) - timedelta(milliseconds=1)
    async with database.transaction() as session:
        following = await signing_secrets.rotate_signing_secret(
            session, sealer, project_id=project_id, now=NOW
        )
        during = await signing_secrets.signing_secrets(session, sealer, project_id, last)
        until = await signing_secrets.overlap_ends_at(session, project_id, last)
        after = await signing_secrets.signing_secrets(
            session, sealer, project_id, NOW + timedelta(hours=24)
        )
        none = await signing_secrets.overlap_ends_at(session, project_id, NOW + timedelta(hours=24))

    assert (during.current, during.next, until) == (
        project.signing_secret,
        following,
        NOW + timedelta(hours=24),
    )
    assert (after.current, after.next, none) == (following, None, None)


async def test_secret_of_an_ended_overlap_is_erased(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    project_id, after = project.project.id, NOW + timedelta(hours=24)
    async with database.transaction() as session:
        following = await signing_secrets.rotate_signing_secret(
            session, sealer, project_id=project_id, now=NOW
        )
        too_soon = await signing_secrets.overdue_rotations(session, after - timedelta(seconds=1))
        ended = await signing_secrets.overdue_rotations(session, after)
        await signing_secrets.finish_overdue_rotation(session, project_id, after)
        again = await signing_secrets.overdue_rotations(session, after)
        secrets = await signing_secrets.signing_secrets(session, sealer, project_id, NOW)
        sealed = (
            await session.execute(
                text("SELECT role, sealed FROM signing_secrets ORDER BY role DESC")
            )
        ).all()

    assert (too_soon, ended, again) == ([], [project_id], [])
    assert (secrets.current, secrets.next) == (following, None)
    assert [(row.role, bool(bytes(row.sealed))) for row in sealed] == [
        ("retired", False),
        ("current", True),
    ]


async def test_rotation_after_an_overlap_that_ended_continues_from_it(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    project_id, later = project.project.id, NOW + timedelta(days=3)
    async with database.transaction() as session:
        second = await signing_secrets.rotate_signing_secret(
            session, sealer, project_id=project_id, now=NOW
        )
        third = await signing_secrets.rotate_signing_secret(
            session, sealer, project_id=project_id, now=later
        )
        secrets = await signing_secrets.signing_secrets(session, sealer, project_id, later)

    assert (secrets.current, secrets.next) == (second, third)
