"""Projects take turns in the outbox, whatever another has there, at a bounded cost of a claim."""

import re
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts import outbox
from store.receipts.outbox import enqueue_starts
from store.receipts.outbox_heads import PLAIN_LOOKED_AT, PLAIN_WALKED, ClaimWalk, plain_heads
from tests.store.explained import noted, plan_of, rows_read
from tests.store.receipts.test_overdue_turns import pile_up
from tests.support.given import START, Story

FAR = 10**13  # a deadline in milliseconds
BACKLOG = 5_000
# Rows that the walk of one claim passes, and one claim for the turn itself.
CLAIMS = 2 * BACKLOG // PLAIN_WALKED + 2
# From the sixth on, PostgreSQL may keep one plan for all values.
CLAIMS_UNTIL_KEPT = 8
# A table read to its end, or rows sorted or hashed.
WHOLE = re.compile(r"SCAN (outbox|receipts)\b|TEMP B-TREE|Seq Scan|Sort|Hash")


async def backlog(database: Database, name: str, count: int = BACKLOG) -> None:
    """Starts of so many receipts of one project, none of them due."""
    await pile_up(database, name, count, first=FAR, is_analyzed=False)
    starts = (
        "INSERT INTO outbox (event_id, kind, fields, created_at)"
        " SELECT event_id, 'start', '{}', 0 FROM receipts WHERE project_id = :project_id"
        " ORDER BY deadline_at"
    )
    async with database.transaction() as session:
        await session.execute(text(starts), {"project_id": f"{name}0"})


async def back_off(database: Database) -> None:
    """All rows failed a while ago, one after the other, and may be tried again."""
    async with database.transaction() as session:
        await session.execute(
            text("UPDATE outbox SET claimed_until = CAST(:at AS BIGINT) - 100000 + id"),
            {"at": int(START.timestamp() * 1_000)},
        )


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


async def test_rows_that_wait_for_their_head_hide_nothing(story: Story) -> None:
    (held, *others) = await starts(story, 4)
    async with story.database.transaction() as session:
        await session.execute(
            text("UPDATE outbox SET claimed_until = :until WHERE event_id = :held"),
            {"until": int((START + timedelta(hours=1)).timestamp() * 1_000), "held": held},
        )
        values = {"held": held, "first": -2 * PLAIN_LOOKED_AT}
        row = (
            "INSERT INTO outbox (id, event_id, kind, fields, created_at)"
            " VALUES (:id, :held, 'result', '{}', 0)"
        )
        # Older than the others' rows, and younger than their own head.
        await session.execute(text("UPDATE outbox SET id = -1000 WHERE event_id = :held"), values)
        rows = [values | {"id": number} for number in range(-2 * PLAIN_LOOKED_AT, 0)]
        await session.execute(text(row), rows)

    assert await claimed(story, ClaimWalk(), limit=10) == others


@pytest.mark.parametrize("has_failed", [False, True], ids=["fresh", "tried"])
@pytest.mark.parametrize("is_analyzed", [False, True], ids=["without statistics", "with them"])
async def test_claim_reads_a_bounded_part_by_index(
    story: Story, has_failed: bool, is_analyzed: bool
) -> None:
    await backlog(story.database, "greedy", 20_000)
    await starts(story)
    if has_failed:
        await back_off(story.database)
    faults: list[str] = []

    async with story.database.transaction() as session:
        if is_analyzed:
            await session.execute(text("ANALYZE"))
        with noted(session) as statements:
            heads, has_more = await plain_heads(session, START, 16, ClaimWalk())
        for statement, values in list(statements):
            plan = await plan_of(session, statement, values)
            faults += [line for line in plan if WHOLE.search(line)]
            faults += [line for line, rows in rows_read(plan) if rows > PLAIN_WALKED]

    # Of the oldest rows, the newest and a walk: where a part ends, and its heads. Then the others.
    assert (len(statements), has_more) == (8, True)
    assert len({head.project_id for head in heads}) == 2
    assert faults == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("has_failed", [False, True], ids=["fresh", "tried"])
async def test_plan_of_an_empty_outbox_reads_a_bounded_part_of_a_backlog(
    story: Story, has_failed: bool
) -> None:
    """PostgreSQL keeps the plan of a prepared statement, from when its tables were small."""
    async with story.database.transaction() as session:
        for _ in range(CLAIMS_UNTIL_KEPT):
            await plain_heads(session, START, 16, ClaimWalk())
    await backlog(story.database, "greedy", 20_000)
    await starts(story)
    if has_failed:
        await back_off(story.database)

    async with story.database.transaction() as session:
        before = await rows_of_outbox(session)
        heads, has_more = await plain_heads(session, START, 16, ClaimWalk())
        read = await rows_of_outbox(session) - before

    assert has_more
    assert len({head.project_id for head in heads}) == 2
    # A row is read where its part ends, in its part, and as the first of its receipt.
    assert read <= 3 * (2 * PLAIN_LOOKED_AT + PLAIN_WALKED)


async def rows_of_outbox(session: AsyncSession) -> int:
    """The rows of the table and of its indexes that this transaction has read."""
    read = text(
        "SELECT sum(pg_stat_get_xact_tuples_returned(oid)) FROM pg_class"
        " WHERE oid = 'outbox'::regclass"
        " OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'outbox'::regclass)"
    )
    return int(await session.scalar(read) or 0)
