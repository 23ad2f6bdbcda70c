"""`makegood audit` on a real store: what commands left there, told, exported and verified."""

import asyncio
import json
import os
import platform
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from cli.main import app
from cli.output import CommandFailed
from store.database import Database
from tests.cli.commands import Done, Makegood

ACTOR = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


@dataclass(frozen=True, slots=True)
class Here:
    """The command line in this process, which saves its start; how a process ends is for `Makegood` to show."""

    settings: Mapping[str, str]

    def __call__(self, *arguments: str, **settings: str) -> Done:
        ended = CliRunner().invoke(app, arguments, env={**self.settings, **settings})
        failure = ended.exception
        if failure is not None and not isinstance(failure, CommandFailed | SystemExit):
            raise failure
        is_told = isinstance(failure, CommandFailed)
        return Done(int(failure.code) if is_told else ended.exit_code, ended.stdout, str(failure) if is_told else ended.stderr)


@pytest.fixture
def here(makegood: Makegood) -> Here:
    return Here(makegood.settings)


def behind_its_back(url: str, *statements: str) -> None:
    """What somebody does who owns the SQLite file."""

    async def run() -> None:
        database = Database.open(url)
        async with database.transaction() as session:
            for statement in statements:
                await session.execute(text(statement))
        await database.close()

    asyncio.run(run())


def test_commands_are_told_with_the_systems_user_and_machine(here: Here) -> None:
    made = here("project", "create", "shop", "--mode", "test", "--json").json
    here("project", "suspend", "shop", LOGNAME="root of all", USER="evil")
    link = here("user", "link", "--json").json["url"]

    listed = here("audit", "list", "--json")
    of_project = here("audit", "list", "--project", "shop", "--actor", "cli", "--action", "project_suspended", "--json").json
    exported = [json.loads(line) for line in here("audit", "export").out.splitlines()]
    verdict = here("audit", "verify", "--expect", exported[-1]["hash"], "--json")

    entries = listed.json["data"]
    assert [entry["action"] for entry in entries] == ["login_link_created", "project_suspended", "project_created"]
    assert {(entry["actor"], entry["address"]) for entry in entries} == {(ACTOR, platform.node())}
    assert of_project["data"] == entries[1:2]
    assert [line["action"] for line in exported] == [*(entry["action"] for entry in reversed(entries)), "audit_exported"]
    assert verdict.json == {"entries": 4, "head": exported[-1]["hash"], "problem": None, "sequence": None}
    for secret in (made["api_key"], made["signing_secret"], link.partition("token=")[2]):
        assert secret not in listed.out


def test_verify_names_the_first_broken_entry_and_exits_1(sqlite_makegood: Makegood, sqlite_url: str) -> None:
    here = Here(sqlite_makegood.settings)
    for name in ("one", "two"):
        here("project", "create", name, "--mode", "test")
    behind_its_back(
        sqlite_url, "DROP TRIGGER audit_log_no_update", "UPDATE audit_log SET actor = 'cli:somebody' WHERE sequence = 2"
    )

    done = sqlite_makegood("audit", "verify", "--json")

    assert done.code == 1
    told = json.loads(done.out)
    assert (told["entries"], told["sequence"]) == (1, 2)
    assert done.err == "makegood: entry 2 of the audit log is broken: it was changed: its content does not fit its hash\n"


def test_unexpected_head_is_exit_code_1(here: Here) -> None:
    done = here("audit", "verify", "--expect", "0" * 63 + "1")

    assert done.code == 1
    assert "the audit log is broken: no entry has the expected hash" in done.err


@pytest.mark.parametrize("given", ["yesterday", "2026-11-23T11:13:55"])
def test_instant_needs_a_zone(here: Here, given: str) -> None:
    done = here("audit", "list", "--after", given)

    assert done.code == 2
    assert "--after: give an ISO 8601 instant with a zone" in done.err


def test_backup_and_restore_are_told_by_the_restored_store(here: Here, tmp_path: Path) -> None:
    file = tmp_path / "backup.jsonl.gz"
    here("project", "create", "shop", "--mode", "test")
    here("backup", str(file))
    elsewhere = {"MAKEGOOD_DATABASE_URL": f"sqlite:///{tmp_path / 'elsewhere.db'}"}

    restored = here("restore", str(file), **elsewhere)

    assert restored.code == 0, restored.err
    entries = here("audit", "list", "--json", **elsewhere).json["data"]
    assert [entry["action"] for entry in entries] == ["store_restored", "backup_started", "project_created"]
    assert {entry["actor"] for entry in entries} == {ACTOR}
    assert here("audit", "verify", **elsewhere).code == 0
