"""Projects take turns in the outbox, whatever another has there, at a bounded cost of a claim."""

import re
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId
from domain.temporal.outbox_turns import ClaimWalk
from domain.values.timestamps import to_unix_ms
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts import outbox
from store.receipts.outbox import enqueue_starts
from store.receipts.outbox_heads import ENDS_LOOKED_AT, WALKED
from tests.store.explained import noted, plan_of
from tests.store.receipts.test_overdue_turns import pile_up
from tests.support.given import START, Story

FAR = 10**13  # a deadline in milliseconds
BACKLOG = 5_000
# Rows that the walk of one claim passes, and one claim for the turn itself.
CLAIMS = 2 * BACKLOG // WALKED + 2
# From the sixth on, PostgreSQL may keep one plan for all values.
CLAIMS_UNTIL_KEPT = 8
# A table read to its end, or its rows sorted.
WHOLE = re.compile(r"SCAN (outbox|receipts)\b|AUTOMATIC|TEMP B-TREE FOR ORDER BY")
LARGE_BACKLOG, MOST_READ = 30_000, 10_000


async def backlog(
    database: Database, name: str, count: int = BACKLOG, *, kind: str = "fresh"
) -> None:
    """Starts of so many receipts of one project, none of them due; or of a kind of their own."""
    first = to_unix_ms(START) - count if kind == "due" else FAR
    await pile_up(database, name, count, first=first, is_analyzed=False)
    of_each = (
        "INSERT INTO outbox (event_id, kind, fields, created_at)"
        " SELECT event_id, :kind, '{}', 0 FROM receipts WHERE project_id = :project_id"
        " ORDER BY deadline_at"
    )
    values = {"kind": "resolve" if kind == "urgent" else "start", "project_id": f"{name}0"}
    async with database.transaction() as session:
        await session.execute(text(of_each), values)
    if kind == "tried":
        await back_off(database)


async def back_off(database: Database) -> None:
    """All rows failed a while ago, one after the other, and may be tried again."""
    async with database.transaction() as session:
        await session.execute(
            text(
                "UPDATE outbox SET claimed_until = CAST(:at AS BIGINT) + id"
                " - (SELECT max(id) FROM outbox)"
            ),
            {"at": to_unix_ms(START)},
        )


def reads_of_whole(plan: list[str]) -> list[str]:
    """The lines of the plan that read a table to its end, or sort its rows.

    The rows of a part, which has a limit, may be sorted again: last, and read as `anon_1`.
    """
    sorts_part = "SCAN anon_1" in plan and "CO-ROUTINE anon_1" in plan
    return [line for line in (plan[:-1] if sorts_part else plan) if WHOLE.search(line)]


async def starts(story: Story, count: int = 1) -> list[EventId]:
    event_ids = [await story.receipt() for _ in range(count)]
    async with story.database.transaction() as session:
        await enqueue_starts(SessionStatements(session), event_ids, START)
    return event_ids


async def claimed(story: Story, walk: ClaimWalk, *, limit: int = 1) -> list[EventId]:
    """The receipts of one claim, which are delivered at once."""
    async with story.database.transaction() as session:
        batches = await outbox.claim(session, START, limit=limit, walk=walk)
        await outbox.mark_delivered(session, [row.id for one in batches for row in one.rows])
    return [one.event_id for one in batches]


@pytest.mark.parametrize("has_failed", [False, True], ids=["fresh", "tried"])
async def test_receipt_amid_the_backlogs_of_others_is_claimed_after_a_walk(
    story: Story, has_failed: bool
) -> None:
    await backlog(story.database, "greedy")
    (event_id,) = await starts(story)
    await backlog(story.database, "later")
    if has_failed:
        await back_off(story.database)
    walk, seen = ClaimWalk(), list[EventId]()

    for _ in range(CLAIMS):
        seen += await claimed(story, walk)

    assert event_id in seen
    assert len(seen) == CLAIMS


async def test_newest_receipt_is_claimed_at_once_and_one_slot_goes_from_project_to_project(
    story: Story,
) -> None:
    await backlog(story.database, "greedy")
    mine = await starts(story, 3)
    walk = ClaimWalk()

    seen = [event_id for _ in range(6) for event_id in await claimed(story, walk)]

    greedy = [EventId(f"evt_greedy{number}") for number in (1, 2, 3)]
    assert [one for one in seen if one in mine] == mine
    assert [one for one in seen if one not in mine] == greedy
    assert all((one in mine) != (other in mine) for one, other in pairwise(seen))


async def test_slots_of_one_claim_are_shared_by_projects(story: Story) -> None:
    await backlog(story.database, "greedy")
    mine = await starts(story, 3)

    seen = await claimed(story, ClaimWalk(), limit=4)

    assert sorted(seen) == sorted(["evt_greedy1", "evt_greedy2", *mine[:2]])


@pytest.mark.parametrize(("limit", "due_limit"), [(2, 2), (16, 16), (1, 16)])
async def test_due_receipts_of_one_project_leave_slots_for_others(
    story: Story, limit: int, due_limit: int
) -> None:
    await backlog(story.database, "greedy", kind="due")
    (mine,) = await starts(story)

    async with story.database.transaction() as session:
        found = await outbox.claim(
            session, START, limit=limit, due_limit=due_limit, walk=ClaimWalk()
        )

    assert mine in [batch.event_id for batch in found]
    assert len([batch for batch in found if batch.is_due]) == max(limit, due_limit) - 1


async def test_rows_that_wait_for_their_head_hide_nothing(story: Story) -> None:
    (held, *others) = await starts(story, 4)
    async with story.database.transaction() as session:
        await session.execute(
            text("UPDATE outbox SET claimed_until = :until WHERE event_id = :held"),
            {"until": to_unix_ms(START + timedelta(hours=1)), "held": held},
        )
        values = {"held": held, "first": -2 * ENDS_LOOKED_AT}
        row = (
            "INSERT INTO outbox (id, event_id, kind, fields, created_at)"
            " VALUES (:id, :held, 'result', '{}', 0)"
        )
        # Older than the others' rows, and younger than their own head.
        await session.execute(text("UPDATE outbox SET id = -1000 WHERE event_id = :held"), values)
        rows = [values | {"id": number} for number in range(-2 * ENDS_LOOKED_AT, 0)]
        await session.execute(text(row), rows)

    assert await claimed(story, ClaimWalk(), limit=10) == others


@pytest.mark.parametrize("statistics", ["none", "old", "new", "kept plan"])
@pytest.mark.parametrize("kind", ["fresh", "tried", "due", "urgent"])
async def test_claim_reads_a_bounded_part_by_index(
    story: Story, kind: str, statistics: str
) -> None:
    if statistics == "old":
        await starts(story, 3)
        await analyze(story.database)
    if statistics == "kept plan":  # of a prepared statement, made while the tables were small
        for _ in range(CLAIMS_UNTIL_KEPT):
            await claimed(story, ClaimWalk())
    await backlog(story.database, "greedy", LARGE_BACKLOG, kind=kind)
    await starts(story)
    if statistics == "new":
        await analyze(story.database)
    faults: list[str] = []

    async with story.database.transaction() as session:
        before = await rows_read(session)
        with noted(session) as statements:
            found = await outbox.claim(
                session, START, limit=16, due_limit=16, urgent_limit=8, walk=ClaimWalk()
            )
        read = await rows_read(session) - before
        if story.database.dialect == "sqlite":
            for statement, values in list(statements):
                plan = await plan_of(session, statement, values)
                faults += reads_of_whole(plan)

    assert len(found) >= 16
    assert len({batch.receipt.project_id for batch in found}) == 2
    assert (faults, read) == ([], min(read, MOST_READ))


async def analyze(database: Database) -> None:
    """Collect statistics, as PostgreSQL does by itself."""
    async with database.transaction() as session:
        await session.execute(text("ANALYZE"))


async def rows_read(session: AsyncSession) -> int:
    """The rows that PostgreSQL has read in this transaction, by scans of tables and of indexes.

    Not the index entries of deleted rows: they are those of the tests before, in the same database,
    which no autovacuum has removed.
    """
    if session.get_bind().dialect.name == "sqlite":
        return 0
    tables = "SELECT oid FROM pg_class WHERE relname IN ('outbox', 'receipts')"
    indexes = f"SELECT indexrelid FROM pg_index WHERE indrelid IN ({tables})"
    of_tables = f"SELECT sum(pg_stat_get_xact_tuples_returned(oid)) FROM ({tables}) AS t"
    of_all = (
        f"SELECT sum(pg_stat_get_xact_tuples_fetched(oid)) FROM ({tables} UNION {indexes}) AS a"
    )
    return int(await session.scalar(text(f"SELECT ({of_tables}) + ({of_all})")) or 0)
