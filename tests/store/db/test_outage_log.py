"""What the log says while the store is unavailable: once, with the reason and the setting."""

import asyncio
import logging
from pathlib import Path

import pytest

import store.db.outage_log
from domain.errors import Unavailable
from store.db.database import Database
from store.migrate import migrate


def outages(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == store.db.outage_log.__name__]


async def use(database: Database) -> bool:
    try:
        async with database.reading():
            return True
    except Unavailable:
        return False


async def test_file_that_is_no_database_is_logged_once_with_reason_and_setting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "makegood.db"
    path.write_text("not a database at all\n" * 100)
    database = Database.open(f"sqlite:///{path}")

    used = [await use(database) for _ in range(3)]
    await database.close()

    (record,) = outages(caplog)
    assert used == [False] * 3
    assert "file is not a database" in vars(record)["reason"]
    assert "MAKEGOOD_DATABASE_URL" in vars(record)["fix"]


async def test_server_that_is_down_is_logged_without_the_password(
    caplog: pytest.LogCaptureFixture, unused_tcp_port: int
) -> None:
    database = Database.open(f"postgresql://makegood:s3cret-word@127.0.0.1:{unused_tcp_port}/x")

    used = await use(database)
    await database.close()

    (record,) = outages(caplog)
    assert not used
    assert vars(record)["reason"].startswith("ConnectionRefusedError: ")
    assert "s3cret-word" not in str(vars(record))


async def test_lasting_outage_is_logged_again_and_its_end_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(store.db.outage_log, "REPEAT_SECONDS", 0.0)
    path = tmp_path / "makegood.db"
    database = Database.open(f"sqlite:///{path}")
    assert [await use(database) for _ in range(2)] == [False] * 2
    await asyncio.to_thread(migrate, database.url)

    used = [await use(database) for _ in range(2)]
    await database.close()

    assert used == [True] * 2
    assert [record.levelname for record in outages(caplog)] == ["WARNING", "WARNING", "INFO"]
