"""`makegood receipt evidence` and `makegood evidence`: a file is made on the store, and checked
where there is none.
"""

import asyncio
import json
import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject
from store.db.database import Database
from tests.cli.makegood import Done, Makegood
from tests.support.given import Story


async def run(makegood: Makegood, *arguments: str, **settings: str) -> Done:
    return await asyncio.to_thread(makegood, *arguments, **settings)


@pytest.fixture
async def event_id(database: Database, project: CreatedProject) -> str:
    """A repaired event on the store of `makegood`."""
    event_id, _ = await Story(database, project.project).reach(LifecycleState.RECOVERED)
    return event_id


@pytest.fixture
def offline(tmp_path: Path) -> Makegood:
    """The command line on a machine that has nothing but the program."""
    return Makegood({"MAKEGOOD_DATA_DIR": str(tmp_path / "nothing")})


async def test_file_is_made_here_and_verified_elsewhere(
    makegood: Makegood, offline: Makegood, event_id: str, tmp_path: Path
) -> None:
    file = tmp_path / "evidence.json"

    made = await run(makegood, "receipt", "evidence", event_id, "--output", str(file), "--json")
    keys = (await run(makegood, "evidence", "key", "--json")).json["data"]
    public_key = keys[0]["public_key"]
    checked = await run(
        offline, "evidence", "verify", str(file), "--public-key", public_key, "--json"
    )

    assert made.json == {"file": str(file), "event_id": event_id, "bytes": file.stat().st_size}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    document = json.loads(file.read_bytes())
    assert checked.json == {
        "valid": True,
        "signer_known": True,
        "key_id": keys[0]["id"],
        "event_id": event_id,
        "made_at": document["made_at"],
        "entries": len(document["entries"]),
        "head": document["head"],
    }
    assert not (tmp_path / "nothing").exists()


async def test_changed_byte_exits_1_and_names_the_first_broken_entry(
    makegood: Makegood, offline: Makegood, event_id: str, tmp_path: Path
) -> None:
    file = tmp_path / "evidence.json"
    await run(makegood, "receipt", "evidence", event_id, "--output", str(file))
    changed = bytearray(file.read_bytes())
    end = changed.index(b'"kind":"incident"')
    changed[changed.rindex(b"repaired", 0, end)] ^= 1
    file.write_bytes(changed)

    checked = await run(offline, "evidence", "verify", str(file))

    assert (checked.code, checked.out) == (1, "")
    assert "entry 2 of the file is broken: its content does not match its hash" in checked.err


async def test_without_a_public_key_the_signer_is_not_known_and_the_command_says_so(
    makegood: Makegood, offline: Makegood, event_id: str, tmp_path: Path
) -> None:
    file = tmp_path / "evidence.json"
    await run(makegood, "receipt", "evidence", event_id, "--output", str(file))
    (key,) = (await run(makegood, "evidence", "key", "--json")).json["data"]
    known = {"MAKEGOOD_EVIDENCE_PUBLIC_KEY": f"{'0' * 64}, {key['public_key']}"}

    alone = await run(offline, "evidence", "verify", str(file), "--json")
    trusted = await run(offline, "evidence", "verify", str(file), "--json", **known)
    other = await run(offline, "evidence", "verify", str(file), "--public-key", "0" * 64)

    assert alone.json["signer_known"] is False
    assert "Who signed it was not checked" in alone.err
    assert (trusted.json["signer_known"], trusted.err) == (True, "")
    assert (other.code, other.err.strip()) == (
        1,
        f"makegood: the file is broken: it was signed by another key, {key['id']}",
    )


async def test_file_is_printed_byte_for_byte_without_output(
    makegood: Makegood, offline: Makegood, event_id: str, tmp_path: Path
) -> None:
    printed = await run(makegood, "receipt", "evidence", event_id)
    file = tmp_path / "redirected.json"
    file.write_text(printed.out, encoding="utf-8")

    assert (await run(offline, "evidence", "verify", str(file), "--json")).json["valid"] is True


async def test_existing_file_is_replaced_only_by_force(
    makegood: Makegood, event_id: str, tmp_path: Path
) -> None:
    file = tmp_path / "evidence.json"
    file.write_text("mine")
    command = ("receipt", "evidence", event_id, "--output", str(file))

    refused = await run(makegood, *command)
    kept = file.read_text()
    forced = await run(makegood, *command, "--force")

    assert (refused.code, kept) == (2, "mine")
    assert (forced.code, json.loads(file.read_text())["event_id"]) == (0, event_id)


async def test_replaced_key_signs_and_the_old_one_still_verifies(
    makegood: Makegood, offline: Makegood, event_id: str, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    await run(makegood, "receipt", "evidence", event_id, "--output", str(old))
    replaced = (await run(makegood, "evidence", "replace-key", "--json")).json["data"]
    await run(makegood, "receipt", "evidence", event_id, "--output", str(new))
    recorded = (
        await run(makegood, "audit", "list", "--action", "evidence_key_created", "--json")
    ).json["data"]

    current, retired = replaced
    assert (current["retired_at"], retired["retired_at"] is None) == (None, False)
    assert recorded[0]["details"] == {"key_id": current["id"], "replaces": retired["id"]}
    for file, key in ((old, retired), (new, current)):
        command = ("evidence", "verify", str(file), "--public-key", key["public_key"], "--json")
        assert (await run(offline, *command)).json["key_id"] == key["id"]


async def test_unknown_event_is_not_found(makegood: Makegood, event_id: str) -> None:
    done = await run(makegood, "receipt", "evidence", "evt_none")

    assert (done.code, done.out) == (3, "")


def test_wrong_arguments_of_verify(offline: Makegood, tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(b"\x00 no evidence")

    missing = offline("evidence", "verify", str(tmp_path / "none.json"))
    no_key = offline("evidence", "verify", str(file), "--public-key", "A" * 64)
    no_evidence = offline("evidence", "verify", str(file))
    directory = offline("evidence", "verify", str(tmp_path))

    assert [one.code for one in (missing, no_key, no_evidence, directory)] == [3, 2, 1, 1]
    assert "it is not JSON" in no_evidence.err
    assert "Traceback" not in "".join(one.err for one in (missing, no_key, no_evidence, directory))


@pytest.mark.parametrize("blank", ["", " ", ",", "\n"])
async def test_blank_public_key_never_skips_the_check_of_the_signer(
    makegood: Makegood, offline: Makegood, event_id: str, tmp_path: Path, blank: str
) -> None:
    file = tmp_path / "evidence.json"
    await run(makegood, "receipt", "evidence", event_id, "--output", str(file))
    command = ("evidence", "verify", str(file))

    given = await run(offline, *command, "--public-key", blank)
    beside = await run(offline, *command, "--public-key", blank, "--public-key", "0" * 64)
    variable = await run(offline, *command, MAKEGOOD_EVIDENCE_PUBLIC_KEY=blank)

    assert [(one.code, one.out) for one in (given, beside, variable)] == [(2, "")] * 3
    assert "--public-key: it names no key" in given.err


def test_endless_file_is_read_to_a_bound(offline: Makegood) -> None:
    done = offline("evidence", "verify", "/dev/zero")

    assert (done.code, done.out) == (1, "")
    assert "/dev/zero is longer than 64 MiB" in done.err


async def test_key_that_no_secret_opens_is_said_by_doctor_and_command(
    makegood: Makegood, database: Database, event_id: str
) -> None:
    await run(makegood, "evidence", "key")
    async with database.transaction() as session:
        await session.execute(text("UPDATE evidence_keys SET data_key = :key"), {"key": b"broken"})

    refused = await run(makegood, "receipt", "evidence", event_id)
    status = (await run(makegood, "secret", "status", "--json")).json
    doctor = await run(makegood, "doctor", "--json")

    assert (refused.code, "run `makegood doctor`" in refused.err) == (1, True)
    assert "`makegood evidence replace-key` creates another" in status["next"]
    assert "makegood evidence replace-key" in doctor.out
    await run(makegood, "evidence", "replace-key")
    assert (await run(makegood, "receipt", "evidence", event_id)).code == 0
