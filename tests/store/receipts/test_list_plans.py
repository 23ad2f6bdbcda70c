"""The lists, searches and counts of `bench.lists` read no large table from end to end.

One step may: the scan of a search for a frequent text, which reads the rest of its ranges in the
order of their index. Its plan is read too.
"""

import pytest
from sqlalchemy import text

from bench.fill_lists import YEAR_MS, Filled, fill_lists
from bench.lists import lists, read_sample
from domain.ids import ProjectId
from store.audit.log import AuditFilters, list_audit
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.lists.kinds import kind_ranges
from store.receipts.lists.order import (
    EVENT_LIST,
    INCIDENT_LIST,
    NEWEST_MS,
    OLDEST_MS,
    Bounds,
    Key,
    ListedTable,
)
from store.receipts.lists.pages import prefer_indexes
from store.receipts.lists.ranges import Kind, project_ranges
from store.receipts.lists.search import Search, SearchSteps, search
from store.receipts.lists.search_index import Progress, index_batch, projects_behind
from tests.store.explained import faults_of, noted, plan_of, rows_read

RECEIPTS = 20_000
# Their statements are those of the other readers, with other values.
READ_AS_OTHERS = ("a small project", "a member's ten")


async def faults_of_lists(database: Database, filled: Filled) -> dict[str, list[str]]:
    """The faults of each query of `bench.lists`, by its name."""
    sample = await read_sample(database, filled)
    faults: dict[str, list[str]] = {}
    for name, query in lists(filled, sample).items():
        if any(reader in name for reader in READ_AS_OTHERS):
            continue
        async with database.reading() as session:
            with noted(session) as statements:
                await query(session)
            assert statements, name
            for statement, values in statements:
                if "set_config" in statement:
                    continue
                found = faults_of(await plan_of(session, statement, values), statement)
                faults.setdefault(name, []).extend([statement, *found] if found else [])
    return {name: found for name, found in faults.items() if found}


@pytest.mark.parametrize("analyzed", [True, False], ids=["with statistics", "without"])
async def test_every_list_is_read_by_its_index(database: Database, analyzed: bool) -> None:
    filled = await fill_lists(database, RECEIPTS, is_analyzed=analyzed)

    assert await faults_of_lists(database, filled) == {}


SCANNED = {
    "events": (EVENT_LIST, ()),
    "events of a state": (EVENT_LIST, ("applied",)),
    "incidents": (INCIDENT_LIST, ()),
    "incidents of a state": (INCIDENT_LIST, ("resolved",)),
}


@pytest.mark.parametrize(("listed", "states"), SCANNED.values(), ids=SCANNED)
async def test_scan_of_a_frequent_text_reads_its_ranges_by_their_index(
    database: Database, listed: ListedTable, states: tuple[str, ...]
) -> None:
    filled = await fill_lists(database, RECEIPTS)
    ranges = project_ranges(filled.projects)
    steps = SearchSteps(first=10, before_index=20, before_scan=40, candidates=-1)

    async with database.reading() as session:
        st = SessionStatements(session)
        if states:
            kind = Kind(states, None, None, None)
            ranges = (await kind_ranges(st, listed, filled.projects, kind)).ranges
        asked = Search(listed, ranges, Bounds(OLDEST_MS, Key(NEWEST_MS, "")), "zzz-none", steps)
        await prefer_indexes(st)
        with noted(session) as statements:
            await search(st, asked, count=20)
        ((statement, values),) = [one for one in statements if is_scan(one[0], listed)]
        plan = await plan_of(session, statement, values)

    assert faults_of(plan, statement, most_rows=RECEIPTS) == []


def is_scan(statement: str, listed: ListedTable) -> bool:
    """Whether it reads ranges and compares the texts of each row."""
    return f"FROM {listed.name} AS t" in statement and "internal_reference" in statement


def test_removed_rows_are_counted_in_all_loops() -> None:
    plan = [
        "->  Index Scan using receipts_by_state on receipts t (actual rows=0.00 loops=300)",
        "      Filter: (q)",
        "      Rows Removed by Filter: 30",
        "->  Index Scan using receipts_by_time on receipts u (never executed)",
    ]

    assert [rows for _, rows in rows_read(plan)] == [0, 9_000]
    assert faults_of(plan, "") == [plan[2]]


async def test_search_index_reads_only_what_it_does_not_hold(database: Database) -> None:
    filled = await fill_lists(database, RECEIPTS)
    behind = Progress(filled.projects[0], filled.from_ms + YEAR_MS // 2, "")
    faults: list[str] = []

    async with database.transaction() as session:
        st, now = SessionStatements(session), await database.now(session)
        with noted(session) as statements:
            assert await projects_behind(st, now) == []
            await index_batch(st, behind, now, limit=20)
        for statement, values in statements:
            faults += faults_of(await plan_of(session, statement, values), statement)

    assert faults == []


async def test_a_scan_is_a_fault(database: Database) -> None:
    await fill_lists(database, RECEIPTS)
    statement = "SELECT event_id FROM receipts WHERE lower(request_id) = 'none'"

    async with database.reading() as session:
        plan = await plan_of(session, statement, ())

    assert faults_of(plan, statement)


@pytest.mark.parametrize(
    "filters",
    [
        AuditFilters(None, actor="usr_1"),
        AuditFilters(None, action="none"),
        AuditFilters(ProjectId("prj_1")),
    ],
    ids=["actor", "action", "project"],
)
async def test_audit_log_is_listed_by_its_indexes(
    database: Database, filters: AuditFilters
) -> None:
    await fill_audit_log(database)

    async with database.reading() as session:
        with noted(session) as statements:
            await list_audit(session, filters, limit=20, cursor=None)
        plan = await plan_of(session, *statements[-1])

    assert faults_of(plan, statements[-1][0]) == []


async def fill_audit_log(database: Database) -> None:
    """Insert 20,000 entries of one actor and one action."""
    async with database.transaction() as session:
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
        columns = "sequence, at, actor, action, details, previous_hash, hash"
        await session.execute(
            text(
                f"INSERT INTO audit_log ({columns}) {numbers}"
                "SELECT i, i, 'usr_other', 'project_created', '{}', '', 'hash' || i FROM n"
            )
        )
