"""Words find an incident by its error, request and repair, before and after it is indexed."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.lists.order import (
    EVENT_LIST,
    INCIDENT_LIST,
    NEWEST_MS,
    OLDEST_MS,
    Bounds,
    Key,
    ListedTable,
    incident_list,
)
from store.receipts.lists.ranges import project_ranges
from store.receipts.lists.search import Search, SearchSteps, search
from store.receipts.lists.search_index import (
    INCIDENTS,
    follow_clock,
    index_batch,
    projects_behind,
)
from tests.support.given import Story

FAR = 1_000_000
# The step that ends the search: a comparison with each row, or the index.
CHECK = SearchSteps(first=1, before_index=FAR, before_scan=FAR, candidates=0)
INDEX = SearchSteps(first=1, before_index=1, before_scan=FAR, candidates=FAR)
SCAN = SearchSteps(first=1, before_index=1, before_scan=1, candidates=0)
LISTS = {"events": EVENT_LIST, "incidents": INCIDENT_LIST, "oldest": incident_list("opened_at")}


async def found(
    database: Database, story: Story, table: ListedTable, word: str, steps: SearchSteps
) -> int:
    ranges = project_ranges([story.project.id])
    bounds = Bounds(OLDEST_MS, Key(NEWEST_MS, ""))
    if table.is_ascending:
        bounds = Bounds(NEWEST_MS, Key(OLDEST_MS, ""))
    async with database.reading() as session:
        asked = Search(table, ranges, bounds, word, steps)
        return len(await search(SessionStatements(session), asked, count=20))


async def index(database: Database, story: Story, **span: float) -> None:
    now = story.at + timedelta(**span)
    async with database.transaction() as session:
        st = SessionStatements(session)
        for behind in await projects_behind(st, now):
            await index_batch(st, behind, now)


@pytest.mark.parametrize("table", LISTS.values(), ids=LISTS)
async def test_incident_is_found_by_its_error_its_request_and_its_repair(
    database: Database, story: Story, table: ListedTable
) -> None:
    event_id = await story.receipt(request_id="req_of_the_receipt")
    await index(database, story, minutes=2)
    story.later(minutes=30)
    error = {"error_code": "seat_limit", "error_message": "No SEAT is\nleft for Émile"}
    await story.result(event_id, status="failed", **error)
    # Newer and older rows, so that the search goes on to its next step.
    for number in range(3):
        await story.opened(internal_reference=f"hay {number}")
    _, replay_id = await story.repairing()
    words = {
        "seat_limit": 1,
        "no seat": 1,
        "for Émile": 1,
        "for émile": 0,
        "req_of_the_receipt": 1,
        "req_of_the": 0,
        replay_id: 1,
        replay_id[:-1]: 0,
    }

    before = {word: await found(database, story, table, word, INDEX) for word in words}
    await index(database, story, hours=2)
    after = {
        steps: {word: await found(database, story, table, word, steps) for word in words}
        for steps in (CHECK, INDEX, SCAN)
    }

    assert before == words
    assert list(after.values()) == [words] * 3
    async with database.reading() as session:
        wanted = text("SELECT text FROM search_texts WHERE event_id = :id")
        stored = await session.scalar(wanted, {"id": event_id})
        assert stored is not None
        assert "seat_limit" in stored
        st = SessionStatements(session)
        assert await projects_behind(st, story.at + timedelta(hours=2)) == []


async def test_clock_that_was_set_back_indexes_incidents_again(
    database: Database, story: Story
) -> None:

    await story.opened()
    await index(database, story, hours=2)
    async with database.transaction() as session:
        st = SessionStatements(session)
        await follow_clock(st, story.at - timedelta(hours=1))
        behind = await projects_behind(st, story.at + timedelta(hours=2))

    assert INCIDENTS in [progress.of for progress in behind]
