"""The audit log: committed with its action, one chain, read in pages and by filters."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from domain.audit import GENESIS, Actor, AuditAction
from domain.errors import ValidationFailed
from store.audit.log import AuditFilters, list_audit, read_audit, record
from store.audit.verify import AuditVerdict, verify_audit
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.store.audit.entries import NADIA, OTHER, SHOP, actions, written
from tests.support.given import START


async def test_entry_has_actor_action_subject_and_time(database: Database, sealer: Sealer) -> None:
    await written(database, sealer, NADIA)

    async with database.reading() as session:
        (entry,) = (
            await list_audit(session, AuditFilters(project_id=None), limit=10, cursor=None)
        ).rows
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
                details={"value": details},
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
        (AuditFilters(project_id=None, actor="usr_nadia"), [0]),
        (AuditFilters(project_id=None, actor="cli"), [1, 2]),
        (AuditFilters(project_id=None, actor="cli:zoë"), [1]),
        (AuditFilters(project_id=None, actor="cl_"), []),
        (AuditFilters(project_id=None, action="key_revoked"), [1]),
        (
            AuditFilters(
                project_id=None, created_after=START, created_before=START + timedelta(minutes=2)
            ),
            [1],
        ),
        (
            AuditFilters(
                project_id=None,
                created_after=START + timedelta(microseconds=500),
                created_before=START + timedelta(minutes=1, microseconds=500),
            ),
            [1],
        ),
    ],
    ids=["user", "command line", "its user", "no pattern", "action", "time", "within a ms"],
)
async def test_filters_narrow_the_log(
    database: Database, sealer: Sealer, filters: AuditFilters, found: list[int]
) -> None:
    await written(database, sealer, NADIA, Actor("cli:zoë"), Actor("cli:yan"))

    async with database.reading() as session:
        page = await list_audit(session, filters, limit=10, cursor=None)

    assert [entry.sequence - 1 for entry in reversed(page.rows)] == found
