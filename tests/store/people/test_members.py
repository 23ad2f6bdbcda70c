"""Members, administrators and invitations in the store:

two rules hold for everybody, and one of several concurrent changes wins.
"""

import asyncio
from datetime import timedelta

import pytest

from domain.errors import NotFound, Refusal, ValidationFailed
from domain.ids import ProjectId, UserId
from domain.projects import CreatedProject
from domain.users import Access, Invitation, Role
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import invitations, members, users
from store.people import second_factor as factors
from store.people.identities import adopt_identity, has_identity
from store.receipts import queries as reading
from tests.store.people.test_users import NOW, first_user
from tests.support.given import Story


async def person(database: Database, name: str) -> UserId:
    async with database.transaction() as session:
        return (await users.create_user(session, email=f"{name}@shop.example", now=NOW)).user_id


async def granted(database: Database, project_id: ProjectId, user_id: UserId, role: Role) -> None:
    async with database.transaction() as session:
        await members.grant(session, project_id=project_id, user_id=user_id, role=role, now=NOW)


async def revoked(database: Database, project_id: ProjectId, user_id: UserId) -> None:
    async with database.transaction() as session:
        await members.revoke(session, project_id=project_id, user_id=user_id)


async def access(database: Database, user_id: UserId) -> Access:
    async with database.reading() as session:
        return await members.read_access(session, user_id)


async def test_first_user_is_administrator_and_the_next_belongs_nowhere(
    database: Database, project: CreatedProject
) -> None:
    first, second = await first_user(database), await person(database, "ada")

    assert (await access(database, first.user_id)).role_in(project.project.id) is Role.OWNER
    assert (await access(database, first.user_id)).projects is None
    assert (await access(database, second)).projects == ()
    assert not (await access(database, second)).allows(Role.VIEWER, project_id=project.project.id)


async def test_role_is_given_changed_and_taken(database: Database, project: CreatedProject) -> None:
    project_id, ada = project.project.id, await person(database, "ada")

    await granted(database, project_id, ada, Role.OPERATOR)
    as_operator = await access(database, ada)
    await granted(database, project_id, ada, Role.VIEWER)
    as_viewer = await access(database, ada)
    await revoked(database, project_id, ada)

    allowed = [
        [one.allows(role, project_id=project_id) for role in Role]
        for one in (as_operator, as_viewer)
    ]
    assert allowed == [[True, True, False], [True, False, False]]
    assert await access(database, ada) == Access(is_administrator=False, roles={})
    with pytest.raises(NotFound):
        await revoked(database, project_id, ada)


@pytest.mark.parametrize(("project_id", "user_id"), [("prj_none", None), (None, "usr_none")])
async def test_membership_needs_an_existing_user_and_project(
    database: Database, project: CreatedProject, project_id: str | None, user_id: str | None
) -> None:
    ada = await person(database, "ada")

    with pytest.raises(NotFound):
        await granted(
            database,
            ProjectId(project_id or project.project.id),
            UserId(user_id or ada),
            Role.OWNER,
        )


async def test_one_owner_stays_when_two_leave_at_once(
    database: Database, project: CreatedProject
) -> None:
    project_id = project.project.id
    people = [await person(database, name) for name in ("ada", "bob")]
    for user_id in people:
        await granted(database, project_id, user_id, Role.OWNER)

    left = await asyncio.gather(
        *(revoked(database, project_id, user_id) for user_id in people), return_exceptions=True
    )

    assert sorted(type(one) for one in left if one is not None) == [ValidationFailed]
    async with database.reading() as session:
        assert [one.role for one in await members.list_members(session, project_id)] == [Role.OWNER]


async def test_one_administrator_stays_when_two_resign_at_once(database: Database) -> None:
    first, second = (await first_user(database)).user_id, await person(database, "ada")

    async def resign(user_id: UserId) -> None:
        async with database.transaction() as session:
            await members.demote(session, user_id)

    async with database.transaction() as session:
        await members.promote(session, second, now=NOW)
    resigned = await asyncio.gather(resign(first), resign(second), return_exceptions=True)

    assert [isinstance(one, Refusal) for one in resigned if one is not None] == [True]
    async with database.reading() as session:
        assert len(await members.list_administrators(session)) == 1


async def test_deleted_user_leaves_no_way_to_sign_in(
    database: Database, project: CreatedProject, sealer: Sealer
) -> None:
    ada = await person(database, "ada")
    await granted(database, project.project.id, ada, Role.VIEWER)
    async with database.transaction() as session:
        await factors.begin_totp(session, sealer, ada, now=NOW)
        await factors.renew_recovery_codes(session, ada, now=NOW)
        of_issuer = {"issuer": "https://id.example", "subject": "1"}
        await adopt_identity(session, **of_issuer, email="ada@shop.example", now=NOW)
        link = await users.create_login_link(session, now=NOW, user_id=ada)

        await members.delete_user(session, ada)

        assert await users.redeem_login_link(session, token=link, now=NOW) is None
        assert await members.list_members(session, project.project.id) == []
        assert await users.list_users(session) == []
        assert await factors.read_begun_secret(session, sealer, ada) is None
        assert await factors.count_recovery_codes(session, ada) == 0
        assert not await has_identity(session, issuer="https://id.example", user_id=ada)


async def test_last_owner_and_last_administrator_cannot_be_deleted(
    database: Database, project: CreatedProject
) -> None:
    first, ada = (await first_user(database)).user_id, await person(database, "ada")
    await granted(database, project.project.id, ada, Role.OWNER)

    for user_id in (first, ada):
        with pytest.raises(ValidationFailed):
            async with database.transaction() as session:
                await members.delete_user(session, user_id)

    assert (await access(database, ada)).roles == {project.project.id: Role.OWNER}


@pytest.mark.parametrize(("days", "is_good"), [(6.9, True), (7, False)])
async def test_invitation_is_good_once_and_for_a_week(
    database: Database, project: CreatedProject, days: float, is_good: bool
) -> None:
    asked = {
        "project_id": project.project.id,
        "role": Role.VIEWER,
        "invited_by": "usr_1",
        "now": NOW,
    }
    async with database.transaction() as session:
        token, _ = await invitations.invite(session, email=" Ada@Shop.example", **asked)

    async def use() -> Invitation | None:
        async with database.transaction() as session:
            return await invitations.use_invitation(
                session, token=token, now=NOW + timedelta(days=days)
            )

    used = [one for one in await asyncio.gather(*(use() for _ in range(3))) if one is not None]

    assert [(one.email, one.role, one.project_name) for one in used] == [
        ("ada@shop.example", Role.VIEWER, "shop")
    ] * is_good


@pytest.mark.parametrize("names", [(), ("shop",), ("elsewhere",), None])
async def test_lists_and_counts_are_narrowed_to_the_projects_given(
    database: Database, story: Story, names: tuple[str, ...] | None
) -> None:
    event_id, _ = await story.opened()
    await story.receipt()
    within = (
        None
        if names is None
        else tuple(story.project.id if name == "shop" else ProjectId("prj_else") for name in names)
    )
    sees = names is None or "shop" in names

    async with database.reading() as session:
        filters = reading.ListFilters(project_id=None, within=within)
        events = await reading.list_events(session, filters, limit=9, cursor=None)
        incidents = await reading.list_incidents(session, filters, limit=9, cursor=None)
        counted = await reading.counts(session, None, story.at, within=within)

    assert len(events.rows) == 2 * sees
    assert [row.incident.event_id for row in incidents.rows] == [event_id] * sees
    assert (counted.waiting, counted.open) == (1 * sees, 1 * sees)
