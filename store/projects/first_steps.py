"""How far a project has come with its first receipts, and for whom its checklist is hidden.

Each step is derived from what the store holds. So that the reads stay bounded, only the first and
the newest receipts and incidents are looked at: `LOOKED_AT` of each. Each query is bound to an
index of the project.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Table,
    delete,
    exists,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, IncidentId, ProjectId, UserId
from domain.incidents import IncidentState, Reason, Resolution
from domain.projects import Scope
from domain.receipts import ReceiptState
from store.db.sql import SessionStatements
from store.receipts.lists.pages import prefer_indexes
from store.schema.tables import ALERTS, API_KEYS, ATTEMPTS, FACTS, INCIDENTS, RECEIPTS, REPAIRS
from store.status.heartbeats import write_fact_once

LOOKED_AT = 50
# After it in the name of a fact: the project and the user. A colon is in neither.
_HIDDEN, _AFTER_COLON = "checklist_hidden", ";"
_SUCCEEDED = (ReceiptState.APPLIED, ReceiptState.RECOVERED)


@dataclass(frozen=True, slots=True)
class SeenIncident:
    """An incident, with what the steps need of it."""

    incident_id: IncidentId
    event_id: EventId
    provider: str
    provider_event_id: str
    opened_at: datetime
    is_unresolved: bool
    reason: str
    resolution: str | None
    is_alerted: bool
    is_called: bool


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """What the project has done. `open_incident` is the newest one that is not resolved, and
    `incidents` the number of those looked at.
    """

    has_key: bool
    has_receipt: bool
    has_result: bool
    has_timeout: bool
    has_alert: bool
    has_repair_call: bool
    has_resolved: bool
    incidents: int
    open_incident: SeenIncident | None


async def read_first_steps(
    session: AsyncSession, project_id: ProjectId, now: datetime
) -> FirstSteps:
    """What the project has done, by three queries."""
    await prefer_indexes(SessionStatements(session))
    has_key = await session.scalar(select(exists(_working_keys(project_id, now))))
    receipts = (await session.execute(_seen_receipts(project_id))).all()
    seen = await _seen_incidents(session, project_id)
    unresolved = [one for one in seen if one.is_unresolved]
    return FirstSteps(
        has_key=bool(has_key),
        has_receipt=any(not row.lacks_receipt for row in receipts),
        has_result=any(row.state in _SUCCEEDED for row in receipts)
        or any(one.reason == Reason.FAILED_RESULT for one in seen),
        has_timeout=any(one.reason == Reason.MISSING_RESULT for one in seen),
        has_alert=any(one.is_alerted for one in seen),
        has_repair_call=any(one.is_called for one in seen),
        has_resolved=any(_is_proven(one) for one in seen),
        incidents=len(seen),
        open_incident=max(unresolved, key=lambda one: one.opened_at, default=None),
    )


async def hide_checklist(session: AsyncSession, project_id: ProjectId, user_id: UserId) -> None:
    """Hide the project's checklist from its other pages, for this user."""
    await write_fact_once(session, _fact(project_id, user_id), "1")


async def show_checklist(session: AsyncSession, project_id: ProjectId, user_id: UserId) -> None:
    """Show it again."""
    await session.execute(delete(FACTS).where(FACTS.c.name == _fact(project_id, user_id)))


async def hidden_checklists(
    session: AsyncSession, user_id: UserId, among: Collection[ProjectId]
) -> frozenset[ProjectId]:
    """Those of these projects whose checklist the user has hidden."""
    by_fact = {_fact(project_id, user_id): project_id for project_id in among}
    found = await session.scalars(select(FACTS.c.name).where(FACTS.c.name.in_(by_fact)))
    return frozenset(by_fact[name] for name in found)


async def forget_checklist(session: AsyncSession, project_id: ProjectId) -> None:
    """Delete what users have hidden of the project."""
    first, end = f"{_HIDDEN}:{project_id}:", f"{_HIDDEN}:{project_id}{_AFTER_COLON}"
    await session.execute(delete(FACTS).where(FACTS.c.name >= first, FACTS.c.name < end))


def _fact(project_id: ProjectId, user_id: UserId) -> str:
    return f"{_HIDDEN}:{project_id}:{user_id}"


def _working_keys(project_id: ProjectId, now: datetime) -> Select[tuple[str]]:
    keys = API_KEYS.c
    # Space-separated names, none of which is a part of another.
    return select(keys.id).where(
        keys.project_id == project_id,
        keys.revoked_at.is_(None),
        or_(keys.expires_at.is_(None), keys.expires_at > now),
        keys.scopes.contains(Scope.INGEST.value),
    )


def _seen_receipts(project_id: ProjectId) -> Select[Any]:
    columns = (RECEIPTS.c.state, RECEIPTS.c.lacks_receipt)
    return _ends_of(RECEIPTS, columns, project_id, RECEIPTS.c.accepted_at, RECEIPTS.c.event_id)


async def _seen_incidents(session: AsyncSession, project_id: ProjectId) -> Sequence[SeenIncident]:
    incidents = INCIDENTS.c
    is_alerted = exists().where(ALERTS.c.incident_id == incidents.id, ALERTS.c.sent_at.is_not(None))
    is_called = exists().where(
        REPAIRS.c.incident_id == incidents.id,
        ATTEMPTS.c.replay_id == REPAIRS.c.replay_id,
        ATTEMPTS.c.status.between(200, 299),
    )
    receipt = RECEIPTS.c.event_id == incidents.event_id
    columns = (
        *(incidents.id, incidents.event_id, incidents.state, incidents.opened_at),
        *(incidents.reason, incidents.resolution),
        select(RECEIPTS.c.provider).where(receipt).scalar_subquery().label("provider"),
        select(RECEIPTS.c.provider_event_id).where(receipt).scalar_subquery().label("named"),
        is_alerted.label("is_alerted"),
        is_called.label("is_called"),
    )
    query = _ends_of(INCIDENTS, columns, project_id, incidents.opened_at, incidents.id)
    rows = (await session.execute(query)).all()
    # A project with few incidents has each of them at both ends.
    return [_incident_from(row) for row in {row.id: row for row in rows}.values()]


def _ends_of(
    table: Table,
    columns: Iterable[ColumnElement[Any]],
    project_id: ProjectId,
    *order: ColumnElement[Any],
) -> Select[Any]:
    """The first and the newest rows of the project, each read in the order of their index."""
    rows = select(*columns).select_from(table).where(table.c.project_id == project_id)
    first = rows.order_by(*order).limit(LOOKED_AT).subquery()
    newest = rows.order_by(*(one.desc() for one in order)).limit(LOOKED_AT).subquery()
    both = union_all(select(first), select(newest)).subquery()
    return select(both)


def _incident_from(row: Row[Any]) -> SeenIncident:
    return SeenIncident(
        incident_id=IncidentId(row.id),
        event_id=EventId(row.event_id),
        provider=row.provider,
        provider_event_id=row.named,
        opened_at=row.opened_at,
        is_unresolved=row.state != IncidentState.RESOLVED,
        reason=row.reason,
        resolution=row.resolution,
        is_alerted=bool(row.is_alerted),
        is_called=bool(row.is_called),
    )


def _is_proven(incident: SeenIncident) -> bool:
    """Whether a result has ended it, not a person."""
    return not incident.is_unresolved and incident.resolution != Resolution.MANUAL
