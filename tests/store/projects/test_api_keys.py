"""API keys, as stored: digests alone, found until they are revoked."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from domain.errors import NotFound
from domain.ids import KeyId, ProjectId
from domain.projects import CreatedProject, Scope
from domain.security.api_keys import looks_like_key
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects import api_keys as keys

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


async def test_a_key_is_found_by_its_digest_with_its_project(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    async with database.reading() as session:
        found = await keys.find_key(session, sealer.key_digest(project.api_key))

    assert found is not None
    assert (found.key, found.project) == (project.key, project.project)


async def test_an_unknown_digest_finds_nothing(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    async with database.reading() as session:
        assert await keys.find_key(session, sealer.key_digest("sk_test_unknown")) is None


async def test_the_text_of_a_key_is_not_stored(database: Database, project: CreatedProject) -> None:
    async with database.reading() as session:
        row = (await session.execute(text("SELECT * FROM api_keys"))).one()

    assert looks_like_key(project.api_key)
    assert not any(project.api_key[8:] in str(value) for value in row)


async def test_a_second_key_has_its_own_scopes_and_label(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    scopes = frozenset({Scope.READ, Scope.OPERATE})

    async with database.transaction() as session:
        key, api_key = await keys.create_key(
            session, sealer, project_id=project.project.id, label="ops\0", scopes=scopes, now=NOW
        )
        every = await keys.list_keys(session, project.project.id)

    assert (key.label, key.scopes, key.created_at, key.expires_at) == ("ops", scopes, NOW, None)
    assert key.hint == f"sk_test_…{api_key[-4:]}"
    assert every == [project.key, key]


async def test_a_key_needs_a_project(database: Database, sealer: Sealer) -> None:
    async with database.transaction() as session:
        with pytest.raises(NotFound):
            await keys.create_key(
                session,
                sealer,
                project_id=ProjectId("prj_none"),
                label="x",
                scopes=frozenset({Scope.READ}),
                now=NOW,
            )


async def test_a_revoked_key_is_listed_but_not_found(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        first = await keys.revoke_key(session, project.project.id, project.key.id, NOW)
        again = await keys.revoke_key(
            session, project.project.id, project.key.id, NOW + timedelta(hours=1)
        )
        found = await keys.find_key(session, sealer.key_digest(project.api_key))
        every = await keys.list_keys(session, project.project.id)

    assert found is None
    assert first.revoked_at == again.revoked_at == NOW
    assert every == [first]


async def test_another_projects_key_cannot_be_revoked(
    database: Database, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        with pytest.raises(NotFound):
            await keys.revoke_key(session, ProjectId("prj_other"), project.key.id, NOW)


async def test_the_last_use_moves_forward_only(database: Database, project: CreatedProject) -> None:
    async with database.transaction() as session:
        await keys.touch_keys(session, {project.key.id: NOW, KeyId("key_unknown"): NOW})
        await keys.touch_keys(session, {project.key.id: NOW - timedelta(hours=1)})
        await keys.touch_keys(session, {})
        (key,) = await keys.list_keys(session, project.project.id)

    assert key.last_used_at == NOW
