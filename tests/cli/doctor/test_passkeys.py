"""`doctor` warns of passkeys that the host name of the public URL has left behind."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.doctor.findings import Verdict
from cli.doctor.passkeys import check_passkeys
from config.settings import Settings
from store.db.database import Database
from store.people import passkeys, users
from tests.support.passkeys import new_passkey

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("public_url", "verdict"),
    [
        ("https://makegood.example", Verdict.OK),
        ("https://makegood.example:8443/console", Verdict.OK),
        ("https://other.example", Verdict.WARN),
        ("http://makegood.example", Verdict.WARN),  # no passkeys without https
    ],
)
async def test_passkeys_of_another_host_are_counted(
    database: Database, tmp_path: Path, public_url: str, verdict: Verdict
) -> None:
    settings = Settings(data_dir=tmp_path, public_url=public_url)
    before = await check_passkeys(database, settings)
    async with database.transaction() as session:
        user = await users.create_user(session, email="ada@example.com", now=NOW)
        await passkeys.add_passkey(session, user.user_id, new_passkey(), name="Phone", now=NOW)

    after = await check_passkeys(database, settings)

    assert (before.verdict, after.verdict) == (Verdict.OK, verdict)
    if verdict is Verdict.WARN:
        assert after.detail.startswith("1 belong to another host name")
        assert after.fix is not None
        assert "makegood user remove-passkeys" in after.fix
