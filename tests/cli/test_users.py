"""`makegood user reset-totp`: the way back for somebody who lost phone and recovery codes."""

from pathlib import Path

import pytest

from store import factors, users
from store.database import Database
from store.sealing import Sealer
from tests.cli.commands import Makegood
from tests.conftest import SECRET_KEY


@pytest.fixture
def makegood(sqlite_url: str, tmp_path: Path) -> Makegood:
    return Makegood({"MAKEGOOD_DATABASE_URL": sqlite_url, "MAKEGOOD_SECRET_KEY": SECRET_KEY, "MAKEGOOD_DATA_DIR": str(tmp_path)})


async def test_reset_totp_turns_it_off_for_the_person_named(sqlite_url: str, sealer: Sealer, makegood: Makegood) -> None:
    database = Database.open(sqlite_url)
    async with database.transaction() as session:
        now = await database.now(session)
        user = await users.redeem_login_link(session, token=await users.create_login_link(session, now=now), now=now)
        assert user is not None
        await users.set_password(session, user_id=user.user_id, email="ada@example.com", password="x" * 12, now=now)
        await factors.begin_totp(session, sealer, user.user_id, now=now)
        await factors.renew_recovery_codes(session, user.user_id, now=now)

    stranger = makegood("user", "reset-totp", "eve@example.com")
    done = makegood("user", "reset-totp", " Ada@Example.com", "--json")

    assert (stranger.code, done.json["user_id"]) == (3, user.user_id)
    assert "makegood user list" in stranger.err
    async with database.reading() as session:
        assert await factors.read_begun_secret(session, sealer, user.user_id) is None
        assert await factors.count_recovery_codes(session, user.user_id) == 0
    await database.close()
