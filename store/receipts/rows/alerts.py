"""Inserts the alerts of a transition; `store.alerts` leases, sends and records them.

Runs inside the caller's transaction and never commits.
"""

from dataclasses import dataclass
from datetime import datetime

from domain.ids import EventId, IncidentId, ProjectId, ReplayId
from domain.incidents import AlertKind
from domain.values.timestamps import to_unix_ms
from store.db.sql import Statements
from store.receipts.state import ReceiptSnapshot

_SELECT_RECIPIENTS = """
SELECT channel, COALESCE(target, id), events FROM alert_destinations WHERE project_id = $1
ORDER BY channel, position"""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A destination as an alert names it.

    `channel` is an `AlertChannel`, or the text of a newer version. `destination` is the target, or
    the destination's id if the target is a secret.
    """

    channel: str
    destination: str


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
    project_id, event_id = snapshot.project_id, snapshot.event_id
    await add_incident_alerts(st, project_id, event_id, incident_id, kind, now, replay_id=replay_id)


async def add_incident_alerts(
    st: Statements,
    project_id: ProjectId,
    event_id: EventId,
    incident_id: IncidentId,
    kind: AlertKind,
    now: datetime,
    *,
    replay_id: ReplayId | None = None,
) -> None:
    """`add_alerts` without a snapshot."""
    for recipient in await read_recipients(st, project_id, kind):
        await insert_alert(
            st,
            project_id=project_id,
            incident_id=incident_id,
            event_id=event_id,
            kind=kind,
            about=replay_id or "",
            recipient=recipient,
            now=now,
        )


async def read_recipients(
    st: Statements, project_id: ProjectId, kind: AlertKind
) -> list[Recipient]:
    """The destinations that the project has now for alerts of this kind, in their order."""
    return [
        Recipient(channel, destination)
        for channel, destination, events in await st.fetch(_SELECT_RECIPIENTS, project_id)
        if events is None or kind.value in events.split()
    ]


async def insert_alert(
    st: Statements,
    *,
    project_id: ProjectId,
    incident_id: IncidentId,
    event_id: EventId,
    kind: AlertKind,
    about: str,
    recipient: Recipient,
    now: datetime,
) -> None:
    """Insert one alert, due now; a second time changes nothing.

    `about` is a `replay_id` or the digest of a destination, '' for neither.
    """
    await st.fetch(
        "INSERT INTO alerts (project_id, incident_id, event_id, kind, replay_id,"
        " channel, destination, created_at, due_at, tries) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0) ON CONFLICT DO NOTHING",
        project_id,
        incident_id,
        event_id,
        kind.value,
        about,
        recipient.channel,
        recipient.destination,
        to_unix_ms(now),
        to_unix_ms(now),
    )
