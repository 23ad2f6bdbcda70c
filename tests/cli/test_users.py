"""`makegood user reset-totp`: the way back for somebody who lost phone and recovery codes."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from typer.testing import CliRunner

from cli.main import app
from cli.output import CommandFailed, ExitCode
from domain.ids import UserId
from store import factors, users
from store.database import Database
from store.sealing import Sealer
from tests.conftest import SECRET_KEY


def in_store(url: str, action: Callable[[Database, AsyncSession], Awaitable[Any]]) -> Any:  # what the action gave
    async def act() -> Any:
        database = Database.open(url)
        async with database.transaction() as session:
            given = await action(database, session)
        await database.close()
        return given

    return asyncio.run(act())


def test_reset_totp_turns_it_off_for_the_person_named(
    sqlite_url: str, sealer: Sealer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def enrol(database: Database, session: AsyncSession) -> UserId:
        now = await database.now(session)
        user = await users.redeem_login_link(session, token=await users.create_login_link(session, now=now), now=now)
        assert user is not None
        await users.set_password(session, user_id=user.user_id, email="ada@example.com", password="x" * 12, now=now)
        await factors.begin_totp(session, sealer, user.user_id, now=now)
        await factors.renew_recovery_codes(session, user.user_id, now=now)
        return user.user_id

    async def left(database: Database, session: AsyncSession) -> tuple[str | None, int]:
        secret = await factors.read_begun_secret(session, sealer, user_id)
        return secret, await factors.count_recovery_codes(session, user_id)

    user_id = in_store(sqlite_url, enrol)
    for name, value in (("DATABASE_URL", sqlite_url), ("SECRET_KEY", SECRET_KEY), ("DATA_DIR", str(tmp_path))):
        monkeypatch.setenv(f"MAKEGOOD_{name}", value)

    stranger = CliRunner().invoke(app, ["user", "reset-totp", "eve@example.com"])
    done = CliRunner().invoke(app, ["user", "reset-totp", " Ada@Example.com", "--json"])

    assert isinstance(stranger.exception, CommandFailed)
    assert stranger.exception.code is ExitCode.NOT_FOUND
    assert json.loads(done.output)["user_id"] == user_id
    assert in_store(sqlite_url, left) == (None, 0)
