"""`config`, `openapi`, `version` and `migrate`: what they print, and that no secret is among it."""

import json
from importlib.metadata import version
from pathlib import Path

from tests.cli.makegood import Makegood

SECRETS = {
    "MAKEGOOD_SECRET_KEY": "a root secret that nobody may see printed",
    "MAKEGOOD_DATABASE_URL": "postgresql://makegood:hunter2@db.example/makegood",
    "MAKEGOOD_SMTP_URL": "smtp://robot:hunter3@mail.example:587?starttls=required",
    "TEMPORAL_API_KEY": "hunter4",
}


def test_config_shows_every_setting_and_masks_secrets(bare_makegood: Makegood) -> None:
    done = bare_makegood("config", "--json", **SECRETS, MAKEGOOD_PORT="8123")

    rows = {row["name"]: row for row in done.json["settings"]}
    assert rows["MAKEGOOD_PORT"] == {
        "name": "MAKEGOOD_PORT",
        "value": 8123,
        "source": "environment",
    }
    assert rows["MAKEGOOD_SMTP_PORT"]["source"] == "default"
    assert rows["MAKEGOOD_PUBLIC_URL"]["value"] == "http://127.0.0.1:8123"
    assert all(rows[name]["value"] == "********" for name in SECRETS)
    assert "hunter" not in done.out
    assert SECRETS["MAKEGOOD_SECRET_KEY"] not in done.out


def test_config_as_text_masks_secrets_too(bare_makegood: Makegood) -> None:
    done = bare_makegood("config", **SECRETS)

    assert done.code == 0
    assert "hunter" not in done.out


def test_version_names_the_installed_parts(bare_makegood: Makegood) -> None:
    parts = bare_makegood("version", "--json").json

    assert parts["makegood"] == version("makegood")
    assert parts["temporalio"] == version("temporalio")


def test_version_is_an_option_too(bare_makegood: Makegood) -> None:
    done = bare_makegood("--version")

    assert (done.code, done.err) == (0, "")
    assert done.out == bare_makegood("version").out
    assert done.out.startswith(f"makegood {version('makegood')} (Python ")


def test_openapi_prints_the_document(bare_makegood: Makegood) -> None:
    document = bare_makegood("openapi").json

    assert document["openapi"].startswith("3.1")
    assert "/api/v1/receipt" in document["paths"]
    assert "/api/v1/incidents/{incident_id}/reprocess" in document["paths"]


def test_migrate_creates_the_tables_once(bare_makegood: Makegood) -> None:
    first = bare_makegood("migrate", "--json").json
    second = bare_makegood("migrate", "--json").json

    assert first["changed"] is True
    assert second == {"before": first["now"], "now": first["now"], "changed": False}


def test_migrate_says_when_the_store_cannot_be_reached(bare_makegood: Makegood) -> None:
    done = bare_makegood(
        "migrate", MAKEGOOD_DATABASE_URL="postgresql://someone:hunter2@127.0.0.1:9/makegood"
    )

    assert done.code == 1
    assert "MAKEGOOD_DATABASE_URL" in done.err
    assert "hunter2" not in done.err


def test_secret_read_from_a_file_is_masked(bare_makegood: Makegood, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("another root secret that nobody may see")

    done = bare_makegood("config", "--json", MAKEGOOD_SECRET_KEY_FILE=str(tmp_path / "key"))

    assert {row["name"]: row["value"] for row in json.loads(done.out)["settings"]}[
        "MAKEGOOD_SECRET_KEY"
    ] == "********"
