"""The data directory: private, locked by one process, its root secret written once."""

import os
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from cli.up.data_directory import DataDirectoryError, ensure_secret_key, locked
from config.secret_files import SettingsError
from config.settings import Settings
from tests.support.processes import python, running

HOLD = (
    "import signal, sys; from pathlib import Path; from cli.up.data_directory import locked\n"
    "with locked(Path(sys.argv[1])): print('locked', flush=True); signal.pause()"
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_directory_and_secret_are_for_their_owner_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")

    with locked(settings.data_dir):
        written = ensure_secret_key(settings)

    assert written
    assert mode(settings.data_dir) == 0o700
    assert mode(settings.secret_key_path) == 0o600
    assert len(settings.read_secret_key()) == 64


def test_secret_is_written_once(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    ensure_secret_key(settings)
    first = settings.read_secret_key()

    written = ensure_secret_key(settings)

    assert not written
    assert settings.read_secret_key() == first


def test_secret_of_the_environment_leaves_no_file(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, secret_key=SecretStr("k" * 32))

    assert not ensure_secret_key(settings)
    assert os.listdir(tmp_path) == []
    assert settings.read_secret_key() == "k" * 32


def test_lost_secret_of_an_existing_store_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "makegood.db").touch()

    with pytest.raises(DataDirectoryError, match="restore the file or set MAKEGOOD_SECRET_KEY"):
        ensure_secret_key(Settings(data_dir=tmp_path))


def test_missing_secret_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="run `makegood up` once, or set MAKEGOOD_SECRET_KEY"):
        Settings(data_dir=tmp_path).read_secret_key()


def test_second_process_gets_the_process_id_of_the_lock_owner(tmp_path: Path) -> None:
    with running(*python("-c", HOLD, str(tmp_path))) as program:
        program.wait_for("locked")

        with (
            pytest.raises(
                DataDirectoryError,
                match=rf"already running in .* \(process {program.process.pid}\)",
            ),
            locked(tmp_path),
        ):
            pass


def test_killed_process_releases_the_lock(tmp_path: Path) -> None:
    with running(*python("-c", HOLD, str(tmp_path))) as program:
        program.wait_for("locked")
        program.process.kill()
        program.ended()

        with locked(tmp_path):
            pass


def test_directory_that_cannot_be_created_names_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(DataDirectoryError, match="set MAKEGOOD_DATA_DIR to another directory"),
        locked(tmp_path / "file" / "data"),
    ):
        pass
