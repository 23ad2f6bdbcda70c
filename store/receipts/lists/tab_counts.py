"""How many incidents each tab of the list has, under the filters and the search of the page.

A tab is a further search (`ListFilters.also`). All tabs are counted in one statement:

1. In ranges of `incidents_by_state` or `incidents_by_error`, each up to a limit.
2. For words, and for filters that leave few rows, among the first rows of the whole list.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

from sqlalchemy.ext.asyncio import AsyncSession

from domain.search.query import parse_query
from domain.search.tokens import ASSIGNED, FLAGGED, MUTED, NOBODY
from store.db.sql import Dialect, SessionStatements, Statements, Value
from store.receipts.lists.filters import ListFilters, Wanted, every_state, wanted_by
from store.receipts.lists.order import INCIDENT_LIST
from store.receipts.lists.pages import keys_of, prefer_indexes, scope_of
from store.receipts.lists.ranges import EACH_VALUE, VALUE, Condition, bind
from store.receipts.lists.texts import both
from store.receipts.lists.tokens import is_available, kind_condition, row_condition

MOST_COUNTED = 10_000
# A search is costly: so many of its first rows are counted.
MOST_FOUND = 200
# Marks that no tab has.
_OF_NO_TAB = (FLAGGED, ASSIGNED, MUTED)
_OF_RANGES = """
SELECT {tab}, SUM(n) FROM (SELECT (SELECT count(*) FROM (SELECT 1 FROM incidents AS t
  WHERE {equal} AND ({condition}) LIMIT :most) AS few) AS n FROM {each}) AS counted"""
_OF_IDS = """
SELECT {tab}, count(*) FROM {each} CROSS JOIN incidents AS t
WHERE t.id = {value} AND t.state IN ({states}) AND ({condition})"""


@dataclass(frozen=True, slots=True)
class TabCount:
    """The number of a tab's rows. `is_more`: there are more than were counted."""

    number: int
    is_more: bool


def available_tabs(tabs: Mapping[str, str]) -> tuple[str, ...]:
    """The tabs whose search this installation can do, of those by name."""
    return tuple(
        name
        for name, search in tabs.items()
        if all(is_available(f"is:{mark}") for mark in parse_query(search).marks)
    )


async def count_tabs(
    session: AsyncSession, filters: ListFilters, tabs: Mapping[str, str]
) -> dict[str, TabCount]:
    """The count of each tab. `tabs` are their searches by name, all available here.

    Raises: ValidationFailed for a refused search of the filters.
    """
    wanted = {
        name: wanted_by(INCIDENT_LIST, replace(filters, also=search))
        for name, search in tabs.items()
    }
    found = {name: one for name, one in wanted.items() if one is not None}
    counts = dict.fromkeys(tabs, TabCount(0, False))
    if not found:
        return counts
    st = SessionStatements(session)
    if any(_is_searched(one) for one in found.values()):
        return counts | await _among_first(session, st, filters, found)
    scope = await scope_of(session, filters)
    if not scope:
        return counts
    await prefer_indexes(st)
    return counts | await _in_ranges(st, scope, found)


def _is_searched(wanted: Wanted) -> bool:
    search = wanted.search
    few = wanted.reference is not None or search.values.keys() & {"customer", "group"}
    # Those that tabs have are of unresolved incidents alone.
    marked = any(mark in search.marks for mark in _OF_NO_TAB)
    assigned = search.values.get("assignee", NOBODY) != NOBODY
    return bool(few or marked or assigned or search.words)


async def _in_ranges(
    st: Statements, scope: tuple[str, ...], wanted: Mapping[str, Wanted]
) -> dict[str, TabCount]:
    statements: list[str] = []
    values: dict[str, Value] = {"most": MOST_COUNTED + 1}
    names = list(wanted)
    for number, one in enumerate(wanted.values()):
        error = one.search.values.get("error")
        columns = ("project_id", "state") + (() if error is None else ("error_code",))
        ends = (scope, one.states or every_state(INCIDENT_LIST)) + (
            () if error is None else ((error,),)
        )
        condition = _condition(st.dialect, one, "error")
        given = f"ranges_{'abcdefghijkl'[number]}"
        equal = " AND ".join(
            f"t.{name} = {VALUE[st.dialect].format(position=position)}"
            for position, name in enumerate(columns)
        )
        each = EACH_VALUE[st.dialect].format(name=given)
        statements.append(
            _OF_RANGES.format(tab=number, equal=equal, condition=condition.sql, each=each)
        )
        values |= {given: json.dumps(list(product(*ends))), **condition.values}
    sql, bound = bind(" UNION ALL ".join(statements), values)
    rows = await st.fetch(sql, *bound)
    return {
        names[tab]: TabCount(min(int(n or 0), MOST_COUNTED), int(n or 0) > MOST_COUNTED)
        for tab, n in rows
    }


async def _among_first(
    session: AsyncSession, st: Statements, filters: ListFilters, wanted: Mapping[str, Wanted]
) -> dict[str, TabCount]:
    keys = await keys_of(session, INCIDENT_LIST, filters, count=MOST_FOUND + 1)
    ids = json.dumps([key.id for key in keys[:MOST_FOUND]])
    is_more = len(keys) > MOST_FOUND
    statements: list[str] = []
    values: dict[str, Value] = {"ids": ids}
    names = list(wanted)
    for number, one in enumerate(wanted.values()):
        # The rows meet the search of the page already.
        marks = replace(one.search, words=(), values={}, ages=(), amounts=())
        condition = row_condition(
            st.dialect,
            INCIDENT_LIST,
            replace(one, search=marks),
            without=("times", *(f"is:{mark}" for mark in _OF_NO_TAB)),
        )
        states = ", ".join(f"'{state}'" for state in one.states or every_state(INCIDENT_LIST))
        statements.append(
            _OF_IDS.format(
                tab=number,
                states=states,
                condition=condition.sql,
                each=EACH_VALUE[st.dialect].format(name="ids"),
                value=_ID[st.dialect],
            )
        )
        values |= condition.values
    sql, bound = bind(" UNION ALL ".join(statements), values)
    return {names[tab]: TabCount(int(n), is_more) for tab, n in await st.fetch(sql, *bound)}


_ID: Mapping[Dialect, str] = {"sqlite": "given.value", "postgresql": "(given.value #>> '{}')"}


def _condition(dialect: Dialect, wanted: Wanted, *without: str) -> Condition:
    """The condition of a range of states."""
    of_kind = kind_condition(INCIDENT_LIST, replace(wanted, states=()))
    return both(of_kind, row_condition(dialect, INCIDENT_LIST, wanted, without=without))
