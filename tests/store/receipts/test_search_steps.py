"""Each step of a search finds the newest matches, and ranges read side by side lose no key."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bench.fill_lists import Filled, fill_lists
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.lists.merge import MergedRanges
from store.receipts.lists.order import EVENT_LIST, NEWEST_MS, OLDEST_MS, Bounds, Key
from store.receipts.lists.pages import prefer_indexes
from store.receipts.lists.ranges import Ranges, project_ranges
from store.receipts.lists.search import Search, SearchSteps, search

EVERYTHING = Bounds(OLDEST_MS, Key(NEWEST_MS, ""))
FAR = 1_000_000
RECEIPTS = 3_000
# By the step that ends the search of a rare text.
STEPS = {
    "check": SearchSteps(first=10, before_index=FAR, before_scan=FAR, candidates=0),
    "index": SearchSteps(first=10, before_index=20, before_scan=FAR, candidates=FAR),
    "check after a frequent text": SearchSteps(
        first=10, before_index=20, before_scan=FAR, candidates=0
    ),
    "scan": SearchSteps(first=10, before_index=20, before_scan=40, candidates=0),
}
TEXTS = ("order-", "ORDER-1000", "0017", "17", "r-1", "order-order-1", "-", "sub_3")
_MATCHES = """
SELECT accepted_at, event_id FROM receipts
WHERE lower(internal_reference || ' ' || provider_event_id || ' '
  || COALESCE(customer_reference, '')) LIKE :pattern ESCAPE '/'
ORDER BY accepted_at DESC, event_id DESC"""

_ONE_INSTANT = """
UPDATE receipts SET accepted_at = (SELECT max(accepted_at) FROM receipts)
WHERE accepted_at > (SELECT min(accepted_at) + (max(accepted_at) - min(accepted_at)) / 3
  FROM receipts)"""


async def matches(session: AsyncSession, q: str) -> list[Key]:
    """The keys of all receipts with the text, by a comparison with every row."""
    pattern = f"%{q.lower().replace('_', '/_')}%"
    return [Key(*row) for row in await session.execute(text(_MATCHES), {"pattern": pattern})]


async def filled_ranges(database: Database) -> Ranges:
    """A range for each project of a store with 3,000 receipts."""
    return project_ranges((await fill_lists(database, RECEIPTS)).projects)


@pytest.fixture
def ranges(filled: Filled) -> Ranges:
    """A range for each project of the filled store."""
    return project_ranges(filled.projects)


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
async def test_every_step_finds_the_newest_matches(
    filled_database: Database, ranges: Ranges, steps: SearchSteps
) -> None:
    async with filled_database.reading() as session:
        st = SessionStatements(session)
        await prefer_indexes(st)
        for q in TEXTS:
            asked = Search(EVENT_LIST, ranges, EVERYTHING, q, steps)
            found = await search(st, asked, count=15)
            assert list(found) == (await matches(session, q))[:15], q


async def test_search_below_a_key_finds_older_matches_only(
    filled_database: Database, ranges: Ranges
) -> None:
    async with filled_database.reading() as session:
        every = await matches(session, "0017")
        for steps in STEPS.values():
            asked = Search(EVENT_LIST, ranges, Bounds(every[-1].at_ms, every[0]), "0017", steps)
            found = await search(SessionStatements(session), asked, count=FAR)
            assert list(found) == every[1:-1]


@pytest.mark.parametrize("rows", [1, 40, 700, FAR])
async def test_ranges_of_different_length_are_read_newest_first(
    filled_database: Database, ranges: Ranges, rows: int
) -> None:
    merged, found = MergedRanges(EVENT_LIST, ranges, EVERYTHING), list[Key]()

    async with filled_database.reading() as session:
        while not merged.is_done:
            found += await merged.read(SessionStatements(session), rows)
        every = await matches(session, "")

    assert len(every) == RECEIPTS
    assert found == every


@pytest.mark.parametrize("rows", [3, 500, FAR])
async def test_ranges_with_many_rows_of_one_instant_and_gaps_are_read_newest_first(
    database: Database, rows: int
) -> None:
    ranges = await filled_ranges(database)
    async with database.transaction() as session:
        # Two thirds have one instant; the others are older by eight months.
        await session.execute(text(_ONE_INSTANT))
    merged, found, reads = MergedRanges(EVENT_LIST, ranges, EVERYTHING), list[Key](), 0

    async with database.reading() as session:
        while not merged.is_done:
            found += await merged.read(SessionStatements(session), rows)
            reads += 1
        every = await matches(session, "")

    assert found == every
    assert reads <= 20 + 2 * len(every) / rows
