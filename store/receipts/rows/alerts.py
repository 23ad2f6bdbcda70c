"""Inserts the alerts of a transition; `store.alerts` leases, sends and records them.

Runs inside the caller's transaction and never commits.
"""

from datetime import datetime

from domain.ids import EventId, IncidentId, ProjectId, ReplayId
from domain.incidents import AlertKind
from domain.values.timestamps import to_unix_ms
from store.db.sql import Statements
from store.receipts.state import ReceiptSnapshot


async def add_alerts(
    st: Statements,
    snapshot: ReceiptSnapshot,
    incident_id: IncidentId,
    kind: AlertKind,
    now: datetime,
    *,
    replay_id: ReplayId | None = None,
) -> None:
    """Insert one alert for each of the project's destinations; a second time changes nothing."""
    for destination in dict.fromkeys(snapshot.alert_emails):
        await insert_alert(
            st,
            project_id=snapshot.project_id,
            incident_id=incident_id,
            event_id=snapshot.event_id,
            kind=kind,
            about=replay_id or "",
            destination=destination,
            now=now,
        )


async def insert_alert(
    st: Statements,
    *,
    project_id: ProjectId,
    incident_id: IncidentId,
    event_id: EventId,
    kind: AlertKind,
    about: str,
    destination: str,
    now: datetime,
) -> None:
    """Insert one alert, due now; a second time changes nothing.

    `about` is a `replay_id` or the digest of a destination, '' for neither.
    """
    await st.fetch(
        "INSERT INTO alerts (project_id, incident_id, event_id, kind, replay_id,"
        " destination, created_at, due_at, tries) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0) ON CONFLICT DO NOTHING",
        project_id,
        incident_id,
        event_id,
        kind.value,
        about,
        destination,
        to_unix_ms(now),
        to_unix_ms(now),
    )
