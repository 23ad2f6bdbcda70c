"""Reads groups, and the incidents of one, a page at a time.

Groups are listed by their last incident, newest first, from `incident_groups_by_time` or
`incident_groups_by_stage`. A group that grows moves to the front, also between two pages. The
incidents of a group are listed by state, unresolved first, from `incidents_by_group`.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.groups.group import Group, GroupCounts, GroupState, group_state
from domain.ids import GroupId, ProjectId
from domain.incidents import Reason
from domain.values.enums import member_or_text
from store.db.paging import Page, read_cursor, write_cursor
from store.db.sql import SessionStatements
from store.receipts.groups.counts import PART
from store.receipts.lists.order import ListedTable, next_page_cursor, read_bounds
from store.receipts.lists.pages import live_projects, prefer_indexes
from store.receipts.lists.ranges import Ranges, first_keys, project_ranges
from store.receipts.queries import IncidentRow, rows_with_receipts
from store.receipts.rows.details import of_project
from store.schema.tables import GROUP_AMOUNTS, INCIDENT_GROUPS, INCIDENTS, PROJECTS

GROUP_LIST = ListedTable("incident_groups", "last_at", "id", "grp_[0-9a-f]{32}", "last_at")
_INCIDENT_CURSOR = re.compile(r"([a-z]{1,20}):(inc_[0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class GroupFilters:
    """The filters of the list of groups.

    `project_id` None means every project, `within` are the reader's projects, None for all. `state`
    needs one project unless it is `resolved`. `is_unresolved` None lists all.
    """

    project_id: ProjectId | None
    within: tuple[ProjectId, ...] | None = None
    state: GroupState | None = None
    is_unresolved: bool | None = None


async def list_groups(
    session: AsyncSession,
    filters: GroupFilters,
    now: datetime,
    *,
    limit: int,
    cursor: str | None,
) -> Page[Group]:
    """A page of groups. Raises: ValidationFailed for an invalid cursor."""
    scope = await live_projects(session, filters.project_id, filters.within)
    after, before = await _span(session, filters, now)
    bounds = read_bounds(GROUP_LIST, cursor, after=after, before=before)
    st = SessionStatements(session)
    await prefer_indexes(st)
    ranges = _ranges(filters, scope)
    keys = await first_keys(st, GROUP_LIST, ranges, bounds, count=limit + 1) if scope else ()
    ids = [key.id for key in keys[:limit]]
    query = select(INCIDENT_GROUPS).where(INCIDENT_GROUPS.c.id.in_(ids))
    found = {row.id: row for row in await session.execute(query)} if ids else {}
    groups = await _groups_from(session, [found[one] for one in ids if one in found], now)
    return Page(tuple(groups), next_page_cursor(GROUP_LIST, keys, limit))


async def read_group(
    session: AsyncSession, project_id: ProjectId | None, group_id: GroupId, now: datetime
) -> Group | None:
    """The group; None when there is no such group in the project."""
    query = select(INCIDENT_GROUPS).where(
        INCIDENT_GROUPS.c.id == group_id, *of_project(INCIDENT_GROUPS.c.project_id, project_id)
    )
    found = await _groups_from(session, (await session.execute(query)).all(), now)
    return found[0] if found else None


async def list_group_incidents(
    session: AsyncSession, group_id: GroupId, *, limit: int, cursor: str | None
) -> Page[IncidentRow]:
    """The incidents of a group: open, repairing, then resolved ones, each newest first.

    Raises: ValidationFailed for an invalid cursor.
    """
    after = None if cursor is None else read_cursor(cursor, _INCIDENT_CURSOR)
    rows: list[Row[Any]] = []
    for state in ("open", "repairing", "resolved"):
        if len(rows) > limit or (after is not None and state < after[1]):
            continue
        below = after[2] if after is not None and state == after[1] else None
        rows += (await session.execute(_of_state(group_id, state, below, limit + 1))).all()
    shown = rows[:limit]
    more = len(rows) > limit
    next_cursor = write_cursor(f"{shown[-1].state}:{shown[-1].id}") if more else None
    return Page(await rows_with_receipts(session, shown), next_cursor)


def _of_state(group_id: GroupId, state: str, below: str | None, limit: int) -> Select[Any]:
    query = select(INCIDENTS).where(INCIDENTS.c.group_id == group_id, INCIDENTS.c.state == state)
    if below is not None:
        query = query.where(INCIDENTS.c.id < below)
    return query.order_by(INCIDENTS.c.id.desc()).limit(limit)


def _ranges(filters: GroupFilters, scope: Sequence[ProjectId]) -> Ranges:
    is_unresolved = filters.is_unresolved
    if filters.state is not None:
        is_unresolved = filters.state is not GroupState.RESOLVED
    if is_unresolved is None:
        return project_ranges(scope)
    stage = "unresolved" if is_unresolved else "resolved"
    return Ranges(("project_id", "stage"), tuple((project_id, stage) for project_id in scope))


async def _span(
    session: AsyncSession, filters: GroupFilters, now: datetime
) -> tuple[datetime | None, datetime | None]:
    """The instants between which the last incidents of the groups in that state opened."""
    if filters.state not in {GroupState.OPEN, GroupState.QUIET}:
        return None, None
    window = (await _windows(session, {filters.project_id or ""})).get(filters.project_id or "")
    since = now - (window or timedelta(0))
    if filters.state is GroupState.OPEN:
        return since - timedelta(milliseconds=1), None
    return None, since


async def _windows(session: AsyncSession, project_ids: Collection[str]) -> dict[str, timedelta]:
    return {row.id: _window(row) for row in await _projects(session, project_ids)}


def _window(project: Row[Any]) -> timedelta:
    return timedelta(minutes=project.group_window_minutes)


async def _projects(session: AsyncSession, project_ids: Collection[str]) -> list[Row[Any]]:
    query = select(PROJECTS.c.id, PROJECTS.c.mode, PROJECTS.c.group_window_minutes)
    return [*await session.execute(query.where(PROJECTS.c.id.in_(project_ids)))]


async def _groups_from(
    session: AsyncSession, rows: Sequence[Row[Any]], now: datetime
) -> list[Group]:
    if not rows:
        return []
    projects = {
        row.id: row for row in await _projects(session, {group.project_id for group in rows})
    }
    amounts = await _amounts(session, [row.id for row in rows])
    return [
        _group_from(row, projects[row.project_id], amounts[row.id], now)
        for row in rows
        if row.project_id in projects
    ]


async def _amounts(
    session: AsyncSession, group_ids: Sequence[str]
) -> defaultdict[str, dict[str, int]]:
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    query = select(GROUP_AMOUNTS).where(GROUP_AMOUNTS.c.group_id.in_(group_ids))
    ordered = query.order_by(GROUP_AMOUNTS.c.group_id, GROUP_AMOUNTS.c.currency)
    for row in await session.execute(ordered):
        # 0 is left of a currency that the receipt of an incident replaced.
        if total := row.billions * PART + row.rest:
            found[row.group_id][row.currency] = total
    return found


def _group_from(row: Row[Any], project: Row[Any], amounts: dict[str, int], now: datetime) -> Group:
    counts = GroupCounts(row.open_count, row.repairing_count, row.resolved_count)
    is_muted = row.muted_until is not None and row.muted_until > now
    return Group(
        id=GroupId(row.id),
        project_id=ProjectId(row.project_id),
        livemode=project.mode == "live",
        state=group_state(counts, last_at=row.last_at, now=now, window=_window(project)),
        effect_type=row.effect_type,
        reason=member_or_text(Reason, row.reason),
        error_code=row.error_code or None,
        first_at=row.first_at,
        last_at=row.last_at,
        counts=counts,
        amounts=amounts,
        muted_until=row.muted_until if is_muted else None,
    )
