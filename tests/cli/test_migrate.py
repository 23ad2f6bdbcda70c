"""`migrate`: to a named revision, and what it and `doctor` say when the store was made by a newer
version.
"""

import json
import sqlite3
from pathlib import Path

import pytest

from store.revisions import revisions
from tests.cli.makegood import Makegood
from tests.conftest import SECRET_KEY
from tests.support.processes import free_ports

NOWHERE = {"MAKEGOOD_PORT": "9", "MAKEGOOD_TEMPORAL_PORT": "9", "MAKEGOOD_SMTP_PORT": "9"}


@pytest.fixture
def newer(bare_makegood: Makegood) -> Makegood:
    """The command line on a store that a newer version has migrated."""
    assert bare_makegood("migrate").code == 0
    with sqlite3.connect(
        Path(bare_makegood.settings["MAKEGOOD_DATA_DIR"]) / "makegood.db"
    ) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    return bare_makegood


def test_migrate_goes_to_the_revision_that_is_named(bare_makegood: Makegood) -> None:
    first = revisions()[-1]

    output = bare_makegood("migrate", "--to", first, "--json").json

    assert output == {"before": None, "now": first, "changed": True}


@pytest.mark.parametrize("revision", ["base", "0999"])
def test_migrate_refuses_a_revision_that_it_does_not_have(
    bare_makegood: Makegood, revision: str
) -> None:
    done = bare_makegood("migrate", "--to", revision)

    assert done.code == 2
    assert revisions()[0] in done.err
    assert len(done.err.splitlines()) == 1


def test_migrate_leaves_a_newer_store_alone_and_says_what_to_do(newer: Makegood) -> None:
    done = newer("migrate")

    assert done.code == 1
    assert f"makegood migrate --to {revisions()[0]}" in done.err
    assert len(done.err.splitlines()) == 1


def test_up_leaves_a_newer_store_alone_and_says_what_to_do(newer: Makegood) -> None:
    names = (
        "MAKEGOOD_PORT",
        "MAKEGOOD_TEMPORAL_PORT",
        "MAKEGOOD_TEMPORAL_UI_PORT",
        "MAKEGOOD_SMTP_PORT",
    )
    ports = {name: str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}

    done = newer("up", MAKEGOOD_SECRET_KEY=SECRET_KEY, **ports)

    assert done.code == 1
    assert f"makegood migrate --to {revisions()[0]}" in done.out + done.err
    assert "Traceback" not in done.out + done.err


def test_doctor_says_how_a_newer_store_goes_back(newer: Makegood) -> None:
    done = newer("doctor", "--json", **NOWHERE)

    (store,) = [check for check in json.loads(done.out)["checks"] if check["name"] == "Store"]
    assert store["status"] == "fail"
    assert "newer version" in json.dumps(store)
    assert f"makegood migrate --to {revisions()[0]}" in store["fix"]
