"""Reads the ids of a page of events or incidents, by the filters of the list.

Each way of reading has its index, and the tests read its plan:

1. A reference: the receipts of it. An incident is found by its receipt.
2. A search text: `store.receipts.lists.search`.
3. A state, provider, event type or effect type: `receipts_by_state`, `incidents_by_state`.
4. No filter, or times alone: `receipts_by_time`, `incidents_by_time`.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import ProjectId
from domain.incidents import IncidentState
from domain.receipts import ReceiptState
from store.db.sql import SessionStatements, Statements
from store.receipts.lists.kinds import KindRanges, kind_ranges
from store.receipts.lists.ranges import (
    EVENT_LIST,
    Bounds,
    Condition,
    Key,
    Kind,
    ListedTable,
    newest,
    newest_of_candidates,
    next_page_cursor,
    project_ranges,
    read_bounds,
    reference_ranges,
)
from store.receipts.lists.search import Search, of_row, row_contains, search
from store.receipts.rows.details import in_projects, of_project
from store.schema.tables import PROJECTS

_OF_REFERENCE = {
    "sqlite": """
SELECT r.event_id FROM receipts AS r
WHERE r.project_id IN (SELECT value FROM json_each(:scope))
  AND r.internal_reference = :reference""",
    "postgresql": """
SELECT r.event_id FROM receipts AS r
WHERE r.project_id = ANY(ARRAY(SELECT json_array_elements_text(CAST(:scope AS json))))
  AND r.internal_reference = :reference""",
}


@dataclass(frozen=True, slots=True)
class ListFilters:
    """The filters of a list; None or empty means no filter. `states` are those of receipts or
    incidents, as the list is.

    `project_id` is always given, because None means every project. `within` are the reader's
    projects, None for all. `created_after` and `created_before` exclude the instant itself. `q`
    matches part of the internal reference, of the customer's reference or of the provider's id, or
    a whole id of ours.
    """

    project_id: ProjectId | None
    within: tuple[ProjectId, ...] | None = None
    states: tuple[str, ...] = ()
    provider: str | None = None
    event_type: str | None = None
    effect_type: str | None = None
    internal_reference: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    q: str | None = None


async def page_of_ids(
    session: AsyncSession,
    table: ListedTable,
    filters: ListFilters,
    *,
    limit: int,
    cursor: str | None,
) -> tuple[list[str], str | None]:
    """The ids of a page, newest first, and the cursor of the next page.

    Raises: ValidationFailed for a cursor of another list.
    """
    bounds = read_bounds(table, cursor, after=filters.created_after, before=filters.created_before)
    scope = await live_projects(session, filters.project_id, filters.within)
    st = SessionStatements(session)
    await prefer_indexes(st)
    # One row more than the page shows whether there is a next one.
    keys = await _newest_keys(st, table, filters, bounds, scope, limit + 1) if scope else ()
    return [key.id for key in keys[:limit]], next_page_cursor(keys, limit)


async def live_projects(
    session: AsyncSession,
    project_id: ProjectId | None,
    within: tuple[ProjectId, ...] | None = None,
) -> tuple[ProjectId, ...]:
    """The projects that a reader asks for, without deleted ones, whose rows are being erased."""
    query = select(PROJECTS.c.id).where(
        PROJECTS.c.deleted_at.is_(None),
        *of_project(PROJECTS.c.id, project_id),
        *in_projects(PROJECTS.c.id, within),
    )
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


async def _newest_keys(
    st: Statements,
    table: ListedTable,
    filters: ListFilters,
    bounds: Bounds,
    scope: tuple[ProjectId, ...],
    count: int,
) -> tuple[Key, ...]:
    kind, q = _kind(table, filters), (filters.q or "").strip()
    found = KindRanges(project_ranges(scope), None)
    if kind is not None:
        found = await kind_ranges(st, table, scope, kind)
    ranges, of_provider = found.ranges, found.of_receipt
    condition = row_contains(st.dialect, table, q, of_provider) if q else of_row(table, of_provider)
    if filters.internal_reference is not None and table is EVENT_LIST:
        ranges = reference_ranges(scope, filters.internal_reference)
        condition = _both(condition, _kind_condition(filters))
    elif filters.internal_reference is not None:
        ids = Condition(_OF_REFERENCE[st.dialect], {"reference": filters.internal_reference})
        return await newest_of_candidates(
            st, table, ranges, bounds, ids, count=count, condition=condition
        )
    elif q:
        query = Search(table, ranges, bounds, q, of_receipt=of_provider)
        return await search(st, query, count=count)
    return await newest(st, table, ranges, bounds, count=count, condition=condition)


def _kind(table: ListedTable, filters: ListFilters) -> Kind | None:
    """The filters by kind; None if there are none."""
    kind = (filters.provider, filters.event_type, filters.effect_type)
    if not filters.states and all(one is None for one in kind):
        return None
    every_state = tuple(s.value for s in (ReceiptState if table is EVENT_LIST else IncidentState))
    return Kind(tuple(dict.fromkeys(filters.states)) or every_state, *kind)


def _kind_condition(filters: ListFilters) -> Condition:
    """The condition on state, provider and types, for the rows of a reference."""
    wanted = {
        name: value
        for name in ("provider", "event_type", "effect_type")
        if (value := getattr(filters, name)) is not None
    }
    equal = [f"t.{name} = CAST(:{name} AS TEXT)" for name in wanted]
    if filters.states:
        # A state has no comma in it.
        wanted["states"] = f",{','.join(filters.states)},"
        equal.append("CAST(:states AS TEXT) LIKE '%,' || t.state || ',%'")
    return Condition(" AND ".join(equal) or "true", wanted)


def _both(one: Condition, other: Condition) -> Condition:
    return Condition(f"({one.sql}) AND ({other.sql})", {**one.values, **other.values})
