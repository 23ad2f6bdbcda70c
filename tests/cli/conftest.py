"""Fixtures: `makegood`, the command line on the test's own store, on SQLite and PostgreSQL."""

from dataclasses import replace
from pathlib import Path

import pytest

from store.db.database import Database
from tests.cli.makegood import Makegood
from tests.conftest import SECRET_KEY


@pytest.fixture
def bare_makegood(tmp_path: Path) -> Makegood:
    """The command line on a machine without any setup."""
    return Makegood({"MAKEGOOD_DATA_DIR": str(tmp_path / "data")})


@pytest.fixture
def started_makegood(bare_makegood: Makegood) -> Makegood:
    """The same; each call starts a new Python, as for people."""
    return replace(bare_makegood, is_forked=False)


@pytest.fixture
def sqlite_makegood(sqlite_url: str, tmp_path: Path) -> Makegood:
    """The command line on an empty SQLite store, for behaviour that does not depend on the
    database.
    """
    settings = {"MAKEGOOD_DATA_DIR": str(tmp_path / "data"), "MAKEGOOD_DATABASE_URL": sqlite_url}
    return Makegood({**settings, "MAKEGOOD_SECRET_KEY": SECRET_KEY})


@pytest.fixture
def makegood(database: Database, tmp_path: Path) -> Makegood:
    """The command line on the store of the fixture `database`."""
    settings = {"MAKEGOOD_DATA_DIR": str(tmp_path / "data"), "MAKEGOOD_DATABASE_URL": database.url}
    return Makegood({**settings, "MAKEGOOD_SECRET_KEY": SECRET_KEY})
