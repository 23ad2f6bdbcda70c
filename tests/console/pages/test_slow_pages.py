"""Slow searches and counts end with a page, and no other page waits for them."""

import asyncio
import html

import asyncpg
import pytest

from store.db.database import Database
from tests.console.conftest import Visitor
from tests.store.slowness import slow_searches
from tests.support.given import Story


async def test_slow_search_asks_to_narrow_it(
    operator: Visitor, story: Story, database: Database
) -> None:
    for _ in range(20):
        await story.receipt()
    with slow_searches(database.url):
        page = await operator.open("/events?q=nothing")

    assert page.status_code == 503
    assert "This took too long" in page.text
    assert "longer than 2 s: narrow it" in html.unescape(page.text)


async def test_third_concurrent_search_of_a_user_is_refused_with_a_page(
    operator: Visitor, story: Story, database: Database
) -> None:
    for _ in range(20):
        await story.receipt()
    with slow_searches(database.url):
        pages = await asyncio.gather(*(operator.open("/events?q=nothing") for _ in range(6)))

    assert {page.status_code for page in pages} == {503, 429}
    (refused, *_) = (page for page in pages if page.status_code == 429)
    assert "Too many requests" in refused.text


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_page_is_shown_without_slow_counts(operator: Visitor, database: Database) -> None:
    connection = await asyncpg.connect(database.url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE receipts IN ACCESS EXCLUSIVE MODE")
        page = await operator.open("/projects")
    await connection.close()

    assert page.status_code == 200
    assert "Projects" in page.text
    assert 'class="count"' not in page.text


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_missing_counts_are_not_shown_as_zero(operator: Visitor, database: Database) -> None:
    counted = await operator.open("/events")
    connection = await asyncpg.connect(database.url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE incidents IN ACCESS EXCLUSIVE MODE")
        page = await operator.open("/events")
    await connection.close()

    assert "no action needed" in counted.text
    assert page.status_code == 200
    assert "<dt>Open incidents</dt><dd>–</dd>" in page.text
    assert "not available" in page.text
