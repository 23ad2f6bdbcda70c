"""Lists of a project with names of its own: complete, whichever filters, and read by indexes."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from bench.fill_lists import NUMBER, Filled, fill_lists
from domain.ids import ProjectId
from store.db.database import Database
from store.receipts.queries import ListFilters, list_events, list_incidents
from tests.store.explained import faults_of, noted, plan_of
from tests.store.receipts.test_list_search import all_pages, every_match

RECEIPTS = 20_000
OWN, PLAIN = ProjectId("prj_00"), ProjectId("prj_01")
FILTERS = (
    ListFilters(OWN, provider="paddle"),
    ListFilters(OWN, provider="stripe"),
    ListFilters(OWN, provider="shopify", states=("recovered", "closed")),
    ListFilters(OWN, provider="lemon"),
    ListFilters(OWN, event_type="paddle.paid"),
    ListFilters(OWN, event_type="invoice.paid"),
    ListFilters(OWN, states=("waiting", "incident")),
    ListFilters(None, provider="paddle"),
    ListFilters(None, within=(OWN, PLAIN), provider="stripe", states=("incident",)),
    ListFilters(None, event_type="invoice.voided"),
)
# A tenth of the project's receipts are of its own provider, some with a type of Stripe's; and some
# of Stripe's have a type that the project added.
_CHANGES = (
    "UPDATE projects SET providers = 'paddle -lemon', event_types = 'invoice.voided'"
    " WHERE id = 'prj_00'",
    "UPDATE receipts SET provider = 'paddle', event_type = CASE"
    f" WHEN {NUMBER} % 3 = 0 THEN event_type WHEN {NUMBER} % 3 = 1 THEN 'paddle.paid'"
    " ELSE 'paddle.' || substr(event_id, 20, 2) END"
    f" WHERE project_id = 'prj_00' AND {NUMBER} % 10 = 0",
    "UPDATE receipts SET event_type = 'invoice.voided'"
    f" WHERE project_id = 'prj_00' AND provider = 'stripe' AND {NUMBER} % 10 = 1",
    "UPDATE incidents SET event_type = (SELECT r.event_type FROM receipts AS r"
    " WHERE r.event_id = incidents.event_id)",
)


async def filled_with_own(database: Database, *, is_analyzed: bool = True) -> Filled:
    filled = await fill_lists(database, RECEIPTS, is_analyzed=is_analyzed)
    async with database.transaction() as session:
        for statement in _CHANGES:
            await session.execute(text(statement))
    return filled


async def test_pages_hold_every_row_that_matches(database: Database) -> None:
    await filled_with_own(database)

    for filters in FILTERS:
        for q in (None, "order-", "0017", "evt_"):
            asked = replace(filters, q=q)
            assert await all_pages(database, asked) == await every_match(database, asked), asked


async def incidents_that_match(database: Database, filters: ListFilters) -> list[str]:
    """The newest 100 incidents, by a comparison of every receipt with the filters."""
    names = ("project_id", "provider", "event_type")
    values = {name: value for name in names if (value := getattr(filters, name)) is not None}
    conditions = [f"r.{name} = :{name}" for name in values]
    if filters.within is not None:
        conditions.append(f"r.project_id IN ({', '.join(map(repr, map(str, filters.within)))})")
    sql = (
        "SELECT i.id FROM incidents AS i JOIN receipts AS r ON r.event_id = i.event_id"
        f" WHERE {' AND '.join(conditions)} ORDER BY i.opened_at DESC, i.id DESC LIMIT 100"
    )
    async with database.reading() as session:
        return list(await session.scalars(text(sql), values))


async def test_incidents_are_those_of_the_receipts_that_match(database: Database) -> None:
    await filled_with_own(database)

    for filters in FILTERS:
        asked = replace(filters, states=())
        async with database.reading() as session:
            page = await list_incidents(session, asked, limit=100, cursor=None)
        found = [row.incident.id for row in page.rows]
        assert found == await incidents_that_match(database, asked), asked


@pytest.mark.parametrize("analyzed", [True, False], ids=["with statistics", "without"])
async def test_lists_are_read_by_their_indexes(database: Database, analyzed: bool) -> None:
    await filled_with_own(database, is_analyzed=analyzed)
    faults: list[str] = []

    for filters in FILTERS:
        for list_page in (list_events, list_incidents):
            asked = filters if list_page is list_events else replace(filters, states=())
            async with database.reading() as session:
                with noted(session) as statements:
                    await list_page(session, asked, limit=20, cursor=None)
                for statement, values in statements:
                    if "set_config" not in statement:
                        plan = await plan_of(session, statement, values)
                        faults += faults_of(plan, statement)

    assert faults == []
