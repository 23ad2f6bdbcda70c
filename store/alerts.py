"""Mails still to be sent: claimed under a lease, recorded as sent or failed, each with its line on the timeline.

The transaction of a move has inserted the rows (`store.standing`). A process that dies between sending and recording leaves the
row to be claimed again after the lease: at least once, with the same `Message-ID`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, IncidentId, ReplayId
from domain.incidents import AlertKind, Incident, RepairCause, TimelineKind
from domain.receipts import Receipt
from domain.texts import kept
from store import tables
from store.reading import read_incident
from store.standing import add_timeline
from store.statements import SessionStatements

ALERTS = tables.Alert.metadata.tables["alerts"]
PROJECTS = tables.Project.metadata.tables["projects"]
REPAIRS = tables.Repair.metadata.tables["repairs"]


@dataclass(frozen=True, slots=True)
class AlertDue:
    """Everything that a mail needs. `replay_id` and `cause` are of the repair it speaks of, None for other kinds.

    `tries` counts the failures so far.
    """

    alert_id: int
    kind: AlertKind
    destination: str
    replay_id: ReplayId | None
    cause: RepairCause | None
    tries: int
    incident: Incident
    receipt: Receipt
    project_name: str


async def claim_alerts(
    session: AsyncSession, now: datetime, *, incident_id: IncidentId | None = None, limit: int, lease_seconds: int = 30
) -> list[AlertDue]:
    """Up to `limit` alerts that are due, oldest first, of one incident or of all; nobody else gets them during the lease."""
    ids = [row.id for row in await session.execute(_due(now, incident_id, limit))]
    if not ids:
        return []
    lease = update(ALERTS).where(ALERTS.c.id.in_(ids)).values(due_at=now + timedelta(seconds=lease_seconds))
    claimed = (await session.execute(lease.returning(ALERTS))).all()
    return [await _alert_due(session, row) for row in sorted(claimed, key=lambda row: int(row.id))]


async def record_alert_sent(session: AsyncSession, alert_id: int, now: datetime) -> None:
    """The mail server has taken it; a second time changes nothing."""
    sent = update(ALERTS).where(ALERTS.c.id == alert_id, ALERTS.c.sent_at.is_(None)).values(sent_at=now)
    row = (await session.execute(sent.returning(ALERTS))).first()
    if row is not None:
        await _add_timeline(session, row, TimelineKind.ALERT_SENT, now)


async def record_alert_failed(session: AsyncSession, alert_id: int, now: datetime, *, error: str, retry_at: datetime) -> None:
    """It was not sent, and is due again at `retry_at`. The timeline tells the first failure and each doubling of them."""
    failed = update(ALERTS).where(ALERTS.c.id == alert_id, ALERTS.c.sent_at.is_(None))
    failed = failed.values(tries=ALERTS.c.tries + 1, due_at=retry_at, last_error=kept(error))
    row = (await session.execute(failed.returning(ALERTS))).first()
    if row is not None and _is_power_of_two(row.tries):
        await _add_timeline(session, row, TimelineKind.ALERT_FAILED, now, tries=row.tries, error=row.last_error)


def _due(now: datetime, incident_id: IncidentId | None, limit: int) -> Select[Any]:
    due = select(ALERTS.c.id).where(ALERTS.c.sent_at.is_(None), ALERTS.c.due_at <= now)
    if incident_id is not None:
        due = due.where(ALERTS.c.incident_id == incident_id)
    return due.order_by(ALERTS.c.due_at, ALERTS.c.id).limit(limit).with_for_update(skip_locked=True)


async def _alert_due(session: AsyncSession, row: Row[Any]) -> AlertDue:
    found = await read_incident(session, None, row.incident_id)
    if found is None:
        raise AssertionError(f"alert {row.id} speaks of {row.incident_id}, which is not stored")
    cause = await session.scalar(select(REPAIRS.c.cause).where(REPAIRS.c.replay_id == row.replay_id)) if row.replay_id else None
    name = await session.scalar(select(PROJECTS.c.name).where(PROJECTS.c.id == found.incident.project_id))
    return AlertDue(
        alert_id=row.id,
        kind=AlertKind(row.kind),
        destination=row.destination,
        replay_id=ReplayId(row.replay_id) if row.replay_id else None,
        cause=None if cause is None else RepairCause(cause),
        tries=row.tries,
        incident=found.incident,
        receipt=found.receipt,
        project_name=name or "",
    )


async def _add_timeline(session: AsyncSession, row: Row[Any], kind: TimelineKind, now: datetime, **fields: object) -> None:
    replay = {"replay_id": row.replay_id} if row.replay_id else {}
    named: dict[str, object] = {"alert_kind": row.kind, "destination": row.destination, **replay, **fields}
    await add_timeline(SessionStatements(session), EventId(row.event_id), kind, now, **named)


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
