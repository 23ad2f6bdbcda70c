"""Backups and stores that cannot be restored are refused, and nothing changes."""

from pathlib import Path

import pytest
from sqlalchemy import insert, text

from store.crypto.encryption import Sealer
from store.db.database import Database
from store.maintenance.backup import TABLES, check_fits
from store.maintenance.backup_file import BackupError, BackupReader
from store.status import heartbeats
from tests.store.maintenance.backup_setup import REVISION, backed_up, lived_in, restored, rows_of
from tests.support.given import Story


@pytest.mark.parametrize("broken", ["end", "middle"])
async def test_damaged_backup_changes_nothing(
    story: Story, sealer: Sealer, empty: Database, file: Path, broken: str
) -> None:
    await lived_in(story, sealer)
    await backed_up(story.database, sealer, file)
    before = await rows_of(empty)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] if broken == "end" else whole[: len(whole) // 2])

    with pytest.raises(BackupError, match="is damaged"):
        await restored(empty, sealer, file)

    assert await rows_of(empty) == before


@pytest.mark.parametrize("left", ["projects", "users", "receipts", "audit_log"])
async def test_store_that_is_not_empty_is_refused(
    story: Story, sealer: Sealer, empty: Database, file: Path, left: str
) -> None:
    await lived_in(story, sealer)
    await backed_up(story.database, sealer, file)
    async with empty.transaction() as session:
        await session.execute(insert(TABLES[left]), (await rows_of(story.database))[left][:1])
    before = await rows_of(empty)

    with pytest.raises(BackupError, match=f"is not empty, it has {left}: "):
        await restored(empty, sealer, file)

    assert await rows_of(empty) == before


async def test_store_with_a_running_process_is_refused(
    story: Story, sealer: Sealer, empty: Database, file: Path
) -> None:
    await backed_up(story.database, sealer, file)
    async with empty.transaction() as session:
        now = await empty.now(session)
        await heartbeats.beat(
            session, process="api_9", role="api", started_at=now, now=now, report={}
        )

    with pytest.raises(BackupError, match="an API or a worker is at work on this store"):
        await restored(empty, sealer, file)

    assert (await rows_of(empty))["projects"] == []


async def test_other_secret_key_is_refused(story: Story, sealer: Sealer, file: Path) -> None:
    await backed_up(story.database, sealer, file)

    with (
        BackupReader.open(file) as backup,
        pytest.raises(BackupError, match="made under another secret key"),
    ):
        check_fits(
            backup,
            key=Sealer("another root secret, which is long enough").current.backup_key,
            revision=REVISION,
        )


async def test_tables_of_another_version_are_refused(
    story: Story, sealer: Sealer, file: Path
) -> None:
    await backed_up(story.database, sealer, file)

    with (
        BackupReader.open(file) as backup,
        pytest.raises(BackupError, match=r"at 9999: restore it with the version .* 0\.1\.0"),
    ):
        check_fits(backup, key=sealer.current.backup_key, revision="9999")


async def test_store_of_another_version_is_not_backed_up(
    story: Story, sealer: Sealer, file: Path
) -> None:
    async with story.database.transaction() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = 'older'"))

    try:
        with pytest.raises(
            BackupError,
            match=f"at older, this version needs {REVISION}: run `makegood migrate` first",
        ):
            await backed_up(story.database, sealer, file)
    finally:
        # PostgreSQL's database is lent again.
        async with story.database.transaction() as session:
            await session.execute(text(f"UPDATE alembic_version SET version_num = '{REVISION}'"))
    assert not file.exists()
