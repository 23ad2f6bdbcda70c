"""Reads the ids of a page of events or incidents, by the filters of the list and its search.

Each way of reading has its index, and the tests read its plan:

1. Filters that leave few rows, which are sorted: `store.receipts.lists.few`.
2. Free words: `store.receipts.lists.search`.
3. Incidents of a state, or by deadline or amount: `incidents_by_opening`, `incidents_by_deadline`,
   `incidents_by_amount`.
4. An error code: `incidents_by_error`.
5. A state, provider, event type or effect type: `receipts_by_state`, `incidents_by_state`.
6. No filter, or times alone: `receipts_by_time`, `incidents_by_time`.
7. Events by deadline: `receipts_overdue`, which has those that wait.

Everything else that is asked for is a condition on the rows of these ranges. A condition that few
rows meet is looked for until the time limit of the session, as a frequent text is.
"""

from dataclasses import dataclass, replace
from itertools import product

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import ProjectId
from domain.projects import Mode
from store.db.sql import SessionStatements, Statements
from store.receipts.lists.few import few_receipts
from store.receipts.lists.filters import ListFilters, Wanted, every_state, wanted_by
from store.receipts.lists.kinds import kind_ranges
from store.receipts.lists.order import (
    Bounds,
    Key,
    ListedTable,
    next_page_cursor,
    read_bounds,
)
from store.receipts.lists.ranges import (
    Condition,
    Kind,
    Ranges,
    first_keys,
    first_of_candidates,
    project_ranges,
    reference_ranges,
)
from store.receipts.lists.search import Search, search
from store.receipts.lists.texts import both, contains, of_receipt
from store.receipts.lists.tokens import (
    check_available,
    indexed_last,
    kind_condition,
    row_condition,
)
from store.receipts.rows.details import in_projects, of_project
from store.schema.tables import PROJECTS


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one page is read by."""

    table: ListedTable
    wanted: Wanted
    bounds: Bounds
    scope: tuple[ProjectId, ...]
    count: int


async def page_of_ids(
    session: AsyncSession,
    table: ListedTable,
    filters: ListFilters,
    *,
    limit: int,
    cursor: str | None,
) -> tuple[list[str], str | None]:
    """The ids of a page in the order of the list, and the cursor of the next page.

    Raises: ValidationFailed for a cursor of another list, and for a refused search.
    """
    # One row more than the page shows whether there is a next one.
    keys = await keys_of(session, table, filters, count=limit + 1, cursor=cursor)
    return [key.id for key in keys[:limit]], next_page_cursor(table, keys, limit)


async def keys_of(
    session: AsyncSession,
    table: ListedTable,
    filters: ListFilters,
    *,
    count: int,
    cursor: str | None = None,
    beyond: Key | None = None,
) -> tuple[Key, ...]:
    """The first `count` keys of the list, of those beyond a key if one is given. Raises as
    `page_of_ids` does.
    """
    wanted = wanted_by(table, filters)
    after, before = (None, None) if wanted is None else (wanted.after, wanted.before)
    bounds = read_bounds(table, cursor, after=after, before=before)
    if wanted is None:
        return ()
    if beyond is not None:
        bounds = replace(bounds, start=table.in_order((bounds.start, beyond))[1])
    check_available(wanted.search)
    scope = await scope_of(session, filters)
    if not scope:
        return ()
    st = SessionStatements(session)
    await prefer_indexes(st)
    return await _read(st, _Reading(table, wanted, bounds, scope, count))


async def with_scope(session: AsyncSession, filters: ListFilters) -> ListFilters:
    """The filters with their projects, for several reads in one session."""
    return replace(filters, scope=await scope_of(session, filters))


async def scope_of(session: AsyncSession, filters: ListFilters) -> tuple[ProjectId, ...]:
    """The projects that the filters leave, without deleted ones."""
    if filters.scope is not None:
        return filters.scope
    return await live_projects(
        session, filters.project_id, filters.within, livemode=filters.livemode
    )


async def live_projects(
    session: AsyncSession,
    project_id: ProjectId | None,
    within: tuple[ProjectId, ...] | None = None,
    *,
    livemode: bool | None = None,
) -> tuple[ProjectId, ...]:
    """The projects that a reader asks for, without deleted ones, whose rows are being erased."""
    query = select(PROJECTS.c.id).where(
        PROJECTS.c.deleted_at.is_(None),
        *of_project(PROJECTS.c.id, project_id),
        *in_projects(PROJECTS.c.id, within),
    )
    if livemode is not None:
        mode = Mode.LIVE if livemode else Mode.TEST
        query = query.where(PROJECTS.c.mode == mode.value)
    return tuple(ProjectId(one) for one in await session.scalars(query.order_by(PROJECTS.c.id)))


async def prefer_indexes(st: Statements) -> None:
    """Make PostgreSQL read in the order of an index for the rest of the transaction.

    It assumes average projects and texts. For a project with most of the rows it would read all of
    them and sort, and for a text that it expects often it would not read the trigram index.
    """
    if st.dialect == "postgresql":
        settings = ("enable_seqscan", "enable_sort", "enable_incremental_sort")
        chosen = ", ".join(f"set_config('{name}', 'off', true)" for name in settings)
        await st.fetch(f"SELECT {chosen}")


async def _read(st: Statements, asked: _Reading) -> tuple[Key, ...]:
    wanted, table = asked.wanted, asked.table
    if (few := few_receipts(st.dialect, table, wanted)) is not None:
        return await _sorted(st, asked, few)
    if wanted.reference is not None:
        ranges = reference_ranges(asked.scope, wanted.reference)
        condition = both(kind_condition(table, wanted), _tokens(st, asked))
        condition = both(condition, _words(st, asked))
        return await first_keys(
            st, table, ranges, asked.bounds, count=asked.count, condition=condition
        )
    ranges, condition = await _ranges(st, asked)
    if word := _indexed_word(wanted):
        query = Search(table, ranges, asked.bounds, word, condition=condition)
        return await search(st, query, count=asked.count)
    return await first_keys(st, table, ranges, asked.bounds, count=asked.count, condition=condition)


async def _sorted(st: Statements, asked: _Reading, few: Condition) -> tuple[Key, ...]:
    condition = both(kind_condition(asked.table, asked.wanted), _tokens(st, asked))
    return await first_of_candidates(
        st,
        asked.table,
        project_ranges(asked.scope),
        asked.bounds,
        few,
        count=asked.count,
        condition=both(condition, _words(st, asked)),
    )


async def _ranges(st: Statements, asked: _Reading) -> tuple[Ranges, Condition]:
    """The ranges that hold the rows, and the condition on them."""
    table, wanted = asked.table, asked.wanted
    states = wanted.states or every_state(table)
    if not table.is_by_time and table.is_of_events:
        waiting = both(kind_condition(table, wanted), _tokens(st, asked))
        return project_ranges(asked.scope), waiting
    if not table.is_by_time:
        of_states = tuple(product(asked.scope, states))
        of_kind = kind_condition(table, wanted)
        return Ranges(("project_id", "state"), of_states), both(of_kind, _tokens(st, asked))
    error = wanted.search.values.get("error")
    if error is not None and not table.is_of_events:
        values = tuple(product(asked.scope, states, (error,)))
        condition = both(kind_condition(table, wanted), _tokens(st, asked, "error"))
        return Ranges(("project_id", "state", "error_code"), values), condition
    if not wanted.has_kind and not wanted.states:
        return project_ranges(asked.scope), _tokens(st, asked)
    if not wanted.has_kind and not table.is_of_events:
        of_states = tuple(product(asked.scope, states))
        return Ranges(("project_id", "state"), of_states), _tokens(st, asked)
    kind = Kind(states, wanted.provider, wanted.event_type, wanted.effect_type)
    found = await kind_ranges(st, table, asked.scope, kind)
    return found.ranges, both(of_receipt(table, found.of_receipt), _tokens(st, asked))


def _tokens(st: Statements, asked: _Reading, *met: str) -> Condition:
    """The condition of the tokens that the ranges and bounds do not meet."""
    without = (*met, "times") if asked.table.is_by_time else met
    return row_condition(st.dialect, asked.table, asked.wanted, without=without)


def _words(st: Statements, asked: _Reading) -> Condition:
    """The condition of the word that `_tokens` leaves to the index."""
    words = indexed_last(asked.wanted.search.words)
    found = contains(st.dialect, words[-1]) if words else None
    return of_receipt(asked.table, found)


def _indexed_word(wanted: Wanted) -> str | None:
    """The word to look up in the index. The index has the references of customers too."""
    if wanted.search.words:
        return indexed_last(wanted.search.words)[-1]
    return wanted.search.values.get("customer")
