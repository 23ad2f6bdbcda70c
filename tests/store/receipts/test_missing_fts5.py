"""A file that was made with FTS5 is searched and erased by a SQLite without it.

The table names a module that no SQLite has, which is what such a SQLite finds.
"""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from cli.doctor.findings import Verdict
from cli.doctor.store import check_search_index
from store.db.database import Clock, Database, sqlite_path
from store.db.sql import SessionStatements
from store.migrate import migrate
from store.projects.deletion import erase_deleted
from store.receipts.lists.search_index import has_trigrams
from store.receipts.queries import ListFilters, list_events
from tests.store.projects.delete_project import LATER, delete, rows_left
from tests.support.given import Story
from tests.support.waiting import wait_until_async
from worker.loops.search_index import index_all, search_index_loop

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

_RENAME_MODULE = """
UPDATE sqlite_master SET sql = replace(sql, ' USING {0}(', ' USING {1}(')
WHERE name = 'search_trigrams'"""


def rename_module(url: str, old: str, new: str) -> None:
    with closing(sqlite3.connect(sqlite_path(url), isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        changed = connection.execute(_RENAME_MODULE.format(old, new)).rowcount
        connection.execute("PRAGMA writable_schema = RESET")
        assert changed == 1


@contextmanager
def without_fts5(url: str) -> Iterator[None]:
    """The block's new connections have no module for the index."""
    rename_module(url, "fts5", "absent")
    yield
    rename_module(url, "absent", "fts5")


class CountingClock(Clock):
    """The usual clock, which counts how often it is read."""

    reads = 0

    @property
    def skew(self) -> timedelta:
        self.reads += 1
        return timedelta()

    @skew.setter
    def skew(self, _: timedelta) -> None:
        pass


async def index(url: str) -> int | None:
    """A turn of a worker whose clock is a day later."""
    later = Database.open(url, clock=Clock(timedelta(days=1)))
    try:
        return await index_all(later, pause_per_batch=0)
    finally:
        await later.close()


async def references_with(url: str, q: str) -> list[str]:
    database = Database.open(url)
    async with database.reading() as session:
        page = await list_events(session, ListFilters(None, q=q), limit=20, cursor=None)
    await database.close()
    return [row.receipt.internal_reference for row in page.rows]


async def fill(story: Story) -> None:
    """One needle, and more rows after it than a search checks first."""
    await story.receipt(internal_reference="needle 4711")
    story.later(seconds=1)
    for number in range(600):
        await story.receipt(internal_reference=f"hay {number}")


async def test_search_goes_on_without_the_module(story: Story) -> None:
    await fill(story)
    url = story.database.url
    await index(url)
    await story.database.close()

    with without_fts5(url):
        found = await references_with(url, "EEDLE 47")

    assert found == await references_with(url, "EEDLE 47") == ["needle 4711"]


async def test_erasure_goes_on_without_the_module_and_leaves_no_text(story: Story) -> None:
    url = story.database.url
    event_ids = [await story.receipt()]
    await index(url)
    await delete(story)
    async with story.database.transaction() as session:
        await session.execute(text("UPDATE receipts SET ended_at = 1"))
        await session.execute(text("DELETE FROM outbox"))
        assert list(await session.scalars(text("SELECT event_id FROM search_texts"))) == event_ids
    await story.database.close()

    with without_fts5(url):
        database = Database.open(url)
        with pytest.raises(OperationalError, match="no such module"):
            async with database.transaction() as session:
                await session.execute(text("DELETE FROM search_texts"))
        async with database.transaction() as session:
            erased = await erase_deleted(session, LATER + timedelta(minutes=5))
        async with database.reading() as session:
            parts = await session.scalars(
                text("SELECT count(*) FROM search_trigrams_data WHERE id > 10")
            )
        await database.close()

    assert (erased.receipts, list(parts)) == (1, [0])
    story.database = Database.open(url)
    assert not any((await rows_left(story, story.project.id, event_ids)).values())
    await story.database.close()


async def test_migrate_with_the_module_makes_the_index_again(story: Story) -> None:
    await fill(story)
    url = story.database.url
    await index(url)
    await story.database.close()
    with without_fts5(url):
        turn_without = await index(url)

    turn_before = await index(url)
    before = await references_with(url, "EEDLE 47")
    await asyncio.to_thread(migrate, url)
    turn_after = await index(url)

    assert (turn_without, turn_before) == (None, None)
    assert turn_after
    assert before == await references_with(url, "EEDLE 47") == ["needle 4711"]
    database = Database.open(url)
    async with database.reading() as session:
        assert await has_trigrams(SessionStatements(session))
        matching = "SELECT count(*) FROM search_trigrams WHERE search_trigrams MATCH '\"eed\"'"
        assert await session.scalar(text(matching)) == 1
    assert (await check_search_index(database)).verdict is Verdict.OK
    await database.close()


async def test_log_and_doctor_name_the_missing_module(story: Story) -> None:
    url = story.database.url
    await story.database.close()

    with without_fts5(url):
        database = Database.open(url, clock=(clock := CountingClock()))
        with capture_logs() as lines:
            loop = asyncio.create_task(search_index_loop(database, every_seconds=0.01))
            await wait_until_async(lambda: clock.reads >= 5, what="five turns")
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop
        finding = await check_search_index(database)
        await database.close()

    assert [line["event"] for line in lines] == ["search_index_missing"]
    assert finding.verdict is Verdict.WARN
    assert finding.fix is not None
    assert "FTS5" in finding.fix
