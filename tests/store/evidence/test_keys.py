"""The evidence key: one signs, it survives a new root secret and a restore, and a retired one has
no private key.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from domain.projects import CreatedProject
from store.crypto import root_secret as rotation
from store.crypto.encryption import SealBroken, Sealer
from store.crypto.root_secret import SecretStatus
from store.db.database import Database
from store.evidence.keys import (
    EvidenceKey,
    create_evidence_key,
    read_current_key,
    read_evidence_keys,
    retire_current_key,
    sign_with,
)
from store.evidence.signatures import public_key_of, sign
from tests.conftest import SECRET_KEY
from tests.store.maintenance.backup_setup import another, backed_up, restored

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NEW_KEY = "the root secret that comes after it, as long"
OLD, BOTH, NEW = Sealer(SECRET_KEY), Sealer(NEW_KEY, SECRET_KEY), Sealer(NEW_KEY)


async def created(database: Database, sealer: Sealer = OLD) -> EvidenceKey | None:
    async with database.transaction() as session:
        return await create_evidence_key(session, sealer, now=NOW)


async def replaced(database: Database, sealer: Sealer) -> EvidenceKey | None:
    async with database.transaction() as session:
        await retire_current_key(session, now=NOW)
        return await create_evidence_key(session, sealer, now=NOW)


async def current(database: Database) -> EvidenceKey:
    async with database.reading() as session:
        key = await read_current_key(session)
    assert key is not None
    return key


async def signature(database: Database, sealer: Sealer) -> bytes:
    key = await current(database)
    async with database.reading() as session:
        return await sign_with(session, sealer, key, b"statement")


async def rotate(database: Database) -> int:
    async with database.transaction() as session:
        return await rotation.rotate(session, BOTH, await database.now(session))


async def status(database: Database, sealer: Sealer = BOTH) -> SecretStatus:
    async with database.reading() as session:
        return await rotation.secret_status(session, sealer, await database.now(session))


async def test_key_signs_and_its_private_part_is_nowhere_in_the_store(database: Database) -> None:
    key = await created(database)
    assert key is not None

    async with database.reading() as session:
        row = (await session.execute(text("SELECT * FROM evidence_keys"))).one()
        private_key = OLD.open(
            row.data_key,
            project_id=key.id,
            table="evidence_keys",
            column="sealed",
            row=key.id,
            sealed=row.sealed,
        )

    assert public_key_of(private_key) == key.public_key == (await current(database)).public_key
    assert await signature(database, OLD) == sign(private_key, b"statement")
    stored = [*row]
    assert private_key not in stored
    assert private_key.hex() not in map(str, stored)
    assert not any(isinstance(value, bytes) and private_key in value for value in stored)


async def test_processes_that_create_the_first_key_together_get_one(database: Database) -> None:
    made = await asyncio.gather(*(created(database) for _ in range(8)))

    async with database.reading() as session:
        keys = await read_evidence_keys(session)
    assert [key for key in made if key is not None] == keys
    assert len(keys) == 1


async def test_replaced_key_keeps_its_public_part_alone(database: Database) -> None:
    first = await created(database)
    second = await replaced(database, OLD)
    assert first is not None
    assert second is not None

    async with database.reading() as session:
        listed = [(key.id, key.retired_at) for key in await read_evidence_keys(session)]
        private = text("SELECT data_key, sealed FROM evidence_keys WHERE id = :id")
        erased = (await session.execute(private, {"id": first.id})).one()
    assert listed == [(second.id, None), (first.id, NOW)]
    assert [*erased] == [None, None]
    assert await current(database) == second


async def test_new_root_secret_keeps_the_key(database: Database, project: CreatedProject) -> None:
    await created(database)
    before = await signature(database, OLD)

    assert (await status(database)).has_old_data_keys is False, "the old one is still in force"
    assert await rotate(database) == 2, "the project and the evidence key"

    assert await signature(database, NEW) == await signature(database, BOTH) == before
    with pytest.raises(SealBroken):
        await signature(database, OLD)
    found = await status(database)
    assert (found.has_old_evidence_key, found.lost_evidence_key) == (False, None)


async def test_key_of_the_old_secret_keeps_it_needed_after_the_rotation(
    database: Database, project: CreatedProject
) -> None:
    """As a version that does not know the table would leave it."""
    await created(database)
    async with database.reading() as session:
        old = (await session.execute(text("SELECT data_key FROM evidence_keys"))).scalar_one()
    await rotate(database)
    async with database.transaction() as session:
        await session.execute(text("UPDATE evidence_keys SET data_key = :key"), {"key": old})

    found = await status(database)

    assert (found.has_old_evidence_key, found.can_drop_previous) == (True, False)
    assert await rotate(database) == 1
    assert (await status(database)).has_old_evidence_key is False


async def test_key_that_no_secret_opens_stops_the_rotation_until_it_is_replaced(
    database: Database, project: CreatedProject
) -> None:
    await created(database)
    async with database.transaction() as session:
        broken = {"key": b"\x01 broken"}
        await session.execute(text("UPDATE evidence_keys SET data_key = :key"), broken)
    lost = await current(database)

    assert ((await status(database)).lost_evidence_key, (await status(database)).has_unopened) == (
        lost.id,
        True,
    )
    with pytest.raises(SealBroken):
        await rotate(database)
    await replaced(database, BOTH)

    assert (await status(database)).lost_evidence_key is None
    assert await rotate(database) == 2


async def test_restored_store_signs_with_the_same_key(
    database: Database,
    project: CreatedProject,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """In a store of the other kind."""
    await created(database)
    await rotate(database)
    file = tmp_path / "backup.jsonl.gz"
    await backed_up(database, BOTH, file)
    is_sqlite = database.dialect == "sqlite"
    with another("postgresql" if is_sqlite else "sqlite", request) as url:
        elsewhere = Database.open(url)
        await restored(elsewhere, NEW, file)

        assert await current(elsewhere) == await current(database)
        assert await signature(elsewhere, NEW) == await signature(database, NEW)
        await elsewhere.close()
