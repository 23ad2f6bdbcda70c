"""After a project is deleted, no person, invitation, key or data key opens it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from domain.errors import NotFound
from domain.ids import UserId
from domain.projects import CreatedProject
from domain.users import Role
from store.crypto.encryption import SealBroken, Sealer
from store.db.database import Database
from store.people import invitations, members, sessions, users
from store.projects import data_keys, projects, signing_secrets
from store.projects import deletion as deleting
from store.projects.api_keys import create_key, find_key
from store.schema.tables import INVITATIONS
from tests.store.projects.delete_project import LATER, delete, rows_left
from tests.support.given import START, Story


async def test_deleted_project_is_not_found_and_its_data_key_decrypts_nothing(
    story: Story, sealer: Sealer, project: CreatedProject
) -> None:
    column: dict[str, Any] = {
        "project_id": story.project.id,
        "table": "receipts",
        "column": "payload",
        "row": "evt_1",
    }
    async with story.database.reading() as session:
        data_key = await data_keys.read_data_key(session, story.project.id)
        sealed = sealer.seal(data_key, **column, plaintext=b"a payload")

    assert await delete(story) == 0

    async with story.database.transaction() as session:
        assert await find_key(session, sealer.key_digest(project.api_key)) is None
        assert await projects.list_projects(session) == []
        left = bytes(await session.scalar(text("SELECT data_key FROM projects")) or b"")
        for refused in (
            projects.read_project(session, story.project.id),
            projects.find_project(session, "shop"),
            signing_secrets.signing_secrets(session, sealer, story.project.id, LATER),
            signing_secrets.rotate_signing_secret(
                session, sealer, project_id=story.project.id, now=LATER
            ),
            projects.set_suspended(session, story.project.id, suspended=False, now=LATER),
            create_key(
                session,
                sealer,
                project_id=story.project.id,
                label="x",
                scopes=project.key.scopes,
                now=LATER,
            ),
            deleting.delete_project(session, story.project.id, end_open=True, now=LATER),
        ):
            with pytest.raises(NotFound):
                await refused
        await projects.create_project(session, sealer, name="shop", livemode=False, now=LATER)
    assert left == b""
    with pytest.raises(SealBroken):
        sealer.open(left, **column, sealed=sealed)


async def test_members_of_a_deleted_project_lose_it_and_stay_signed_in(
    story: Story, sealer: Sealer
) -> None:
    database, project_id = story.database, story.project.id
    async with database.transaction() as session:
        other = (
            await projects.create_project(session, sealer, name="other", livemode=False, now=START)
        ).project
        ada, bob = [
            (await users.create_user(session, email=f"{name}@shop.example", now=START)).user_id
            for name in ("ada", "bob")
        ]
        for user_id, of, role in (
            (ada, project_id, Role.OWNER),
            (ada, other.id, Role.VIEWER),
            (bob, project_id, Role.OPERATOR),
        ):
            await members.grant(session, project_id=of, user_id=user_id, role=role, now=START)
        asked = {"email": "eve@shop.example", "role": Role.VIEWER, "invited_by": ada, "now": LATER}
        ours, theirs = [
            (await invitations.invite(session, project_id=of, **asked))[0]
            for of in (project_id, other.id)
        ]
        signed_in = [
            await sessions.open_session(session, user_id=user_id, now=LATER)
            for user_id in (ada, bob)
        ]

    await delete(story)

    async with database.reading() as session:
        roles = [
            dict((await members.read_access(session, user_id)).roles) for user_id in (ada, bob)
        ]
        found = [
            await sessions.read_session(session, token=token, now=LATER) for token in signed_in
        ]
        links = [
            await invitations.find_invitation(session, token=token, now=LATER)
            for token in (ours, theirs)
        ]
    left = await rows_left(story, project_id, [])
    assert roles == [{other.id: Role.VIEWER}, {}]
    assert [one is not None and one.user.user_id for one in found] == [ada, bob]
    assert [one is not None and one.project_id for one in links] == [False, other.id]
    assert (left["members"], left["invitations"]) == (0, 0)


async def test_deleted_project_gets_no_members_and_no_invitations(story: Story) -> None:
    project_id = story.project.id
    async with story.database.transaction() as session:
        ada = (await users.create_user(session, email="ada@shop.example", now=START)).user_id
        asked = {"project_id": project_id, "role": Role.OWNER, "now": LATER}
        token, _ = await invitations.invite(
            session, email="eve@shop.example", invited_by=ada, **asked
        )
        invited = (await session.execute(INVITATIONS.select())).mappings().one()
    await delete(story)

    async with story.database.transaction() as session:
        # As if it had been written while the project was deleted.
        await session.execute(INVITATIONS.insert().values(dict(invited)))
        for refused in (
            members.grant(session, user_id=ada, **asked),
            members.revoke(session, project_id=project_id, user_id=ada),
            invitations.invite(session, email="bob@shop.example", invited_by=ada, **asked),
        ):
            with pytest.raises(NotFound):
                await refused
        assert await invitations.use_invitation(session, token=token, now=LATER) is None


async def test_member_added_while_a_project_is_deleted_is_added_before_or_not_at_all(
    story: Story,
) -> None:
    project_id = story.project.id
    async with story.database.transaction() as session:
        names = ("ada", "bob", "eve")
        people = [
            (await users.create_user(session, email=f"{name}@shop.example", now=START)).user_id
            for name in names
        ]

    async def come(user_id: UserId) -> None:
        async with story.database.transaction() as session:
            asked = {"project_id": project_id, "role": Role.OWNER, "now": LATER}
            await members.grant(session, user_id=user_id, **asked)
            await invitations.invite(
                session, email=f"{user_id}@shop.example", invited_by=user_id, **asked
            )

    came = await asyncio.gather(
        come(people[0]), delete(story), *map(come, people[1:]), return_exceptions=True
    )

    left = await rows_left(story, project_id, [])
    assert came[1] == 0
    assert {type(one) for one in came if isinstance(one, BaseException)} <= {NotFound}
    assert (left["members"], left["invitations"]) == (0, 0)


async def test_data_key_of_a_deleted_project_is_erased_from_the_file(
    sqlite_url: str, sealer: Sealer
) -> None:
    database, path = Database.open(sqlite_url), Path(sqlite_url.removeprefix("sqlite:///"))
    async with database.transaction() as session:
        project = (
            await projects.create_project(session, sealer, name="shop", livemode=False, now=START)
        ).project
        data_key = await data_keys.read_data_key(session, project.id)

    async with database.transaction() as session:
        await deleting.delete_project(session, project.id, end_open=False, now=LATER)
    # checkpoints: what the write-ahead log had is in the file, and it is gone
    await database.close()

    assert not path.with_name(f"{path.name}-wal").exists()
    assert data_key not in path.read_bytes()
