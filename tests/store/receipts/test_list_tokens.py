"""Tokens and orders of a filled store return what a look at every row returns; so do the tabs."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Row, text

from bench.fill_lists import ASSIGNEE, GROUP, YEAR_MS, Filled
from domain.errors import ValidationFailed
from domain.receipts import ReceiptState
from domain.search.sorting import EVENT_SORTS, SORTS
from domain.search.tokens import KEYS, MARKS
from domain.values.timestamps import from_unix_ms
from store.db.database import Database
from store.receipts.lists.order import Key, incident_list
from store.receipts.lists.pages import page_of_ids
from store.receipts.lists.tab_counts import TabCount, available_tabs, count_tabs
from store.receipts.lists.tokens import is_available
from store.receipts.queries import ListFilters, list_events, list_incidents, neighbour

RECEIPTS = 20_000
MOST, ME = 300, "usr_other"
_ROWS = """
SELECT i.id, i.event_id, i.state, i.reason, i.error_code, i.opened_at, i.deadline_at,
  i.sort_amount, i.amount, i.event_type, i.effect_type, i.customer_reference, r.flags,
  r.internal_reference, r.provider, r.accepted_at, r.state AS receipt_state,
  r.provider_event_id, i.error_message, i.acknowledged_at, i.snoozed_until, i.assignee, i.group_id,
  COALESCE(g.muted_until, 0) AS muted_until
FROM incidents AS i JOIN receipts AS r ON r.event_id = i.event_id
JOIN incident_groups AS g ON g.id = i.group_id"""
Meets = Callable[[Row], bool]  # type: ignore[type-arg]
COLUMNS = {"opened_at": "opened_at", "deadline_at": "deadline_at", "amount": "sort_amount"}


def tokens(now_ms: int) -> dict[str, Meets]:
    """What a row must be, by the search."""
    hour = 3_600_000
    return {
        "": lambda row: True,
        "is:open": lambda row: row.state == "open",
        "is:open is:repairing": lambda row: row.state in ("open", "repairing"),
        "is:resolved provider:shopify": lambda row: (
            row.state == "resolved" and row.provider == "shopify"
        ),
        "is:flagged": lambda row: row.flags != "",
        "is:acknowledged": lambda row: row.acknowledged_at is not None and row.state != "resolved",
        "is:acknowledged is:resolved": lambda row: False,
        "is:snoozed": lambda row: row.snoozed_until is not None,
        "is:muted": lambda row: row.muted_until > now_ms and row.state != "resolved",
        "is:muted is:resolved": lambda row: False,
        "is:muted refused": lambda row: (
            row.muted_until > now_ms
            and row.state != "resolved"
            and "refused" in (row.error_message or "")
        ),
        f"group:{GROUP}": lambda row: row.group_id == GROUP,
        f"group:{GROUP} is:resolved refused": lambda row: (
            row.group_id == GROUP
            and row.state == "resolved"
            and "refused" in (row.error_message or "")
        ),
        "group:grp_none": lambda row: False,
        "is:assigned is:resolved": lambda row: row.assignee is not None and row.state == "resolved",
        f"assignee:{ASSIGNEE.upper()}": lambda row: row.assignee == "usr_bench",
        "assignee:me is:open": lambda row: row.assignee == "usr_other" and row.state == "open",
        "assignee:none": lambda row: row.assignee is None,
        "assignee:nobody@example.test": lambda row: False,
        "is:acknowledged is:assigned": lambda row: (
            row.acknowledged_at is not None and row.state != "resolved" and row.assignee is not None
        ),
        "is:snoozed refused": lambda row: (
            row.snoozed_until is not None and "refused" in (row.error_message or "")
        ),
        "reason:missing_result": lambda row: row.reason == "missing_result",
        "error:seat_limit_reached": lambda row: row.error_code == "seat_limit_reached",
        "error:card_declined is:open type:invoice.paid": lambda row: (
            row.error_code == "card_declined"
            and row.state == "open"
            and row.event_type == "invoice.paid"
        ),
        "error:none": lambda row: False,
        "effect:credit_grant": lambda row: row.effect_type == "credit_grant",
        "ref:sub_31": lambda row: row.internal_reference == "sub_31",
        "ref:sub_31 is:resolved": lambda row: (
            row.internal_reference == "sub_31" and row.state == "resolved"
        ),
        "customer:customer_50": lambda row: row.customer_reference == "customer_50",
        "age:>4000h": lambda row: row.opened_at < now_ms - 4_000 * hour,
        "age:<=4000h reason:failed_result": lambda row: (
            row.opened_at >= now_ms - 4_000 * hour and row.reason == "failed_result"
        ),
        "amount:>50000": lambda row: row.amount is not None and row.amount > 50_000,
        "amount:<=100.00EUR": lambda row: row.amount is not None and row.amount <= 10_000,
        "amount:>1JPY": lambda row: False,
        "sub_31": lambda row: "sub_31" in f"{row.internal_reference}\n{row.error_message or ''}",
        "REFUSED sub_31": lambda row: (
            "sub_31" in f"{row.internal_reference}" and "refused" in (row.error_message or "")
        ),
        "refused is:open error:card_declined": lambda row: (
            row.state == "open" and row.error_code == "card_declined"
        ),
        '"the card of sub_31"': lambda row: "the card of sub_31" in (row.error_message or ""),
    }


async def rows_of(database: Database) -> list[Row]:  # type: ignore[type-arg]
    async with database.reading() as session:
        return list(await session.execute(text(_ROWS)))


async def listed(database: Database, filters: ListFilters, sort: str | None) -> list[str]:
    """The ids of the first pages, of 100 rows each."""
    seen: list[str] = []
    cursor: str | None = None
    while True:
        async with database.reading() as session:
            table = incident_list(sort)
            ids, cursor = await page_of_ids(session, table, filters, limit=100, cursor=cursor)
        seen += ids
        if cursor is None or len(seen) >= MOST:
            return seen


def expected(rows: list[Row], meets: Meets, sort: str) -> list[str]:  # type: ignore[type-arg]
    column = COLUMNS[sort.removeprefix("-")]
    found = [row for row in rows if meets(row)]
    found.sort(key=lambda row: (getattr(row, column), row.id), reverse=sort.startswith("-"))
    return [row.id for row in found][:MOST]


async def test_every_token_in_every_order_finds_its_rows(
    filled_database: Database, filled: Filled
) -> None:
    rows, now_ms = await rows_of(filled_database), filled.from_ms + YEAR_MS
    assert len(rows) > 500

    for number, (q, meets) in enumerate(tokens(now_ms).items()):
        # Each search in two orders, and some in each.
        for sort in SORTS[number % 3 :: 3] if number % 5 else SORTS:
            filters = ListFilters(None, q=q, now=from_unix_ms(now_ms), me=ME)
            found = await listed(filled_database, filters, sort)
            assert found == expected(rows, meets, sort), (q, sort)


async def test_events_take_the_same_search(filled_database: Database, filled: Filled) -> None:
    rows, now_ms = await rows_of(filled_database), filled.from_ms + YEAR_MS
    # Of incidents alone: other receipts have references and amounts too.
    for q, meets in tokens(now_ms).items():
        keys = ("error:", "reason:", "is:", "assignee:", "group:")
        if not any(key in q for key in keys) or "age" in q:
            continue
        wanted = sorted(
            ((row.accepted_at, row.event_id) for row in rows if meets(row)), reverse=True
        )
        async with filled_database.reading() as session:
            filters = ListFilters(None, q=q, now=from_unix_ms(now_ms), me=ME)
            page = await list_events(session, filters, limit=100, cursor=None)
        found = [row.receipt.event_id for row in page.rows if row.incident is not None]
        if "flagged" not in q:
            assert found == [event_id for _, event_id in wanted][:100], q


@pytest.mark.parametrize("sort", EVENT_SORTS)
@pytest.mark.parametrize(
    ("q", "reference"), [("", None), ("type:invoice.paid", None), ("sub_", None), ("", "sub_31")]
)
async def test_events_take_orders(
    filled_database: Database, sort: str, q: str, reference: str | None
) -> None:
    column = {"opened_at": "accepted_at"}.get(sort.removeprefix("-"), sort.removeprefix("-"))
    # By deadline, those that wait alone.
    states = ("waiting", "expected") if column == "deadline_at" else tuple(ReceiptState)
    sql = f"SELECT event_id, state, event_type, internal_reference, {column} AS at FROM receipts"
    async with filled_database.reading() as session:
        rows = list(await session.execute(text(sql)))
        found = [
            row
            for row in rows
            if row.state in states
            and (not q.startswith("type:") or row.event_type == "invoice.paid")
            and (q != "sub_" or "sub_" in row.internal_reference)
            and reference in (None, row.internal_reference)
        ]
        found.sort(key=lambda row: (row.at, row.event_id), reverse=sort.startswith("-"))
        filters = ListFilters(None, q=q, internal_reference=reference)
        page = await list_events(session, filters, limit=30, cursor=None, sort=sort)
        listed_ids = [row.receipt.event_id for row in page.rows]
        if page.next_cursor:
            more = await list_events(session, filters, limit=30, cursor=page.next_cursor, sort=sort)
            listed_ids += [row.receipt.event_id for row in more.rows]

    assert listed_ids == [row.event_id for row in found[:60]]


async def test_neighbours_are_the_rows_before_and_after(
    filled_database: Database, filled: Filled
) -> None:
    rows = await rows_of(filled_database)
    filters = ListFilters(None, q="is:open")
    for sort in SORTS:
        ids = expected(rows, lambda row: row.state == "open", sort)
        by_id = {row.id: row for row in rows}
        at = by_id[ids[7]]
        key = Key(getattr(at, COLUMNS[sort.removeprefix("-")]), at.id)
        back = sort.removeprefix("-") if sort.startswith("-") else f"-{sort}"
        async with filled_database.reading() as session:
            after = await neighbour(session, filters, sort=sort, beyond=key)
            before = await neighbour(session, filters, sort=back, beyond=key)
        assert (before, after) == (by_id[ids[6]].event_id, by_id[ids[8]].event_id), sort


TABS = {"open": "is:open", "repairing": "is:repairing", "resolved": "is:resolved", "all": ""}


async def test_tabs_count_what_the_filters_leave(filled_database: Database, filled: Filled) -> None:
    rows, now_ms = await rows_of(filled_database), filled.from_ms + YEAR_MS
    for q, meets in tokens(now_ms).items():
        filters = ListFilters(None, q=q, now=from_unix_ms(now_ms), me=ME)
        async with filled_database.reading() as session:
            counts = await count_tabs(session, filters, TABS)
        for tab, count in counts.items():
            wanted = sum(meets(row) and tab in (row.state, "all") for row in rows)
            if count.is_more:
                assert count.number <= wanted, (q, tab)
            else:
                assert count == TabCount(wanted, False), (q, tab)


async def test_filters_and_tokens_of_one_field_that_differ_find_nothing(
    filled_database: Database,
) -> None:
    filters = ListFilters(None, provider="stripe", q="provider:shopify")
    async with filled_database.reading() as session:
        page = await list_incidents(session, filters, limit=5, cursor=None)
        same = await list_incidents(
            session, replace(filters, q="provider:stripe"), limit=5, cursor=None
        )

    assert (len(page.rows), len(same.rows)) == (0, 5)


def test_every_token_of_the_language_has_its_column() -> None:
    tokens = [f"is:{mark}" for mark in MARKS] + [key for key in KEYS if key != "is"]

    assert [token for token in tokens if not is_available(token)] == []
    assert available_tabs({mark: f"is:{mark}" for mark in MARKS}) == MARKS


async def test_assignee_me_is_refused_for_a_reader_who_is_no_user(database: Database) -> None:
    async with database.reading() as session:
        with pytest.raises(ValidationFailed) as refused:
            await list_incidents(session, ListFilters(None, q="assignee:me"), limit=5, cursor=None)

    (error,) = refused.value.errors
    assert (error.pointer, error.code) == ("/q", "not_available")
    assert "assignee:" in error.message


async def test_cursor_of_another_order_is_refused(filled_database: Database) -> None:
    async with filled_database.reading() as session:
        page = await list_incidents(
            session, ListFilters(None), limit=5, cursor=None, sort="-amount"
        )
        for sort in (None, "amount", "opened_at"):
            with pytest.raises(ValidationFailed):
                await list_incidents(
                    session, ListFilters(None), limit=5, cursor=page.next_cursor, sort=sort
                )


async def test_mode_leaves_projects_of_that_mode(filled_database: Database) -> None:
    async with filled_database.reading() as session:
        for livemode, expected_rows in ((True, 5), (False, 0)):
            filters = ListFilters(None, livemode=livemode)
            page = await list_incidents(session, filters, limit=5, cursor=None)
            assert len(page.rows) == expected_rows


async def test_an_age_beyond_the_calendar_is_refused(filled_database: Database) -> None:
    now = from_unix_ms(0) + timedelta(days=20_000)
    async with filled_database.reading() as session:
        filters = ListFilters(None, q="age:>999999w", now=now)
        with pytest.raises(ValidationFailed):
            await list_incidents(session, filters, limit=5, cursor=None)
