"""Inserts the alerts of a transition; `store.alerts` leases, sends and records them.

Runs inside the caller's transaction and never commits.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.alerts import wants
from domain.ids import EventId, IncidentId, ProjectId, ReplayId
from domain.incidents import AlertKind
from domain.values.timestamps import to_unix_ms
from store.db.sql import Statements
from store.receipts.state import ReceiptSnapshot

_SELECT_RECIPIENTS = """
SELECT channel, COALESCE(target, id), events FROM alert_destinations
WHERE project_id = $1 AND disabled_at IS NULL ORDER BY channel, position"""
# The recipients that still get the incident's earlier alert.
_SELECT_PENDING = """
SELECT channel, destination FROM alerts WHERE incident_id = $1 AND kind = 'incident_opened'
AND sent_at IS NULL AND ended_at IS NULL"""
_SELECT_SNOOZE = "SELECT snoozed_until FROM incidents WHERE id = $1 AND snoozed_until IS NOT NULL"
_RELEASE_HELD = (
    "UPDATE alerts SET due_at = $1 WHERE incident_id = $2 AND due_at = $3 AND sent_at IS NULL"
    " AND ended_at IS NULL"
)


class AlertRound(StrEnum):
    """Why the alerts of an open incident go out once more."""

    ACKNOWLEDGEMENT_ENDED = "acknowledgement_ended"
    SNOOZE_ENDED = "snooze_ended"
    REOPENED = "reopened"


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
    about: str = "",
) -> None:
    """Insert one alert for each of the project's destinations; a second time changes nothing.

    `about` distinguishes alerts of one kind that are about no repair.
    """
    await add_incident_alerts(
        st,
        snapshot.project_id,
        snapshot.event_id,
        incident_id,
        kind,
        now,
        about=replay_id or about,
    )


async def add_incident_alerts(
    st: Statements,
    project_id: ProjectId,
    event_id: EventId,
    incident_id: IncidentId,
    kind: AlertKind,
    now: datetime,
    *,
    about: str = "",
    without: Collection[Recipient] = (),
) -> None:
    """`add_alerts` without a snapshot, and with no alert for the recipients `without`.

    `about` may be a `replay_id` too.
    """
    for recipient in await read_recipients(st, project_id, kind):
        if recipient in without:
            continue
        await insert_alert(
            st,
            project_id=project_id,
            incident_id=incident_id,
            event_id=event_id,
            kind=kind,
            about=about,
            recipient=recipient,
            now=now,
        )


def round_name(why: AlertRound, now: datetime) -> str:
    """What distinguishes this round of alerts from others of the incident."""
    return f"{why.value}-{to_unix_ms(now)}"


async def alert_again(
    st: Statements,
    project_id: ProjectId,
    event_id: EventId,
    incident_id: IncidentId,
    name: str,
    now: datetime,
) -> None:
    """Insert a new round of the incident's alerts, with its `round_name`.

    A destination whose earlier alert is not sent yet gets that one.
    """
    opened = AlertKind.INCIDENT_OPENED
    pending = [Recipient(*row) for row in await st.fetch(_SELECT_PENDING, incident_id)]
    await add_incident_alerts(
        st, project_id, event_id, incident_id, opened, now, about=name, without=pending
    )


async def end_snooze(st: Statements, incident_id: IncidentId, now: datetime) -> bool:
    """End the snooze of a locked incident, and let its held alerts go; False without a snooze."""
    held = await st.fetch(_SELECT_SNOOZE, incident_id)
    for (snoozed_until,) in held:
        # First, because who holds an alert locks this row: see `store.alerts.delivery`.
        await st.fetch("UPDATE incidents SET snoozed_until = NULL WHERE id = $1", incident_id)
        await st.fetch(_RELEASE_HELD, to_unix_ms(now), incident_id, snoozed_until)
    return bool(held)


async def read_recipients(
    st: Statements, project_id: ProjectId, kind: AlertKind
) -> list[Recipient]:
    """The enabled destinations that get the project's alerts of this kind now, in their order."""
    return [
        Recipient(channel, destination)
        for channel, destination, events in await st.fetch(_SELECT_RECIPIENTS, project_id)
        if wants(None if events is None else events.split(), kind.value, channel=channel)
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

    `about` is a `replay_id`, the digest of a destination or an instant, '' for none.
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
