"""Users in a backup: credentials and roles are restored; sessions and links are not."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pyotp
import pytest

from domain.users import Role
from store.crypto.encryption import Sealer
from store.db.database import Database, dialect_of
from store.people import invitations, members, sessions, users
from store.people import second_factor as factors
from tests.store.maintenance.backup_setup import another, backed_up, restored
from tests.support.given import Story


@pytest.fixture
def other_url(request: pytest.FixtureRequest, database_url: str) -> Iterator[str]:
    """A database of the other kind."""
    with another(
        "postgresql" if dialect_of(database_url) == "sqlite" else "sqlite", request
    ) as url:
        yield url


@pytest.fixture
async def empty(other_url: str) -> AsyncIterator[Database]:
    """Another store, of the other kind, empty."""
    database = Database.open(other_url)
    yield database
    await database.close()


async def test_users_are_restored_with_credentials_but_without_sessions_and_links(
    story: Story, sealer: Sealer, empty: Database, tmp_path: Path
) -> None:
    file, project_id, now = tmp_path / "backup.jsonl.gz", story.project.id, story.at
    async with story.database.transaction() as session:
        link = await users.create_login_link(session, now=now)
        used = await users.create_login_link(session, now=now)
        ada = await users.redeem_login_link(session, token=used, now=now)
        assert ada is not None
        invited_by = {
            "project_id": project_id,
            "role": Role.VIEWER,
            "invited_by": ada.user_id,
            "now": now,
        }
        eve = await users.create_user(session, email="eve@shop.example", now=now)
        await users.set_password(
            session, user_id=eve.user_id, email="eve@shop.example", password="as it was", now=now
        )
        await members.grant(
            session, project_id=project_id, user_id=eve.user_id, role=Role.OPERATOR, now=now
        )
        totp = pyotp.TOTP(await factors.begin_totp(session, sealer, eve.user_id, now=now))
        codes = await factors.confirm_totp(session, sealer, eve.user_id, code=totp.at(now), now=now)
        assert codes is not None
        assert await factors.accept_code(session, sealer, eve.user_id, code=codes[0], now=now)
        cookie = await sessions.open_session(session, user_id=eve.user_id, now=now)
        invitation, _ = await invitations.invite(session, email="bob@shop.example", **invited_by)
    await backed_up(story.database, sealer, file)

    await restored(empty, sealer, file)

    later = now + timedelta(minutes=1)
    async with empty.transaction() as session:
        assert await users.check_password(session, email="eve@shop.example", password="as it was")
        assert (await members.read_access(session, eve.user_id)).roles == {
            project_id: Role.OPERATOR
        }
        assert await members.list_administrators(session) == {ada.user_id}
        given = [
            await factors.accept_code(session, sealer, eve.user_id, code=code, now=later)
            for code in (*codes[:2], totp.at(later))
        ]
        assert [bool(one) for one in given] == [False, True, True], (
            "a used recovery code stays used"
        )
        assert await sessions.read_session(session, token=cookie, now=later) is None
        assert await invitations.find_invitation(session, token=invitation, now=later) is None
        assert await users.redeem_login_link(session, token=link, now=later) is None
