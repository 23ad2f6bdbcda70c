"""The audit log in a real store: committed with its action, one chain, append-only and verified."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from domain.audit import GENESIS, Actor, AuditAction, Subject, SubjectType, chain_hash
from domain.errors import ValidationFailed
from domain.ids import ProjectId
from store.audit.log import AuditFilters, list_audit, read_audit, record
from store.audit.verify import AuditVerdict, verify_audit
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.schema.tables import AUDIT_LOG
from tests.support.given import START

NADIA = Actor("usr_nadia", address="192.0.2.7", request_id="req_1")
SHOP, OTHER = ProjectId("prj_shop"), ProjectId("prj_other")
TRIGGERS = (
    "audit_log_no_update",
    "audit_log_no_delete",
    "audit_log_no_replace",
    "audit_head_no_delete",
    "audit_head_moves_on",
)


async def written(database: Database, sealer: Sealer, *actors: Actor) -> None:
    """An entry of each actor, a minute apart; every second one is the other project's."""
    for number, actor in enumerate(actors):
        async with database.transaction() as session:
            action = (AuditAction.PROJECT_CHANGED, AuditAction.KEY_REVOKED)[number % 2]
            await record(
                session,
                sealer,
                actor,
                action,
                now=START + timedelta(minutes=number),
                subject=Subject(SubjectType.KEY, f"key_{number}"),
                project_id=(SHOP, OTHER)[number % 2],
                details={"fields": ["name"]},
            )


async def behind_its_back(database: Database, *statements: str, **values: Any) -> None:
    """A change by the owner of the database, whom the triggers do not stop."""
    async with database.transaction() as session:
        if database.dialect == "postgresql":
            await session.execute(text("SET LOCAL session_replication_role = replica"))
        else:
            for name in TRIGGERS:
                await session.execute(text(f"DROP TRIGGER IF EXISTS {name}"))
        for statement in statements:
            await session.execute(text(statement), values)


async def actions(database: Database) -> list[str]:
    async with database.reading() as session:
        page = await list_audit(session, AuditFilters(), limit=100, cursor=None)
    return [entry.action for entry in reversed(page.rows)]


async def test_entry_has_actor_action_subject_and_time(database: Database, sealer: Sealer) -> None:
    await written(database, sealer, NADIA)

    async with database.reading() as session:
        (entry,) = (await list_audit(session, AuditFilters(), limit=10, cursor=None)).rows
    assert (entry.sequence, entry.at, entry.previous_hash) == (1, START, GENESIS)
    assert (entry.actor, entry.address, entry.request_id) == ("usr_nadia", "192.0.2.7", "req_1")
    assert (entry.action, entry.subject_type, entry.subject_id) == (
        "project_changed",
        "key",
        "key_0",
    )
    assert (entry.project_id, entry.details) == (SHOP, '{"fields":["name"]}')


async def test_failed_action_leaves_no_entry_and_failed_entry_leaves_no_action(
    database: Database, sealer: Sealer
) -> None:
    async def act(details: object, *, is_failing: bool) -> None:
        async with database.transaction() as session:
            await session.execute(text("INSERT INTO facts (name, value) VALUES ('act', 'done')"))
            await record(
                session,
                sealer,
                NADIA,
                AuditAction.KEY_CREATED,
                now=START,
                details={"told": details},
            )
            if is_failing:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        await act("this", is_failing=True)
    with pytest.raises(TypeError):
        await act(object(), is_failing=False)  # no JSON

    assert await actions(database) == []
    async with database.reading() as session:
        assert await session.scalar(text("SELECT count(*) FROM facts")) == 0


async def test_concurrent_writers_make_one_chain(database: Database, sealer: Sealer) -> None:
    other = Database.open(database.url)

    async def act(on: Database, number: int) -> None:
        async with on.transaction() as session:
            await record(
                session,
                sealer,
                Actor(f"usr_{number}"),
                AuditAction.SIGNED_IN,
                now=await on.now(session),
            )

    await asyncio.gather(*(act((database, other)[number % 2], number) for number in range(24)))
    await other.close()

    verdict = await verify_audit(database, sealer)
    assert (verdict.entries, verdict.problem) == (24, None)


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
        await behind_its_back(
            database,
            f"UPDATE audit_log SET {column} = :new WHERE sequence = :at",
            new=one_byte_off,
            at=row["sequence"],
        )
        verdict = await verify_audit(database, sealer)
        at = one_byte_off if column == "sequence" else row["sequence"]
        await behind_its_back(
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
        await behind_its_back(
            database, f"UPDATE audit_log SET address = {value} WHERE sequence = 2"
        )

        verdict = await verify_audit(database, sealer)

        assert (verdict.sequence, verdict.entries) == (2, 1)
    await behind_its_back(database, "UPDATE audit_log SET at = 'soon' WHERE sequence = 2")
    assert (await verify_audit(database, sealer)).problem == "it cannot be read"
    await database.close()


@pytest.mark.parametrize(
    ("statement", "told"),
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
    database: Database, sealer: Sealer, statement: str, told: str
) -> None:
    await written(database, sealer, *[NADIA] * 4)

    await behind_its_back(database, statement)

    verdict = await verify_audit(database, sealer)
    assert verdict.problem is not None
    assert told in verdict.problem


async def cut_after(database: Database, sequence: int) -> None:
    """Delete the entries after it and move the end there, as well as possible without the secret
    key.
    """
    await behind_its_back(
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
    await behind_its_back(
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
    await behind_its_back(database, statement)

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
    await behind_its_back(database, "DELETE FROM audit_log WHERE sequence > :last", back, **old)

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


async def test_empty_log_verifies(database: Database, sealer: Sealer) -> None:
    assert await verify_audit(database, sealer) == AuditVerdict(0, GENESIS)


async def test_log_is_read_in_pages_newest_first_and_exported_oldest_first(
    database: Database, sealer: Sealer
) -> None:
    await written(database, sealer, *(Actor(f"usr_{number}") for number in range(7)))
    shop = AuditFilters(project_id=SHOP)

    async with database.reading() as session:
        first = await list_audit(session, shop, limit=3, cursor=None)
        second = await list_audit(session, shop, limit=3, cursor=first.next_cursor)
    exported = [entry.actor async for entries in read_audit(database, shop) for entry in entries]

    assert [entry.actor for entry in (*first.rows, *second.rows)] == [
        "usr_6",
        "usr_4",
        "usr_2",
        "usr_0",
    ]
    assert second.next_cursor is None
    assert exported == ["usr_0", "usr_2", "usr_4", "usr_6"]


async def test_cursor_of_another_project_is_refused(database: Database, sealer: Sealer) -> None:
    await written(database, sealer, NADIA, NADIA)
    async with database.reading() as session:
        (theirs,) = (
            await list_audit(session, AuditFilters(project_id=OTHER), limit=3, cursor=None)
        ).rows

        for cursor in (theirs.hash, "0" * 64, "", "%"):
            with pytest.raises(ValidationFailed):
                await list_audit(session, AuditFilters(project_id=SHOP), limit=3, cursor=cursor)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (AuditFilters(actor="usr_nadia"), [0]),
        (AuditFilters(actor="cli"), [1, 2]),
        (AuditFilters(actor="cli:zoë"), [1]),
        (AuditFilters(actor="cl_"), []),
        (AuditFilters(action="key_revoked"), [1]),
        (AuditFilters(after=START, before=START + timedelta(minutes=2)), [1]),
    ],
    ids=["user", "command line", "its user", "no pattern", "action", "time"],
)
async def test_filters_narrow_the_log(
    database: Database, sealer: Sealer, filters: AuditFilters, found: list[int]
) -> None:
    await written(database, sealer, NADIA, Actor("cli:zoë"), Actor("cli:yan"))

    async with database.reading() as session:
        page = await list_audit(session, filters, limit=10, cursor=None)

    assert [entry.sequence - 1 for entry in reversed(page.rows)] == found
