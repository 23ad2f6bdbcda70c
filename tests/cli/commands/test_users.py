"""`user`: accounts, roles, sessions, and the way back for who lost the second factor, on a real
store.
"""

import asyncio
import json
import os
import pwd
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from typer.testing import CliRunner

from cli.main import app
from cli.output import CommandFailed, ExitCode
from domain.ids import UserId
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import second_factor as factors
from store.people import users
from tests.cli.makegood import Done
from tests.conftest import SECRET_KEY


class Makegood:
    """The command line within this process, since each of these tests is several commands."""

    def __call__(self, *arguments: str) -> Done:
        result = CliRunner().invoke(app, arguments)
        if isinstance(result.exception, CommandFailed):
            return Done(int(result.exception.code), result.stdout, str(result.exception))
        return Done(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def with_project(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Makegood:
    for name, value in (
        ("DATA_DIR", str(tmp_path)),
        ("DATABASE_URL", sqlite_url),
        ("SECRET_KEY", SECRET_KEY),
    ):
        monkeypatch.setenv(f"MAKEGOOD_{name}", value)
    makegood = Makegood()
    makegood("project", "create", "shop", "--mode", "test")
    return makegood


def test_account_is_created_gets_a_role_and_is_deleted(with_project: Makegood) -> None:
    made = with_project("user", "create", "Ada@shop.example", "--json").json
    with_project("user", "create", "root@shop.example", "--administrator")
    granted = with_project("user", "grant", "ada@shop.example", "shop", "operator", "--json").json
    listed = with_project("user", "list", "--json").json["data"]
    revoked = with_project("user", "revoke", made["user_id"], "shop", "--json").json
    with_project("user", "delete", "ada@shop.example")

    assert "/login/link?token=" in made["url"]
    assert "token" not in made
    assert (granted["role"], revoked["role"]) == ("operator", None)
    assert [
        (one["email"], one["administrator"], list(one["roles"].values())) for one in listed
    ] == [
        ("ada@shop.example", False, ["operator"]),
        ("root@shop.example", True, []),
    ]
    assert len(with_project("user", "list", "--json").json["data"]) == 1


def test_refusals_name_their_reason(with_project: Makegood) -> None:
    with_project("user", "create", "root@shop.example", "--administrator")
    with_project("user", "grant", "root@shop.example", "shop", "owner")

    refused = {
        ("user", "demote", "root@shop.example"): (2, "last administrator"),
        ("user", "revoke", "root@shop.example", "shop"): (2, "last owner"),
        ("user", "grant", "nobody@shop.example", "shop", "owner"): (3, "no such user"),
        ("user", "grant", "root@shop.example", "nowhere", "owner"): (3, "no project"),
        ("user", "create", "root@shop.example"): (2, "Another user"),
    }

    for arguments, (code, expected) in refused.items():
        done = with_project(*arguments)
        assert (done.code, expected in done.err) == (code, True), done.err


def test_sessions_and_unused_links_are_ended(with_project: Makegood) -> None:
    with_project("user", "create", "ada@shop.example")
    with_project("user", "promote", "ada@shop.example")

    ended = with_project("user", "sign-out", "ada@shop.example", "--json").json
    listed = with_project("user", "sessions", "ada@shop.example", "--json").json

    assert ended["ended"] == 0
    assert listed == {"data": []}


def test_user_commands_are_in_the_audit_log(with_project: Makegood) -> None:
    """Under the system's user; each act with its entries, and none for what was refused."""
    email = "ada@shop.example"
    for arguments in (
        ("create", "root@shop.example", "--administrator"),
        ("create", email),
        ("grant", email, "shop", "viewer"),
        ("grant", email, "shop", "operator"),
        ("revoke", email, "shop"),
        ("revoke", email, "shop"),
        ("promote", email),
        ("demote", email),
        ("link", email),
        ("sign-out", email),
        ("reset-totp", email),
        ("delete", email),
    ):
        with_project("user", *arguments)

    listed = with_project("audit", "list", "--limit", "100", "--json")
    entries = list(reversed(listed.json["data"]))[1:]  # after the project's own
    of_project = with_project("audit", "list", "--project", "shop", "--json").json["data"]

    assert [entry["action"] for entry in entries] == [
        *("user_created", "administrator_granted", "login_link_created"),
        *("user_created", "login_link_created"),
        *("role_granted", "role_changed", "role_revoked"),
        *("administrator_granted", "administrator_revoked"),
        *("login_link_created", "sessions_ended", "user_deleted"),
    ]
    assert {entry["actor"] for entry in entries} == {f"cli:{pwd.getpwuid(os.getuid()).pw_name}"}
    assert {entry["subject_id"] for entry in entries[3:]} == {entries[3]["subject_id"]}
    assert [entry["action"] for entry in of_project] == [
        "role_revoked",
        "role_changed",
        "role_granted",
        "project_created",
    ]
    assert "shop.example" not in listed.out


# what the action gave
def in_store(url: str, action: Callable[[Database, AsyncSession], Awaitable[Any]]) -> Any:
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
        user = await users.redeem_login_link(
            session, token=await users.create_login_link(session, now=now), now=now
        )
        assert user is not None
        await users.set_password(
            session, user_id=user.user_id, email="ada@example.com", password="x" * 12, now=now
        )
        await factors.begin_totp(session, sealer, user.user_id, now=now)
        await factors.renew_recovery_codes(session, user.user_id, now=now)
        return user.user_id

    async def left(database: Database, session: AsyncSession) -> tuple[str | None, int]:
        secret = await factors.read_begun_secret(session, sealer, user_id)
        return secret, await factors.count_recovery_codes(session, user_id)

    user_id = in_store(sqlite_url, enrol)
    for name, value in (
        ("DATABASE_URL", sqlite_url),
        ("SECRET_KEY", SECRET_KEY),
        ("DATA_DIR", str(tmp_path)),
    ):
        monkeypatch.setenv(f"MAKEGOOD_{name}", value)

    unknown = CliRunner().invoke(app, ["user", "reset-totp", "eve@example.com"])
    done = CliRunner().invoke(app, ["user", "reset-totp", " Ada@Example.com", "--json"])

    assert isinstance(unknown.exception, CommandFailed)
    assert unknown.exception.code is ExitCode.NOT_FOUND
    assert json.loads(done.output)["user_id"] == user_id
    assert in_store(sqlite_url, left) == (None, 0)
