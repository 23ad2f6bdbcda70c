"""`secret`: rotation of the root secret, in its file by one command, in the environment step by
step.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import text

from domain.ids import UserId
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import second_factor as factors
from tests.cli.makegood import Done, Makegood
from tests.conftest import SECRET_KEY

PORTS = ("MAKEGOOD_PORT", "MAKEGOOD_TEMPORAL_PORT", "MAKEGOOD_SMTP_PORT")
NEW = "the root secret that comes after it, as long"
BOTH = {"MAKEGOOD_SECRET_KEY": NEW, "MAKEGOOD_SECRET_KEY_PREVIOUS": SECRET_KEY}


@pytest.fixture
def embedded(sqlite_url: str) -> Makegood:
    """The command line on a data directory that `makegood up` has made: its secret is in a file."""
    data_dir = Path(sqlite_url.removeprefix("sqlite:///")).parent
    (data_dir / "secret_key").write_text(SECRET_KEY)
    return Makegood({"MAKEGOOD_DATA_DIR": str(data_dir), **dict.fromkeys(PORTS, "9")})


@pytest.fixture
def makegood(sqlite_url: str, tmp_path: Path) -> Makegood:
    """Runs `makegood` commands with the root secret in the environment, and no other process."""
    settings = {
        "MAKEGOOD_DATA_DIR": str(tmp_path / "data"),
        "MAKEGOOD_DATABASE_URL": sqlite_url,
        "MAKEGOOD_SECRET_KEY": SECRET_KEY,
    }
    return Makegood(settings | dict.fromkeys(PORTS, "9"))


def file_of(embedded: Makegood, name: str = "secret_key") -> Path:
    return Path(embedded.settings["MAKEGOOD_DATA_DIR"]) / name


def test_secret_in_the_data_directory_is_replaced_by_one_command(embedded: Makegood) -> None:
    made = embedded("project", "create", "shop", "--mode", "test", "--json").json

    done = embedded("secret", "rotate", "--json")

    assert (
        done.json["data_keys_wrapped"],
        done.json["rotated"],
        done.json["can_drop_previous"],
    ) == (1, True, False)
    assert made["key_id"] in done.json["keys_not_used_since"][0]
    assert file_of(embedded, "secret_key.previous").read_text() == SECRET_KEY
    assert file_of(embedded).read_text() != SECRET_KEY
    assert {
        file_of(embedded, name).stat().st_mode & 0o777
        for name in ("secret_key", "secret_key.previous")
    } == {0o600}
    assert SECRET_KEY not in done.out
    assert file_of(embedded).read_text() not in done.out


def test_old_secret_goes_only_when_nothing_needs_it(embedded: Makegood) -> None:
    made = embedded("project", "create", "shop", "--mode", "test", "--json").json
    embedded("secret", "rotate")

    too_soon, again = embedded("secret", "drop"), embedded("secret", "rotate")
    embedded("key", "revoke", "shop", made["key_id"])
    shown = embedded("secret", "status", "--json").json
    dropped = embedded("secret", "drop", "--json")

    assert (too_soon.code, again.code) == (1, 1)
    assert "wait until each of these API keys was used once" in too_soon.err
    assert "is not finished" in again.err
    assert (shown["can_drop_previous"], shown["next"]) == (True, "run `makegood secret drop`")
    assert dropped.json == {"dropped": True}
    assert not file_of(embedded, "secret_key.previous").exists()
    assert embedded("project", "rotate-secret", "shop").code == 0
    assert "ok    Sealed secrets" in embedded("doctor").out


def test_audit_log_records_a_rotation_and_is_valid_at_each_step(embedded: Makegood) -> None:
    made = embedded("project", "create", "shop", "--mode", "test", "--json").json
    before = file_of(embedded).read_text()

    embedded("secret", "rotate")
    rotated = embedded("audit", "verify")
    new_alone = embedded("audit", "verify", MAKEGOOD_SECRET_KEY=file_of(embedded).read_text())
    embedded("secret", "drop", "--force")
    dropped = embedded("audit", "verify")
    old_alone = embedded("audit", "verify", MAKEGOOD_SECRET_KEY=before)
    embedded("project", "suspend", "shop")
    went_on = embedded("audit", "verify", "--json")

    assert [done.code for done in (rotated, new_alone, dropped, old_alone)] == [0, 0, 0, 1]
    assert went_on.json["problem"] is None
    log = embedded("audit", "list", "--json").json["data"]
    shown = {entry["action"]: entry["details"] for entry in log}
    assert list(shown) == [
        "project_suspended",
        "secret_key_dropped",
        "secret_key_rotated",
        "project_created",
    ]
    in_force = embedded("secret", "status", "--json").json["in_force"]
    assert shown["secret_key_rotated"] == {"in_force": in_force, "data_keys_wrapped": 1}
    assert shown["secret_key_dropped"] == {"in_force": in_force, "keys_refused": [made["key_id"]]}
    assert [
        secret for secret in (before, file_of(embedded).read_text()) if secret in str(log)
    ] == []


def test_interrupted_rotation_is_continued(embedded: Makegood) -> None:
    embedded("project", "create", "shop", "--mode", "test")
    file_of(embedded, "secret_key.previous").write_text(SECRET_KEY)

    before_the_new_file = embedded("secret", "status", "--json").json
    file_of(embedded).write_text(NEW)
    before_the_store = embedded("secret", "status", "--json").json
    done = embedded("secret", "rotate", "--json")

    assert (before_the_new_file["previous_known"], before_the_store["rotated"]) == (False, False)
    assert (done.json["data_keys_wrapped"], file_of(embedded).read_text()) == (1, NEW)


def test_secret_in_the_environment_is_replaced_in_steps(makegood: Makegood) -> None:
    makegood("project", "create", "shop", "--mode", "test")

    def step(*arguments: str, **settings: str) -> Done:
        return makegood("secret", *arguments, **settings)

    nothing_new, status = step("rotate"), step("status", **BOTH)
    rotated, old_alone = step("rotate", "--json", **BOTH), step("status")
    in_a_file = step("drop", **BOTH)

    assert (nothing_new.code, nothing_new.err.count("MAKEGOOD_SECRET_KEY_PREVIOUS")) == (2, 1)
    assert "then run `makegood secret rotate`" in status.out
    assert rotated.json["data_keys_wrapped"] == 1
    assert (old_alone.code, "sealed with another secret key" in old_alone.err) == (1, True)
    assert in_a_file.code == 2
    refused = makegood("key", "create", "shop", "--label", "x")
    assert (refused.code, "sealed with another secret key" in refused.err) == (1, True)
    assert "Traceback" not in refused.err


def test_doctor_reports_the_state_of_a_rotation(makegood: Makegood) -> None:
    makegood("project", "create", "shop", "--mode", "test")

    before = makegood("doctor", **BOTH).out
    with_another_secret = makegood(
        "doctor", MAKEGOOD_SECRET_KEY="a root secret that sealed nothing here"
    ).out
    makegood("secret", "rotate", **BOTH)
    after = makegood("doctor", **BOTH).out
    unknown = makegood("doctor").out

    assert "not in force yet" in before
    assert "encrypted under another secret key" in with_another_secret
    assert "1 API keys are unused since" in after
    assert "encrypted under another secret key" in unknown


def test_backup_of_either_secret_is_restored_while_both_are_known(
    makegood: Makegood, tmp_path: Path
) -> None:
    makegood("project", "create", "shop", "--mode", "test")
    backups = {name: str(tmp_path / name) for name in ("before", "between", "after")}
    makegood("backup", backups["before"])
    makegood("backup", backups["between"], **BOTH)
    makegood("secret", "rotate", **BOTH)
    makegood("backup", backups["after"], **BOTH)

    def restored(name: str, **settings: str) -> Done:
        path = tmp_path / f"{name} {len(settings)} {settings.get('MAKEGOOD_SECRET_KEY')}"
        there = {"MAKEGOOD_DATABASE_URL": "", "MAKEGOOD_DATA_DIR": str(path), **settings}
        done = makegood("restore", backups[name], **there)
        if done.code == 0:
            assert makegood("audit", "verify", **there).code == 0, (
                "sealed with a secret that is known"
            )
            assert makegood("project", "rotate-secret", "shop", **there).code == 0, (
                "what was sealed opens"
            )
        return done

    new = {"MAKEGOOD_SECRET_KEY": NEW}
    assert [restored(name, **BOTH).code for name in backups] == [0, 0, 0]
    assert [restored(name, **new).code for name in backups] == [1, 1, 0]
    assert [restored(name).code for name in backups] == [0, 0, 1]
    assert "MAKEGOOD_SECRET_KEY_PREVIOUS" in restored("before", **new).err


NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


async def set_up_app(database_url: str, user_id: str) -> str:
    """The secret of a person's authenticator app, which a code has confirmed."""
    database, sealer = Database.open(database_url), Sealer(SECRET_KEY)
    async with database.transaction() as session:
        secret = await factors.begin_totp(session, sealer, UserId(user_id), now=NOW)
        code = pyotp.TOTP(secret).at(NOW)
        assert await factors.confirm_totp(session, sealer, UserId(user_id), code=code, now=NOW)
    await database.close()
    return secret


async def test_authenticator_apps_are_encrypted_under_the_new_secret(
    embedded: Makegood, sqlite_url: str
) -> None:
    user_id = embedded("user", "create", "ada@shop.example", "--json").json["user_id"]
    secret = await set_up_app(sqlite_url, user_id)

    rotated = embedded("secret", "rotate", "--json").json
    dropped = embedded("secret", "drop", "--json").json

    assert (
        rotated["data_keys_wrapped"],
        rotated["authenticator_apps_to_wrap"],
        rotated["can_drop_previous"],
    ) == (1, 0, True)
    assert dropped == {"dropped": True}
    database, sealer = Database.open(sqlite_url), Sealer(file_of(embedded).read_text())
    later = NOW + timedelta(minutes=1)
    async with database.transaction() as session:
        code = pyotp.TOTP(secret).at(later)
        assert await factors.accept_code(session, sealer, UserId(user_id), code=code, now=later)
    await database.close()


async def test_authenticator_app_that_no_secret_decrypts_is_reported_with_its_user(
    embedded: Makegood, sqlite_url: str
) -> None:
    user_id = embedded("user", "create", "ada@shop.example", "--json").json["user_id"]
    await set_up_app(sqlite_url, user_id)
    database = Database.open(sqlite_url)
    async with database.transaction() as session:
        await session.execute(
            text("UPDATE totp_factors SET data_key = :key"), {"key": b"\x01 broken"}
        )
    await database.close()
    fix = "makegood user reset-totp ada@shop.example"

    refused, shown = embedded("secret", "rotate"), embedded("secret", "status", "--json").json
    doctor = embedded("doctor").out
    secret_stays = file_of(embedded).read_text() == SECRET_KEY
    reset = embedded("user", "reset-totp", "ada@shop.example")
    rotated = embedded("secret", "rotate", "--json")

    assert (refused.code, "nothing was changed" in refused.err, fix in refused.err) == (
        1,
        True,
        True,
    )
    assert secret_stays
    assert shown["authenticator_apps_not_opened"] == ["ada@shop.example"]
    assert fix in shown["next"]
    assert "fail  Sealed secrets" in doctor
    assert fix in doctor
    assert (reset.code, rotated.code) == (0, 0)


async def test_doctor_reports_an_app_that_was_encrypted_too_late(
    makegood: Makegood, sqlite_url: str
) -> None:
    made = makegood("project", "create", "shop", "--mode", "test", "--json").json
    makegood("secret", "rotate", **BOTH)
    makegood("key", "revoke", "shop", made["key_id"], **BOTH)
    before = makegood("doctor", **BOTH).out
    late = {"id": "usr_ada", "key": Sealer(SECRET_KEY).current.new_data_key("usr_ada"), "at": 0}
    database = Database.open(sqlite_url)
    async with database.transaction() as session:
        columns = "(user_id, data_key, sealed, created_at) VALUES (:id, :key, :key, :at)"
        await session.execute(text(f"INSERT INTO totp_factors {columns}"), late)
    await database.close()

    after, shown = (
        makegood("doctor", **BOTH).out,
        makegood("secret", "status", "--json", **BOTH).json,
    )

    assert "nothing needs the previous secret key" in before
    assert "some were encrypted under the previous secret key" in after
    assert (shown["authenticator_apps_to_wrap"], shown["can_drop_previous"]) == (1, False)
    assert "then run `makegood secret rotate`" in shown["next"]
