"""Lists and searches of a filled store return what a comparison with every row returns."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from bench.fill_lists import Filled, fill_lists
from domain.ids import ProjectId
from domain.projects import CreatedProject
from store.db.database import Clock, Database
from store.db.sql import SessionStatements
from store.receipts.lists.search_index import (
    Progress,
    follow_clock,
    has_trigrams,
    index_batch,
    projects_behind,
)
from store.receipts.queries import ListFilters, list_events, list_incidents
from tests.support.given import Story
from worker.loops.search_index import index_all

RECEIPTS = 20_000
TEXTS = ("0017", "Order-1000", "evt_", "sub_31", "%", "none-zzz", "00_17", '7"7')
FILTERS = (
    ListFilters(None),
    ListFilters(project_id=ProjectId("prj_00")),
    ListFilters(None, within=(ProjectId("prj_03"), ProjectId("prj_07"))),
    ListFilters(None, event_type="charge.dispute.created"),
    ListFilters(None, provider="shopify", states=("recovered", "closed")),
    ListFilters(None, internal_reference="sub_31"),
)
_MATCHES = """
SELECT event_id FROM receipts
WHERE (lower(internal_reference) LIKE lower(:pattern) ESCAPE '/'
  OR lower(provider_event_id) LIKE lower(:pattern) ESCAPE '/'
  OR lower(customer_reference) LIKE lower(:pattern) ESCAPE '/')"""


async def all_pages(database: Database, filters: ListFilters) -> list[str]:
    """The ids of every page of events, in the order of the pages."""
    seen: list[str] = []
    cursor: str | None = None
    while True:
        async with database.reading() as session:
            page = await list_events(session, filters, limit=100, cursor=cursor)
        seen += [row.receipt.event_id for row in page.rows]
        cursor = page.next_cursor
        if cursor is None or len(seen) >= 2_000:
            return seen


async def every_match(database: Database, filters: ListFilters) -> list[str]:
    """The same, by a comparison with every row."""
    conditions, values = [""], {"pattern": "%"}
    for name in ("project_id", "provider", "event_type", "internal_reference"):
        if (value := getattr(filters, name)) is not None:
            conditions.append(f"{name} = :{name}")
            values[name] = value
    for name, allowed in (("state", filters.states), ("project_id", filters.within or ())):
        if allowed:
            conditions.append(f"{name} IN ({', '.join(repr(str(one)) for one in allowed)})")
    if filters.q is not None:
        escaped = filters.q.replace("%", "/%").replace("_", "/_")
        values["pattern"] = f"%{escaped}%"
    sql = _MATCHES + " AND ".join(conditions) + " ORDER BY accepted_at DESC, event_id DESC"
    async with database.reading() as session:
        return [row[0] for row in await session.execute(text(sql), values)][:2_000]


async def assert_lists_are_complete(database: Database) -> None:
    for filters in FILTERS:
        for q in (None, *TEXTS):
            asked = replace(filters, q=q)
            assert await all_pages(database, asked) == await every_match(database, asked), asked


async def test_pages_hold_every_row_that_matches(filled_database: Database) -> None:
    async with filled_database.reading() as session:
        assert await has_trigrams(SessionStatements(session))
    await assert_lists_are_complete(filled_database)


async def test_incidents_of_a_text_are_those_of_its_receipts(filled_database: Database) -> None:
    async with filled_database.reading() as session:
        for q in ("sub_31", "0017", "order-"):
            page = await list_incidents(session, ListFilters(None, q=q), limit=100, cursor=None)
            assert page.rows
            for row in page.rows:
                receipt = row.receipt
                texts = (receipt.internal_reference, receipt.provider_event_id)
                assert q in " ".join((*texts, receipt.customer_reference or ""))


async def newest_of(database: Database, q: str) -> list[str]:
    async with database.reading() as session:
        page = await list_events(session, ListFilters(None, q=q), limit=20, cursor=None)
    return [row.receipt.internal_reference for row in page.rows]


async def test_receipt_is_found_before_it_is_indexed(database: Database, story: Story) -> None:
    filled: Filled = await fill_lists(database, RECEIPTS)
    story.project = replace(story.project, id=filled.projects[0])
    async with database.reading() as session:
        story.at = await database.now(session)
    await story.receipt(internal_reference="needle 4711")
    for number in range(600):
        await story.receipt(internal_reference=f"hay {number}")

    before = await newest_of(database, "EEDLE 47")
    later = Database.open(database.url, clock=Clock(timedelta(minutes=5)))
    await index_all(later, pause_per_batch=0)
    await later.close()

    assert before == await newest_of(database, "EEDLE 47") == ["needle 4711"]
    async with database.reading() as session:
        st = SessionStatements(session)
        behind = await projects_behind(st, await database.now(session) + timedelta(minutes=4))
        assert behind == []


class RunningClock(Clock):
    """A clock that is a second later each time that it is read, as if batches took so long."""

    @property
    def skew(self) -> timedelta:
        self.seconds = getattr(self, "seconds", 60) + 1
        return timedelta(seconds=self.seconds)

    @skew.setter
    def skew(self, _: timedelta) -> None:
        pass


async def test_steady_receipts_of_a_project_keep_no_other_out_of_the_index(
    database: Database, story: Story
) -> None:
    async with database.reading() as session:
        story.at = await database.now(session)
    for _ in range(20):
        await story.receipt()
        story.later(seconds=1)
    running = Database.open(database.url, clock=RunningClock(timedelta()))

    batches = await index_all(running, pause_per_batch=0)

    await running.close()
    # One with what was old enough at the beginning, and one that finds no more.
    assert batches == 2


async def test_project_that_was_deleted_meanwhile_is_not_indexed(
    database: Database, story: Story
) -> None:
    await story.receipt()
    later = story.at + timedelta(minutes=2)
    async with database.transaction() as session:
        st = SessionStatements(session)
        (progress,) = await projects_behind(st, later)
        await session.execute(text("UPDATE projects SET deleted_at = 1"))
        assert await index_batch(st, progress, later) is None

    async with database.reading() as session:
        assert list(await session.scalars(text("SELECT event_id FROM search_texts"))) == []


async def test_batch_is_indexed_once(
    database: Database, story: Story, project: CreatedProject
) -> None:
    event_id = await story.receipt()
    progress = Progress(project.project.id, -1, "")
    later = story.at + timedelta(minutes=2)

    for _ in range(2):
        async with database.transaction() as session:
            await index_batch(SessionStatements(session), progress, later)

    async with database.reading() as session:
        rows = await session.scalars(text("SELECT event_id FROM search_texts"))
        assert list(rows) == [event_id]


async def test_receipts_of_a_clock_that_was_set_back_are_indexed(
    database: Database, story: Story
) -> None:
    await story.receipt()
    await index(database, story, minutes=2)
    story.later(hours=-1)
    back = await story.receipt()

    async with database.transaction() as session:
        await follow_clock(SessionStatements(session), story.at)
    await index(database, story, minutes=2)

    async with database.reading() as session:
        rows = await session.scalars(text("SELECT event_id FROM search_texts"))
        assert back in list(rows)


async def index(database: Database, story: Story, *, minutes: int) -> None:
    """Index what was accepted until a minute before that many minutes from now."""
    now = story.at + timedelta(minutes=minutes)
    async with database.transaction() as session:
        st = SessionStatements(session)
        for progress in await projects_behind(st, now):
            await index_batch(st, progress, now)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_text_of_an_erased_receipt_leaves_the_index(database: Database, story: Story) -> None:
    event_id = await story.receipt(internal_reference="needle 4711")
    await index(database, story, minutes=2)
    match = text("SELECT rowid FROM search_trigrams WHERE search_trigrams MATCH '\"eed\"'")

    async with database.reading() as session:
        assert len((await session.execute(match)).all()) == 1
    async with database.transaction() as session:
        await session.execute(
            text("DELETE FROM search_texts WHERE event_id = :event_id"), {"event_id": event_id}
        )

    async with database.reading() as session:
        assert (await session.execute(match)).all() == []
