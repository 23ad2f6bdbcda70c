"""`backup` and `restore` as processes: what they print, how they end, and that a new machine needs
no more than file and key.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.revisions import revisions
from tests.cli.makegood import Makegood
from tests.conftest import SECRET_KEY
from tests.support.postgres import Postgres


@pytest.fixture
def new_machine(tmp_path: Path) -> Makegood:
    """The command line where the secret key was brought, and nothing else."""
    return Makegood({"MAKEGOOD_DATA_DIR": str(tmp_path / "new"), "MAKEGOOD_SECRET_KEY": SECRET_KEY})


@pytest.fixture(scope="module")
def backup(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The backup of an instance with one project."""
    path = tmp_path_factory.mktemp("backup")
    shutil.copyfile(sqlite_template, path / "makegood.db")
    makegood = Makegood({"MAKEGOOD_DATA_DIR": str(path), "MAKEGOOD_SECRET_KEY": SECRET_KEY})
    makegood("project", "create", "shop", "--mode", "test")
    assert makegood("backup", str(path / "file")).code == 0
    return (path / "file").read_bytes()


@pytest.fixture
def file(backup: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "backup.jsonl.gz"
    path.write_bytes(backup)
    return path


@pytest.fixture
def bare_postgres_url(postgres: Postgres) -> Iterator[str]:
    """A PostgreSQL database without tables."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


def test_backup_and_restore_print_the_same_summary(
    makegood: Makegood, new_machine: Makegood, tmp_path: Path
) -> None:
    path = tmp_path / "backup.jsonl.gz"
    made = makegood("project", "create", "shop", "--mode", "test", "--json").json

    backup = makegood("backup", str(path), "--json").json
    restored = new_machine("restore", str(path), "--json").json

    assert set(backup) == {"file", "revision", "tables", "bytes", "seconds"}
    assert (backup["file"], backup["revision"], backup["bytes"]) == (
        str(path),
        revisions()[0],
        path.stat().st_size,
    )
    of_project = {"projects": 1, "api_keys": 1, "signing_secrets": 1, "facts": 1}
    of_log = {
        "audit_log": 2,
        "audit_head": 1,
    }  # that the project was made, and that it is backed up
    assert {name: rows for name, rows in backup["tables"].items() if rows} == of_project | of_log
    assert {**restored, "seconds": 0} == {**backup, "seconds": 0}
    assert path.stat().st_mode & 0o777 == 0o600
    assert (
        new_machine("project", "show", made["project_id"]).out
        == makegood("project", "show", made["project_id"]).out
    )


def test_restore_creates_missing_tables(
    file: Path, new_machine: Makegood, bare_postgres_url: str
) -> None:
    done = new_machine("restore", str(file), MAKEGOOD_DATABASE_URL=bare_postgres_url)

    assert done.code == 0
    assert "projects=1" in done.out
    assert "shop" in new_machine("project", "list", MAKEGOOD_DATABASE_URL=bare_postgres_url).out


def test_file_that_exists_is_replaced_only_when_asked(
    file: Path, sqlite_makegood: Makegood
) -> None:
    before = file.read_bytes()

    refused = sqlite_makegood("backup", str(file))
    content = file.read_bytes()
    forced = sqlite_makegood("backup", str(file), "--force")

    assert refused.code == 2
    assert "--force" in refused.err
    assert content == before
    assert forced.code == 0
    assert file.read_bytes() != before


def test_missing_file_is_not_found(new_machine: Makegood, tmp_path: Path) -> None:
    done = new_machine("restore", str(tmp_path / "none"))

    assert done.code == 3
    assert "there is no file" in done.err


def test_directory_that_does_not_exist_is_named(sqlite_makegood: Makegood, tmp_path: Path) -> None:
    done = sqlite_makegood("backup", str(tmp_path / "none" / "backup"))

    assert done.code == 1
    assert "cannot be written (No such file or directory)" in done.err
    assert done.err.count("\n") == 1


def test_key_of_another_instance_is_refused(file: Path, new_machine: Makegood) -> None:
    done = new_machine(
        "restore", str(file), MAKEGOOD_SECRET_KEY="the key of quite another instance"
    )

    assert done.code == 1
    assert "made under another secret key: set MAKEGOOD_SECRET_KEY" in done.err
    assert not Path(new_machine.settings["MAKEGOOD_DATA_DIR"]).exists()


def test_missing_key_error_names_its_place(file: Path, bare_makegood: Makegood) -> None:
    done = bare_makegood("restore", str(file))

    assert done.code == 1
    assert "set MAKEGOOD_SECRET_KEY, or put its file at " in done.err
    assert "makegood up" not in done.err


def test_damaged_backup_leaves_no_store_behind(file: Path, new_machine: Makegood) -> None:
    file.write_bytes(file.read_bytes()[:-9])

    done = new_machine("restore", str(file))

    assert done.code == 1
    assert "is damaged: it ends too early" in done.err
    assert done.err.count("\n") == 1
    assert not Path(new_machine.settings["MAKEGOOD_DATA_DIR"]).exists()


def test_store_in_use_is_refused(file: Path, makegood: Makegood) -> None:
    makegood("project", "create", "another", "--mode", "test")
    before = makegood("project", "list").out

    done = makegood("restore", str(file))

    assert done.code == 1
    assert (
        "the store is not empty, it has projects, api_keys, signing_secrets, audit_log, audit_head:"
        " restore into a new one" in done.err
    )
    assert makegood("project", "list").out == before


def test_backup_without_a_store_says_what_to_do(new_machine: Makegood, tmp_path: Path) -> None:
    done = new_machine("backup", str(tmp_path / "backup"))

    assert done.code == 1
    assert "there is no store in" in done.err
    assert list(tmp_path.glob("*backup*")) == []
