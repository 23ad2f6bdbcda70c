"""The overdue receipts of each project:

what one project has by the thousand costs the others nothing.
"""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, ProjectId
from store.db.database import Database
from store.receipts.reconcile.overdue import (
    OverdueByProject,
    overdue_receipts,
    overdue_receipts_by_project,
)
from tests.store.explained import noted, plan_of
from tests.support.given import START, Story

# As many receipts of as many projects as asked for, each a millisecond after the one before; their
# deadlines are long past.
_MANY = """
INSERT INTO receipts (event_id, project_id, livemode, state, provider, provider_event_id,
  event_type, effect_type,
    internal_reference, occurred_at, accepted_at, timeout_at, deadline_at, flags, request_id)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
SELECT 'evt_' || :name || i, :name || CASE WHEN :projects = 1 THEN 0 ELSE i % :projects END,
  :livemode, 'waiting', 'stripe',
    'e' || :name || i, 'invoice.paid', 'access_unlock', 'order', 0, 0,
    CAST(:first AS BIGINT) + i, CAST(:first AS BIGINT) + i, '', 'req' FROM n"""


async def pile_up(
    database: Database,
    name: str,
    count: int,
    *,
    projects: int = 1,
    first: int = 0,
    is_analyzed: bool = True,
) -> None:
    """Overdue receipts of the projects NAME0, NAME1, …; the first deadline at `first`, in
    milliseconds.
    """
    values = {"name": name, "count": count, "projects": projects, "first": first, "livemode": False}
    async with database.transaction() as session:
        await session.execute(text(_MANY), values)
    if is_analyzed and database.dialect == "postgresql":
        async with database.transaction() as session:
            await session.execute(text("ANALYZE receipts"))


async def of_each(
    database: Database, *, after: str | None = None, projects: int = 100, of_each: int = 2
) -> OverdueByProject:
    async with database.reading() as session:
        asked = None if after is None else ProjectId(after)
        return await overdue_receipts_by_project(
            session, START, after=asked, projects=projects, of_each=of_each
        )


async def test_the_longest_overdue_of_each_project_are_found_whatever_another_has(
    database: Database, story: Story
) -> None:
    await pile_up(database, "greedy", 20_000)
    story.at = START - timedelta(hours=2)
    late, later = (
        await story.receipt(timeout_minutes=20.0),
        await story.receipt(timeout_minutes=119.0),
    )
    await story.receipt(timeout_minutes=121.0)

    found = await of_each(database, of_each=3)

    ids: dict[str, list[str]] = {}
    for one in found.receipts:
        ids.setdefault(one.project_id, []).append(one.event_id)
    assert ids == {
        "greedy0": ["evt_greedy1", "evt_greedy2", "evt_greedy3"],
        story.project.id: [late, later],
    }
    assert found.last_project is None


async def test_projects_are_looked_at_part_by_part_whether_they_have_something_overdue_or_not(
    database: Database, story: Story
) -> None:
    await pile_up(database, "a", 5, projects=5)
    await pile_up(database, "b", 2, first=10**15)
    await pile_up(database, "c", 1)

    first = await of_each(database, projects=5)
    second = await of_each(database, projects=2, after=first.last_project)
    third = await of_each(database, projects=2, after=second.last_project)

    parts = [
        ([one.project_id for one in part.receipts], part.last_project)
        for part in (first, second, third)
    ]
    assert parts == [(["a0", "a1", "a2", "a3", "a4"], "a4"), (["c0"], "c0"), ([], None)]


async def test_one_projects_overdue_are_read_part_by_part(database: Database, story: Story) -> None:
    await pile_up(database, "a", 10)
    await pile_up(database, "b", 10)

    async with database.reading() as session:
        first = await overdue_receipts(
            session, START, after=None, limit=6, project_id=ProjectId("a0")
        )
        rest = await overdue_receipts(
            session, START, after=first[-1], limit=6, project_id=ProjectId("a0")
        )

    assert [one.event_id for one in (*first, *rest)] == [
        EventId(f"evt_a{number}") for number in range(1, 11)
    ]


@pytest.mark.parametrize("asked", ["each", "one"])
async def test_overdue_receipts_are_read_from_the_index_of_each_project(
    database: Database, story: Story, asked: str
) -> None:
    await pile_up(database, "a", 20_000)
    await pile_up(database, "b", 1_000, projects=500, first=10**15)
    await pile_up(database, "c", 1_000, first=10**6)

    async with database.reading() as session:
        plan = await plan_of_overdue(session, asked)

    assert "receipts_overdue" in plan
    assert "Seq Scan on receipts" not in plan
    assert "SCAN receipts" not in plan
    assert "SCAN due" not in plan
    assert "TEMP B-TREE" not in plan
    assert "receipts_by_state" not in plan


async def plan_of_overdue(session: AsyncSession, asked: str) -> str:
    """The query plan of the statement that the function executes."""
    with noted(session) as statements:
        if asked == "each":
            await overdue_receipts_by_project(
                session, START, after=None, projects=2_000, of_each=20
            )
        else:
            await overdue_receipts(
                session, START, after=None, limit=100, project_id=ProjectId("c0")
            )
    return "\n".join(await plan_of(session, *statements[-1]))
