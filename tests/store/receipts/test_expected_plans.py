"""What a source saw costs as much in a store of 20,000 receipts as in an empty one.

The store has no statistics, as one that was filled within a minute.
"""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import ProjectId
from domain.receipts import ExpectedReceipt
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.expected import expect_receipts
from tests.store.explained import Statement, faults_of, noted, plan_of
from tests.store.receipts.test_overdue_turns import pile_up
from tests.support.given import START, expected_receipt

RECEIPTS = 20_000
PAGE = 100
PROJECT = ProjectId("p0")
NAMES = ("provider", "provider_event_id", "effect_type")


async def test_events_of_a_listing_are_found_by_the_index_of_their_identity(
    database: Database,
) -> None:
    await pile_up(database, "p", RECEIPTS, is_analyzed=False)
    new = [expected_receipt(PROJECT) for _ in range(PAGE // 2)]
    faults: list[str] = []

    async with database.transaction() as session:
        for _ in range(2):  # in the first, the receipts of the app get their source
            events = [*await known_events(session, PAGE // 2), *new]
            for statement, values in await statements_of(session, events):
                plan = await plan_of(session, statement, values)
                if found := faults_of(plan, statement, most_rows=PAGE, may_sort=True):
                    faults += [statement, *found]

    assert faults == []


async def test_page_of_known_events_takes_as_many_statements_as_one_event(
    database: Database,
) -> None:
    await pile_up(database, "p", 2 * PAGE, is_analyzed=False)

    async with database.transaction() as session:
        one, *others = await known_events(session, PAGE + 1)
        of_one = await statements_of(session, [one])
        of_page = await statements_of(session, others)
        again = await statements_of(session, others)

    is_postgresql = database.dialect == "postgresql"
    # Those of one event, and the lock of the receipts in the order of their ids.
    assert len(of_page) == len(of_one) + is_postgresql
    # The projects that hold results, the insertion, the look-up.
    assert len(again) == 3


async def test_new_events_are_not_looked_up(database: Database) -> None:
    new = [expected_receipt(PROJECT) for _ in range(PAGE)]

    async with database.transaction() as session:
        statements = await statements_of(session, new)

    assert [sql for sql, _ in statements if "receipts AS r" in sql] == []
    assert len(statements) == 3


async def statements_of(
    session: AsyncSession, events: Sequence[ExpectedReceipt]
) -> list[Statement]:
    """The statements that expect the receipts of these events."""
    with noted(session) as statements:
        await expect_receipts(SessionStatements(session), events, START)
    return statements


async def known_events(session: AsyncSession, count: int) -> list[ExpectedReceipt]:
    """Events whose receipts the store has."""
    stored = f"SELECT {', '.join(NAMES)} FROM receipts WHERE project_id = :id ORDER BY event_id"
    rows = await session.execute(text(f"{stored} LIMIT {count}"), {"id": PROJECT})
    return [expected_receipt(PROJECT, **dict(zip(NAMES, row, strict=True))) for row in rows]
