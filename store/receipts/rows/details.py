"""Reads incidents and repairs as domain values, each incident with its active repair and each
repair with its attempts.

Writes nothing. Used by `store.receipts.queries`.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import ProjectId
from domain.incidents import Attempt, Incident, IncidentState, Repair, RepairState
from store.db.sql import SessionStatements
from store.receipts.rows.names import read_names
from store.receipts.triage.superseded import superseding_events
from store.schema.mappers import (
    ATTEMPT_COLUMNS,
    REPAIR_COLUMNS,
    attempt_from,
    incident_from,
    repair_from,
)
from store.schema.tables import ATTEMPTS, INCIDENT_GROUPS, INCIDENTS, REPAIRS

# The most of one receipt. Every attempt is on the timeline too, which is paged.
REPAIRS_SHOWN = 100
ATTEMPTS_SHOWN = 1_000
# Now, by the store's clock.
_NOW_MS = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
}
_ACTIVE = (RepairState.HELD.value, RepairState.CALLING.value, RepairState.AWAITING_RESULT.value)


async def incidents_of(session: AsyncSession, event_ids: Collection[str]) -> dict[str, Incident]:
    if not event_ids:
        return {}
    rows = (
        await session.execute(select(INCIDENTS).where(INCIDENTS.c.event_id.in_(event_ids)))
    ).all()
    return {incident.event_id: incident for incident in await incidents_from(session, rows)}


async def muted_groups(session: AsyncSession, group_ids: Collection[str]) -> frozenset[str]:
    """Those of the groups that are muted now."""
    if not group_ids:
        return frozenset()
    now_ms: ColumnElement[int] = literal_column(_NOW_MS[SessionStatements(session).dialect])
    muted = select(INCIDENT_GROUPS.c.id).where(
        INCIDENT_GROUPS.c.id.in_(group_ids), INCIDENT_GROUPS.c.muted_until > now_ms
    )
    return frozenset(await session.scalars(muted))


async def incidents_from(session: AsyncSession, rows: Sequence[Row[Any]]) -> list[Incident]:
    ids = [row.id for row in rows if row.state == IncidentState.REPAIRING.value]
    query = select(REPAIRS.c.incident_id, REPAIRS.c.replay_id).where(
        REPAIRS.c.incident_id.in_(ids), REPAIRS.c.state.in_(_ACTIVE)
    )
    active = {row.incident_id: row.replay_id for row in await session.execute(query)} if ids else {}
    names = await read_names(
        session, {one for row in rows for one in (row.assignee, row.acknowledged_by) if one}
    )
    unresolved = [row.event_id for row in rows if row.state != IncidentState.RESOLVED.value]
    later = await superseding_events(SessionStatements(session), unresolved)
    muted = await muted_groups(session, {row.group_id for row in rows if row.group_id})
    return [
        incident_from(
            row,
            active_replay_id=active.get(row.id),
            names=names,
            superseded_by=later.get(row.event_id),
            muted=row.group_id in muted,
        )
        for row in rows
    ]


async def select_repairs(session: AsyncSession, wanted: ColumnElement[bool]) -> tuple[Repair, ...]:
    """The newest repairs that match the condition, oldest first, each with its newest attempts."""
    newest = (
        select(*REPAIR_COLUMNS)
        .where(wanted)
        .order_by(REPAIRS.c.replay_id.desc())
        .limit(REPAIRS_SHOWN)
    )
    rows = (await session.execute(newest)).all()
    ids = [row.replay_id for row in rows]
    tried = (
        select(*ATTEMPT_COLUMNS)
        .where(ATTEMPTS.c.replay_id.in_(ids))
        .order_by(ATTEMPTS.c.replay_id.desc(), ATTEMPTS.c.number.desc())
    )
    attempts: defaultdict[str, list[Attempt]] = defaultdict(list)
    for row in await session.execute(tried.limit(ATTEMPTS_SHOWN)) if ids else ():
        attempts[row.replay_id].insert(0, attempt_from(row))
    return tuple(repair_from(row, attempts=attempts[row.replay_id]) for row in reversed(rows))


def of_project(
    column: ColumnElement[str], project_id: ProjectId | None
) -> list[ColumnElement[bool]]:
    """The condition that a row is of the project; none for None."""
    return [] if project_id is None else [column == project_id]


def in_projects(
    column: ColumnElement[str], within: tuple[ProjectId, ...] | None
) -> list[ColumnElement[bool]]:
    """The condition that a row is of one of the projects; none for None."""
    return [] if within is None else [column.in_(within)]
