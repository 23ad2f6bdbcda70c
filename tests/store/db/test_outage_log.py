"""What the log says while the store is unavailable: once, with the reason and the setting."""

import asyncio
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import store.db.outage_log
from domain.errors import Unavailable
from store.db.database import Database
from store.migrate import migrate

# Any: the fields of log entries.
LogEntry = MutableMapping[str, Any]


def outages(logs: Sequence[LogEntry]) -> list[LogEntry]:
    return [entry for entry in logs if entry["event"] in ("store_unavailable", "store_available")]


async def use(database: Database) -> bool:
    try:
        async with database.reading():
            return True
    except Unavailable:
        return False


async def test_file_that_is_no_database_is_logged_once_with_reason_and_setting(
    tmp_path: Path,
) -> None:
    path = tmp_path / "makegood.db"
    path.write_text("not a database at all\n" * 100)
    database = Database.open(f"sqlite:///{path}")

    with capture_logs() as logs:
        used = [await use(database) for _ in range(3)]
    await database.close()

    (entry,) = outages(logs)
    assert used == [False] * 3
    assert "file is not a database" in entry["reason"]
    assert "MAKEGOOD_DATABASE_URL" in entry["fix"]


async def test_server_that_is_down_is_logged_without_the_password(
    unused_tcp_port: int,
) -> None:
    database = Database.open(f"postgresql://makegood:s3cret-word@127.0.0.1:{unused_tcp_port}/x")

    with capture_logs() as logs:
        used = await use(database)
    await database.close()

    (entry,) = outages(logs)
    assert not used
    assert entry["reason"].startswith("ConnectionRefusedError: ")
    assert "s3cret-word" not in str(logs)


async def test_lasting_outage_is_logged_again_and_its_end_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.db.outage_log, "REPEAT_SECONDS", 0.0)
    path = tmp_path / "makegood.db"
    database = Database.open(f"sqlite:///{path}")
    with capture_logs() as logs:
        assert [await use(database) for _ in range(2)] == [False] * 2
        await asyncio.to_thread(migrate, database.url)
        used = [await use(database) for _ in range(2)]
    await database.close()

    assert used == [True] * 2
    assert [entry["log_level"] for entry in outages(logs)] == ["warning", "warning", "info"]
