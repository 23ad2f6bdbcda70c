"""A ciphertext moved to another project, row or column does not open, for every sealed column."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import permutations

import pytest
from sqlalchemy import LargeBinary, text

from api.ingest.payload_encryption import PayloadEncryption
from domain.alerts import AlertChannel
from domain.ids import ProjectId, UserId
from store.alerts.destinations import add_secret_destination
from store.crypto.encryption import SealBroken, Sealer
from store.crypto.tokens import new_event_id
from store.db.database import Database
from store.ingest.connection import open_ingest_connection
from store.ingest.group_commit import Committer
from store.ingest.requests import IngestRequest, SealedPayload
from store.people import second_factor as factors
from store.projects import data_keys, projects, signing_secrets
from store.schema import tables
from tests.support.given import new_receipt
from tests.support.sources import stored_source

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
# Bytes that hold no secret: an answer as it was sent.
NOT_SEALED = {("idempotency", "body")}
SEALED = {
    ("projects", "data_key"),
    ("signing_secrets", "sealed"),
    ("receipts", "payload"),
    ("alert_destinations", "sealed_target"),
    ("sources", "sealed_secret"),
    ("totp_factors", "data_key"),
    ("totp_factors", "sealed"),
}


@dataclass(frozen=True, slots=True)
class Sealed:
    """A ciphertext as it is in the store, with the data key of its project, or of the person
    whose it is.
    """

    project_id: str
    data_key: bytes
    table: str
    column: str
    row: str
    content: bytes


async def make_project(database: Database, sealer: Sealer, name: str) -> ProjectId:
    """A project with two signing secrets, payloads, secret alert destinations and sources, and a
    user's app, sealed by the real code.
    """
    async with database.transaction() as session:
        created = await projects.create_project(session, sealer, name=name, livemode=False, now=NOW)
        project_id = created.project.id
        await signing_secrets.rotate_signing_secret(session, sealer, project_id=project_id, now=NOW)
        for number in range(2):
            await add_secret_destination(
                session,
                sealer,
                project_id=project_id,
                channel=AlertChannel.EMAIL,
                target=f"secret{number}@shop.example",
            )

    async def read_data_key(of: ProjectId) -> bytes:
        async with database.reading() as session:
            return await data_keys.read_data_key(session, of)

    seal = await PayloadEncryption(sealer=sealer, read_data_key=read_data_key).sealer_for(
        project_id
    )
    committer = Committer(open_ingest_connection(database.url), database.clock)
    await committer.start()
    for number in range(2):
        receipt, event_id = new_receipt(project_id, payload='{"card": "4242"}'), new_event_id()
        sealed = SealedPayload(event_id, seal(event_id, '{"card": "4242"}'))
        request = partial(
            IngestRequest,
            project_id=project_id,
            endpoint="receipt",
            key=f"key {number}",
            fingerprint="f",
        )
        await committer.accept(request(value=receipt, render=lambda refusal: b"", sealed=sealed))
    await committer.stop()
    async with database.transaction() as session:
        await factors.begin_totp(session, sealer, UserId(f"usr_of_{project_id}"), now=NOW)
    for _ in range(2):
        await stored_source(database, sealer, project_id)
    return project_id


async def all_sealed(database: Database) -> list[Sealed]:
    async with database.reading() as session:
        keys = {
            row.id: bytes(row.data_key)
            for row in await session.execute(text("SELECT id, data_key FROM projects"))
        }
        found = [Sealed(of, key, "projects", "data_key", of, key) for of, key in keys.items()]
        for table, column, row_id in (
            ("signing_secrets", "sealed", "id"),
            ("receipts", "payload", "event_id"),
            ("alert_destinations", "sealed_target", "id"),
            ("sources", "sealed_secret", "id"),
        ):
            rows = await session.execute(
                text(f"SELECT project_id, {row_id} AS row_id, {column} AS content FROM {table}")
            )
            found += [
                Sealed(r.project_id, keys[r.project_id], table, column, r.row_id, bytes(r.content))
                for r in rows
            ]
        for row in await session.execute(
            text("SELECT user_id AS of, data_key, sealed FROM totp_factors")
        ):
            key, content = bytes(row.data_key), bytes(row.sealed)
            found.append(Sealed(row.of, key, "totp_factors", "data_key", row.of, key))
            found.append(Sealed(row.of, key, "totp_factors", "sealed", row.of, content))
    return found


def opened(sealer: Sealer, at: Sealed, content: bytes) -> bytes:
    """What the code makes of this content in that place."""
    if at.column == "data_key":
        return sealer.unwrapped(content, at.project_id)
    column = {"project_id": at.project_id, "table": at.table, "column": at.column, "row": at.row}
    return sealer.open(at.data_key, **column, sealed=content)


def test_every_column_of_bytes_is_sealed_or_listed_as_not_secret() -> None:
    held = {
        (table.name, column.name)
        for table in tables.Project.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }

    assert held - NOT_SEALED == SEALED


async def test_ciphertext_opens_only_in_its_own_location(
    database: Database, sealer: Sealer
) -> None:
    for name in ("one", "two"):
        await make_project(database, sealer, name)
    found = await all_sealed(database)

    assert {(one.table, one.column) for one in found} == SEALED
    assert len(found) == 2 + 2 * 2 + 2 * 2 + 2 * 2 + 2 * 2 + 2 * 2
    assert all(opened(sealer, one, one.content) for one in found)
    for here, there in permutations(found, 2):
        with pytest.raises(SealBroken):
            opened(sealer, there, here.content)


async def test_project_with_the_data_key_and_secrets_of_another_opens_none(
    database: Database, sealer: Sealer
) -> None:
    one, two = [await make_project(database, sealer, name) for name in ("one", "two")]
    async with database.transaction() as session:
        copy = (
            "UPDATE projects SET data_key = (SELECT data_key FROM projects WHERE id = :one) WHERE"
            " id = :two"
        )
        await session.execute(text(copy), {"one": one, "two": two})
        await session.execute(
            text("DELETE FROM signing_secrets WHERE project_id = :two"), {"two": two}
        )
        await session.execute(text("UPDATE signing_secrets SET project_id = :two"), {"two": two})

    async with database.reading() as session:
        with pytest.raises(SealBroken):
            await signing_secrets.signing_secrets(session, sealer, two, NOW)
