"""A changed, cut, rewritten or reset audit log is found, on SQLite and PostgreSQL."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from domain.audit import Actor, chain_hash
from store.audit.verify import AuditVerdict, verify_audit
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.schema.tables import AUDIT_LOG
from tests.store.audit.entries import NADIA, actions, written

TRIGGERS = (
    "audit_log_no_update",
    "audit_log_no_delete",
    "audit_log_no_replace",
    "audit_head_no_delete",
    "audit_head_moves_on",
)


async def change_directly(database: Database, *statements: str, **values: Any) -> None:
    """A change by the owner of the database, whom the triggers do not stop."""
    async with database.transaction() as session:
        if database.dialect == "postgresql":
            await session.execute(text("SET LOCAL session_replication_role = replica"))
        else:
            for name in TRIGGERS:
                await session.execute(text(f"DROP TRIGGER IF EXISTS {name}"))
        for statement in statements:
            await session.execute(text(statement), values)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'nobody'",
        "DELETE FROM audit_log",
        "DELETE FROM audit_head",
        "UPDATE audit_head SET seal = ''",
        "UPDATE audit_head SET sequence = sequence - 1",
        "TRUNCATE audit_log",
        "INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log WHERE sequence = 1",
        "INSERT OR REPLACE INTO audit_head SELECT 9, hash, seal FROM audit_head",
    ],
)
async def test_database_itself_rejects_updates_and_deletes(
    database: Database, sealer: Sealer, statement: str
) -> None:
    if statement.startswith({"sqlite": "TRUNCATE", "postgresql": "INSERT OR"}[database.dialect]):
        pytest.skip("not a statement of this database")
    await written(database, sealer, NADIA, NADIA)

    with pytest.raises(DBAPIError, match=r"append only|only moves on"):
        async with database.transaction() as session:
            await session.execute(text(statement))

    assert (await verify_audit(database, sealer)).problem is None


@pytest.mark.parametrize("column", [column.name for column in AUDIT_LOG.columns])
async def test_one_changed_byte_in_the_database_is_found(
    database: Database, sealer: Sealer, column: str
) -> None:
    await written(
        database, sealer, NADIA, Actor("cli:zoë", address="desk", request_id="req_2"), NADIA
    )
    async with database.reading() as session:
        rows = (
            (await session.execute(text("SELECT * FROM audit_log ORDER BY sequence")))
            .mappings()
            .all()
        )

    for row in rows:
        value = row[column]
        one_byte_off = (
            value ^ 64 if isinstance(value, int) else value[:-1] + chr(ord(value[-1]) ^ 1)
        )
        await change_directly(
            database,
            f"UPDATE audit_log SET {column} = :new WHERE sequence = :at",
            new=one_byte_off,
            at=row["sequence"],
        )
        verdict = await verify_audit(database, sealer)
        at = one_byte_off if column == "sequence" else row["sequence"]
        await change_directly(
            database, f"UPDATE audit_log SET {column} = :old WHERE sequence = :at", old=value, at=at
        )

        assert verdict.problem is not None
        # The last number is missed at the end of the log, every other change where it is.
        is_last_number = column == "sequence" and row is rows[-1]
        assert verdict.sequence == row["sequence"] or is_last_number
    assert await verify_audit(database, sealer, expect=rows[0]["hash"]) == AuditVerdict(
        3, rows[-1]["hash"]
    )


async def test_bytes_that_are_not_text_are_found(sqlite_url: str, sealer: Sealer) -> None:
    database = Database.open(sqlite_url)
    await written(database, sealer, NADIA, NADIA)
    for value in ("CAST(x'75ff' AS TEXT)", "x'75ff'", "X'00'"):
        await change_directly(
            database, f"UPDATE audit_log SET address = {value} WHERE sequence = 2"
        )

        verdict = await verify_audit(database, sealer)

        assert (verdict.sequence, verdict.entries) == (2, 1)
    await change_directly(database, "UPDATE audit_log SET at = 'soon' WHERE sequence = 2")
    assert (await verify_audit(database, sealer)).problem == "it cannot be read"
    await database.close()


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM audit_log WHERE sequence > 2", "entries 3 to 4 are missing"),
        ("DELETE FROM audit_log", "entries 1 to 4 are missing"),
        ("DELETE FROM audit_head", "is missing"),
        ("UPDATE audit_head SET hash = 'x'", "not the one that was sealed"),
        ("UPDATE audit_head SET seal = 'x'", "not made with this secret key"),
        ("UPDATE audit_head SET sequence = 9", "entries 5 to 9 are missing"),
        ("UPDATE audit_head SET sequence = 3", "not the one that was sealed"),
    ],
)
async def test_end_that_was_cut_or_moved_is_found(
    database: Database, sealer: Sealer, statement: str, problem: str
) -> None:
    await written(database, sealer, *[NADIA] * 4)

    await change_directly(database, statement)

    verdict = await verify_audit(database, sealer)
    assert verdict.problem is not None
    assert problem in verdict.problem


async def cut_after(database: Database, sequence: int) -> None:
    """Delete the entries after it and move the end there, as well as possible without the secret
    key.
    """
    await change_directly(
        database,
        "DELETE FROM audit_log WHERE sequence > :last",
        "UPDATE audit_head SET sequence = :last, hash = (SELECT hash FROM audit_log WHERE sequence"
        " = :last)",
        last=sequence,
    )


async def rewritten(database: Database, *, actor: str) -> None:
    """Change the actor of the last entry and recompute every hash."""
    async with database.reading() as session:
        row = dict(
            (await session.execute(text("SELECT * FROM audit_log ORDER BY sequence DESC")))
            .mappings()
            .first()
            or {}
        )
    forged = chain_hash({**row, "actor": actor})
    change = "UPDATE audit_log SET actor = :actor, hash = :hash WHERE sequence = :last"
    await change_directly(
        database,
        change,
        "UPDATE audit_head SET hash = :hash",
        actor=actor,
        hash=forged,
        last=row["sequence"],
    )


async def test_log_rewritten_without_the_key_is_found_also_after_new_entries(
    database: Database, sealer: Sealer
) -> None:
    await written(database, sealer, NADIA, NADIA)
    await rewritten(database, actor="usr_innocent")

    before = await verify_audit(database, sealer)
    await written(database, sealer, NADIA)
    after = await verify_audit(database, sealer)

    assert before.problem is not None
    assert "not made with this secret key" in before.problem
    assert after.sequence == 3
    assert await actions(database) == [
        "project_changed",
        "key_revoked",
        "audit_damage_found",
        "project_changed",
    ]


async def test_truncated_log_is_found_also_after_new_entries(
    database: Database, sealer: Sealer
) -> None:
    await written(database, sealer, NADIA, NADIA, NADIA)
    await cut_after(database, 1)

    before = await verify_audit(database, sealer)
    await written(database, sealer, NADIA)
    after = await verify_audit(database, sealer)

    assert before.problem is not None
    assert after.sequence == 2


@pytest.mark.parametrize(
    "statement", ["DELETE FROM audit_log WHERE sequence > 1", "DELETE FROM audit_head"]
)
async def test_damage_does_not_stop_actions_and_is_still_found(
    database: Database, sealer: Sealer, statement: str
) -> None:
    await written(database, sealer, NADIA, NADIA, NADIA)
    await change_directly(database, statement)

    await written(database, sealer, NADIA, NADIA)

    assert "audit_damage_found" in await actions(database)
    assert (await verify_audit(database, sealer)).problem is not None


async def test_log_reset_to_an_earlier_state_is_found_only_by_an_expected_hash(
    database: Database, sealer: Sealer
) -> None:
    await written(database, sealer, NADIA)
    async with database.reading() as session:
        old = (
            (await session.execute(text("SELECT sequence AS last, hash, seal FROM audit_head")))
            .mappings()
            .one()
        )
    await written(database, sealer, NADIA, NADIA)
    noted = (await verify_audit(database, sealer)).head
    back = "UPDATE audit_head SET sequence = :last, hash = :hash, seal = :seal"
    await change_directly(database, "DELETE FROM audit_log WHERE sequence > :last", back, **old)

    without, expected = (
        await verify_audit(database, sealer),
        await verify_audit(database, sealer, expect=noted),
    )

    assert without.problem is None
    assert expected.problem is not None
    assert "no entry has the expected hash" in expected.problem


async def test_log_does_not_verify_with_another_secret_key(
    database: Database, sealer: Sealer
) -> None:
    other = Sealer("another root secret, which is long enough")
    await written(database, sealer, NADIA)

    verdict = await verify_audit(database, other)
    await written(database, other, NADIA)

    assert verdict.problem is not None
    assert "the key is another one" in verdict.problem
    assert await actions(database) == ["project_changed", "audit_damage_found", "project_changed"]
