"""`makegood audit` on a real store: entries of commands, export and verification."""

import asyncio
import json
import os
import platform
import pwd
from pathlib import Path

import pytest
from sqlalchemy import text

from store.db.database import Database
from tests.cli.makegood import Makegood

ACTOR = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


def change_directly(url: str, *statements: str) -> None:
    """What somebody does who owns the SQLite file."""

    async def run() -> None:
        database = Database.open(url)
        async with database.transaction() as session:
            for statement in statements:
                await session.execute(text(statement))
        await database.close()

    asyncio.run(run())


def test_commands_are_recorded_with_user_and_machine(makegood: Makegood) -> None:
    made = makegood("project", "create", "shop", "--mode", "test", "--json").json
    makegood("project", "suspend", "shop", LOGNAME="root of all", USER="evil")
    link = makegood("user", "link", "--json").json["url"]

    listed = makegood("audit", "list", "--json")
    of_project = makegood(
        "audit",
        "list",
        "--project",
        "shop",
        "--actor",
        "cli",
        "--action",
        "project_suspended",
        "--json",
    ).json
    exported = [json.loads(line) for line in makegood("audit", "export").out.splitlines()]
    verdict = makegood("audit", "verify", "--expect", exported[-1]["hash"], "--json")

    entries = listed.json["data"]
    assert [entry["action"] for entry in entries] == [
        "login_link_created",
        "project_suspended",
        "project_created",
    ]
    assert {(entry["actor"], entry["address"]) for entry in entries} == {(ACTOR, platform.node())}
    assert of_project["data"] == entries[1:2]
    assert [line["action"] for line in exported] == [
        *(entry["action"] for entry in reversed(entries)),
        "audit_exported",
    ]
    assert verdict.json == {
        "entries": 4,
        "head": exported[-1]["hash"],
        "problem": None,
        "sequence": None,
    }
    for secret in (made["api_key"], made["signing_secret"], link.partition("token=")[2]):
        assert secret not in listed.out


def test_verify_names_the_first_broken_entry_and_exits_1(
    sqlite_makegood: Makegood, sqlite_url: str
) -> None:
    for name in ("one", "two"):
        sqlite_makegood("project", "create", name, "--mode", "test")
    change_directly(
        sqlite_url,
        "DROP TRIGGER audit_log_no_update",
        "UPDATE audit_log SET actor = 'cli:somebody' WHERE sequence = 2",
    )

    done = sqlite_makegood("audit", "verify", "--json")

    assert done.code == 1
    verdict = json.loads(done.out)
    assert (verdict["entries"], verdict["sequence"]) == (1, 2)
    assert (
        done.err
        == "makegood: entry 2 of the audit log is broken: it was changed: its content does not fit"
        " its hash\n"
    )


def test_unexpected_head_is_exit_code_1(makegood: Makegood) -> None:
    done = makegood("audit", "verify", "--expect", "0" * 63 + "1")

    assert done.code == 1
    assert "the audit log is broken: no entry has the expected hash" in done.err


@pytest.mark.parametrize("given", ["yesterday", "2026-11-23T11:13:55"])
def test_instant_needs_a_zone(makegood: Makegood, given: str) -> None:
    done = makegood("audit", "list", "--after", given)

    assert done.code == 2
    assert "--after: expected an ISO 8601 instant with a zone" in done.err


def test_letters_of_an_instant_may_be_lowercase(makegood: Makegood) -> None:
    assert makegood("audit", "list", "--after", "2020-01-01t00:00:00z").code == 0


def test_restored_store_records_backup_and_restore(makegood: Makegood, tmp_path: Path) -> None:
    file = tmp_path / "backup.jsonl.gz"
    makegood("project", "create", "shop", "--mode", "test")
    makegood("backup", str(file))
    elsewhere = {"MAKEGOOD_DATABASE_URL": f"sqlite:///{tmp_path / 'elsewhere.db'}"}

    restored = makegood("restore", str(file), **elsewhere)

    assert restored.code == 0, restored.err
    entries = makegood("audit", "list", "--json", **elsewhere).json["data"]
    assert [entry["action"] for entry in entries] == [
        "store_restored",
        "backup_started",
        "project_created",
    ]
    assert {entry["actor"] for entry in entries} == {ACTOR}
    assert makegood("audit", "verify", **elsewhere).code == 0
