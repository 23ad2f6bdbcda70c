"""Every class of SQLSTATE and every result code of SQLite is classified."""

import re
import sqlite3
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from domain.errors import Unavailable
from domain.ids import EventId
from domain.projects import CreatedProject
from store.db.database import Database
from store.db.errors import SQLITE_CODES, SQLSTATES, Follows, judge, judge_sqlstate
from store.ingest.connection import is_store_failure, is_transient
from tests.store.ingest.desk import committing
from tests.support.given import new_result

PAGE = (Path(__file__).parents[3] / "docs/reference/database-errors.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([0-9A-Z_]+)` \| (.+?) \| (\w+) \|$", PAGE, flags=re.MULTILINE)
# In the order of https://www.sqlite.org/rescode.html, "Primary Result Code List"; without OK,
# NOTICE, WARNING, ROW and DONE.
PRIMARY_CODES = (*range(1, 27),)
KNOWN = sorted(
    {
        sqlstate
        for one in vars(asyncpg.exceptions).values()
        if (sqlstate := getattr(one, "sqlstate", None))
    }
)


def test_every_class_of_sqlstate_that_the_driver_knows_is_classified() -> None:
    assert len(KNOWN) > 250
    assert [code for code in KNOWN if code[:2] not in SQLSTATES] == []
    assert [code for code in SQLSTATES if len(code) == 5 and code not in KNOWN] == []


def test_every_code_of_sqlite_is_classified() -> None:
    assert sorted(SQLITE_CODES) == list(PRIMARY_CODES)


def test_page_of_database_errors_says_what_the_tables_say() -> None:
    names = {
        code: name
        for name, code in vars(sqlite3).items()
        if name.startswith("SQLITE_") and name.count("_") == 1
    }
    expected = [(code, meaning, follows.value) for code, (follows, meaning) in SQLSTATES.items()]
    expected += [
        (next(name for number, name in _primary_names() if number == code), meaning, follows.value)
        for code, (follows, meaning) in SQLITE_CODES.items()
    ]

    assert names
    assert expected == ROWS


def _primary_names() -> list[tuple[int, str]]:
    """The names of SQLite's result codes; others of its constants have the same numbers."""
    results = (
        "ERROR INTERNAL PERM ABORT BUSY LOCKED NOMEM READONLY INTERRUPT IOERR CORRUPT NOTFOUND FULL"
        " CANTOPEN PROTOCOL EMPTY "
    )
    results += "SCHEMA TOOBIG CONSTRAINT MISMATCH MISUSE NOLFS AUTH FORMAT RANGE NOTADB"
    return [(getattr(sqlite3, f"SQLITE_{name}"), f"SQLITE_{name}") for name in results.split()]


@pytest.mark.parametrize(
    ("sqlstate", "follows"),
    [
        ("25006", "reconnect"),
        ("57P01", "reconnect"),
        ("57P03", "reconnect"),
        ("08006", "reconnect"),
        ("28P01", "reconnect"),
        ("3D000", "reconnect"),
        ("53100", "unavailable"),
        ("53200", "unavailable"),
        ("57014", "unavailable"),
        ("58030", "unavailable"),
        ("42501", "unavailable"),
        ("40001", "again"),
        ("40P01", "again"),
        ("55P03", "again"),
        ("XX001", "again"),
        ("22021", "statement"),
        ("23505", "statement"),
        ("25P02", "statement"),
        ("42601", "statement"),
        ("", "statement"),
        ("ZZ999", "statement"),
    ],
)
def test_sqlstate_is_classified(sqlstate: str, follows: str) -> None:
    assert judge_sqlstate(sqlstate) == follows


@pytest.mark.parametrize(
    ("code", "follows"),
    [
        (sqlite3.SQLITE_READONLY, "reconnect"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "reconnect"),
        (sqlite3.SQLITE_READONLY_RECOVERY, "reconnect"),
        (sqlite3.SQLITE_READONLY_CANTLOCK, "reconnect"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "reconnect"),
        (sqlite3.SQLITE_IOERR_WRITE, "reconnect"),
        (sqlite3.SQLITE_IOERR_FSYNC, "reconnect"),
        (sqlite3.SQLITE_CORRUPT_INDEX, "reconnect"),
        (sqlite3.SQLITE_NOTADB, "reconnect"),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, "reconnect"),
        (sqlite3.SQLITE_FULL, "unavailable"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "unavailable"),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, "statement"),
        (sqlite3.SQLITE_ERROR, "statement"),
    ],
)
def test_code_of_sqlite_is_classified(code: int, follows: str) -> None:
    error = sqlite3.OperationalError("no matter what it says")
    error.sqlite_errorcode = code

    assert judge(error) == follows


def test_batch_is_retried_singly_when_its_members_may_succeed() -> None:
    deadlock, read_only, wrong = (
        asyncpg.DeadlockDetectedError("a"),
        asyncpg.ReadOnlySQLTransactionError("b"),
        asyncpg.UniqueViolationError("c"),
    )

    assert [is_store_failure(error) for error in (deadlock, read_only, wrong)] == [
        False,
        True,
        False,
    ]
    assert [is_transient(error) for error in (deadlock, read_only, wrong)] == [True, False, False]
    assert judge(asyncpg.TargetServerAttributeNotMatched("d")) is Follows.RECONNECT
    assert judge(ConnectionResetError()) is Follows.RECONNECT
    assert judge(ValueError()) is Follows.STATEMENT
    assert judge(None) is Follows.STATEMENT


async def test_revoked_right_is_unavailable(postgres_url: str) -> None:
    database = Database.open(postgres_url)

    async def write() -> None:
        async with database.transaction() as session:
            await session.execute(text("SET LOCAL ROLE pg_read_all_data"))
            await session.execute(text("INSERT INTO facts (name, value) VALUES ('a', 'b')"))

    with pytest.raises(Unavailable):
        await write()
    await database.close()


LOSES = """
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER lose BEFORE INSERT ON results FOR EACH ROW EXECUTE FUNCTION lose();
"""


@pytest.mark.parametrize("code", ["25006", "40001", "40P01", "42501", "53100", "58030", "XX001"])
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_result_that_cannot_be_written_is_unavailable_for_any_reason(
    database: Database, project: CreatedProject, code: str
) -> None:
    administrator = await asyncpg.connect(database.url)
    async with committing(database, project) as desk:
        event_id = EventId(await desk.stored())
        await administrator.execute(LOSES.format(code=code))
        try:
            with pytest.raises(Unavailable) as refused:
                await desk.say(new_result(project.project.id, event_id))
        finally:
            await administrator.execute("DROP FUNCTION lose CASCADE")
            await administrator.close()
        answer = await desk.say(new_result(project.project.id, event_id))

    assert refused.value.retry_after_seconds
    assert answer.status == 202
