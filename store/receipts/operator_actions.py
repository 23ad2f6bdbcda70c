"""Actions of operators on an incident. For reprocess see `repairs`, for a waiting receipt
`triage.deadline_moves`, and for what ends by itself `triage.quiet_times`.

Each function runs inside the caller's transaction, locks the receipt, applies the transition or
raises its refusal, and enqueues the signal for Temporal. Called by the operations that REST,
console and command line share.
"""

from datetime import datetime, timedelta

from domain.alerts import AlertChannel
from domain.errors import NotFound
from domain.ids import EventId, IncidentId, UserId
from domain.incidents import AlertKind, TimelineKind
from domain.lifecycle import Trigger
from domain.temporal.outbox import OutboxKind
from domain.values.timestamps import to_iso, to_unix_ms
from store.db.sql import Statements
from store.receipts.groups.acknowledged import is_acknowledged
from store.receipts.groups.changes import GroupChanges
from store.receipts.outbox import enqueue_signal
from store.receipts.rows.alerts import Recipient, add_alerts, end_snooze, insert_alert
from store.receipts.state import ReceiptSnapshot, lock_receipt
from store.receipts.timeline import add_timeline, note
from store.receipts.transitions import TriggerFacts, apply_transition

UNACKNOWLEDGE = (
    "UPDATE incidents SET acknowledged_at = NULL, acknowledged_by = NULL,"
    " acknowledged_until = NULL WHERE id = $1 AND acknowledged_at IS NOT NULL RETURNING 1"
)
_ACKNOWLEDGEMENT = (
    "SELECT i.acknowledged_at, p.acknowledge_minutes FROM incidents i"
    " JOIN projects p ON p.id = i.project_id WHERE i.id = $1"
)


async def resolve_manually(
    st: Statements,
    incident_id: IncidentId,
    now: datetime,
    *,
    reason: str,
    requested_by: str,
    groups: GroupChanges | None = None,
) -> EventId:
    """Close an incident for an operator's reason; an active repair fails with cause `closed`.

    `groups` as in `apply_transition`.

    Raises:
        NotFound: no such incident.
        IncidentAlreadyResolved: it has ended.
    """
    snapshot = await lock_incident(st, incident_id)
    facts = TriggerFacts(reason=reason, requested_by=requested_by)
    follows = await apply_transition(st, snapshot, Trigger.RESOLVE, now, facts, groups=groups)
    follows.raise_refusal()
    await enqueue_signal(st, snapshot.event_id, OutboxKind.RESOLVE, now, requested_by=requested_by)
    return snapshot.event_id


async def stop_repair(
    st: Statements, incident_id: IncidentId, now: datetime, *, requested_by: str
) -> EventId:
    """End the active repair with cause `stopped`: no further call begins, and the incident is open
    again. Without an active repair nothing changes.

    A call in flight is only recorded. A success that names the repair still resolves the incident.

    Raises:
        NotFound: no such incident.
        IncidentAlreadyResolved: it has ended.
    """
    snapshot = await lock_incident(st, incident_id)
    follows = await apply_transition(st, snapshot, Trigger.STOP, now)
    follows.raise_refusal()
    if follows.to is not snapshot.state:
        stopped = "The repair was stopped."
        await note(st, snapshot.event_id, now, text=stopped, requested_by=requested_by)
        # The signal only makes the run read the store again.
        await enqueue_signal(
            st, snapshot.event_id, OutboxKind.RESOLVE, now, requested_by=requested_by
        )
    return snapshot.event_id


async def reopen(
    st: Statements, incident_id: IncidentId, now: datetime, *, reason: str, requested_by: str
) -> EventId:
    """Open an incident again that was resolved manually, with a new round of alerts.

    Its workflow has completed, or still completes: a restart ends that run and starts a new one.

    Raises:
        NotFound: no such incident.
        NotClosed: it was not resolved manually.
    """
    snapshot = await lock_incident(st, incident_id)
    facts = TriggerFacts(reason=reason, requested_by=requested_by)
    follows = await apply_transition(st, snapshot, Trigger.REOPEN, now, facts)
    follows.raise_refusal()
    await enqueue_signal(st, snapshot.event_id, OutboxKind.RESTART, now, requested_by=requested_by)
    return snapshot.event_id


async def acknowledge(
    st: Statements,
    incident_id: IncidentId,
    now: datetime,
    *,
    requested_by: str,
    until: datetime | None = None,
    tells: bool = True,
) -> EventId:
    """Record that an operator looks into the incident until that instant.

    `until` None: for the project's `acknowledge_minutes`; while the incident is acknowledged, a
    repeat without it changes nothing. `tells`: pagers are told, once all incidents of its group are
    acknowledged.

    Raises:
        NotFound: no such incident.
        IncidentAlreadyResolved: it has ended.
    """
    snapshot = await _lock_open(st, incident_id, now)
    ((acknowledged_at, minutes),) = await st.fetch(_ACKNOWLEDGEMENT, incident_id)
    if until is None and acknowledged_at is not None:
        return snapshot.event_id
    ends_at = until or now + timedelta(minutes=minutes)
    await st.fetch(
        "UPDATE incidents SET acknowledged_at = $1, acknowledged_by = $2, acknowledged_until = $3"
        " WHERE id = $4",
        to_unix_ms(now),
        requested_by,
        to_unix_ms(ends_at),
        incident_id,
    )
    entry = {"acknowledged_until": to_iso(ends_at), "requested_by": requested_by}
    await add_timeline(st, snapshot.event_id, TimelineKind.INCIDENT_ACKNOWLEDGED, now, **entry)
    if tells and acknowledged_at is None and await is_acknowledged(st, snapshot.group_id):
        kind, about = AlertKind.INCIDENT_ACKNOWLEDGED, str(to_unix_ms(now))
        await add_alerts(st, snapshot, incident_id, kind, now, about=about)
    return snapshot.event_id


async def unacknowledge(
    st: Statements, incident_id: IncidentId, now: datetime, *, requested_by: str
) -> EventId:
    """Take the acknowledgement back; without one, nothing changes. Nobody is alerted.

    Raises:
        NotFound: no such incident.
        IncidentAlreadyResolved: it has ended.
    """
    snapshot = await _lock_open(st, incident_id, now)
    if await st.fetch(UNACKNOWLEDGE, incident_id):
        kind = TimelineKind.INCIDENT_UNACKNOWLEDGED
        await add_timeline(st, snapshot.event_id, kind, now, requested_by=requested_by)
    return snapshot.event_id


async def assign(
    st: Statements,
    incident_id: IncidentId,
    now: datetime,
    *,
    assignee: UserId | None,
    email: str,
    requested_by: str,
) -> EventId:
    """Assign the incident to a user, who is mailed at `email`; None: to nobody.

    The same assignee again changes nothing, and mails nothing.

    Raises:
        NotFound: no such incident.
        IncidentAlreadyResolved: it has ended.
    """
    snapshot = await _lock_open(st, incident_id, now)
    changed = await st.fetch(
        "UPDATE incidents SET assignee = $1 WHERE id = $2 AND coalesce(assignee, '') <> $3"
        " RETURNING 1",
        assignee,
        incident_id,
        assignee or "",
    )
    if not changed:
        return snapshot.event_id
    entry = {"assignee": assignee, "requested_by": requested_by}
    await add_timeline(st, snapshot.event_id, TimelineKind.INCIDENT_ASSIGNED, now, **entry)
    if assignee is not None:
        await insert_alert(
            st,
            project_id=snapshot.project_id,
            incident_id=incident_id,
            event_id=snapshot.event_id,
            kind=AlertKind.INCIDENT_ASSIGNED,
            about=f"assigned-{to_unix_ms(now)}",
            recipient=Recipient(AlertChannel.EMAIL.value, email),
            now=now,
        )
    return snapshot.event_id


async def comment(
    st: Statements, incident_id: IncidentId, now: datetime, *, text: str, requested_by: str
) -> EventId:
    """Add a comment to the timeline. A resolved incident can be commented too.

    Raises:
        NotFound: no such incident.
    """
    snapshot = await lock_incident(st, incident_id)
    entry = {"text": text, "requested_by": requested_by}
    await add_timeline(st, snapshot.event_id, TimelineKind.INCIDENT_COMMENTED, now, **entry)
    return snapshot.event_id


async def snooze(
    st: Statements,
    incident_id: IncidentId,
    now: datetime,
    *,
    until: datetime,
    requested_by: str,
) -> EventId:
    """Send no alerts about the incident until that instant, or until a repair fails.

    A second snooze replaces the first. Alerts that the first one holds are judged again.

    Raises:
        NotFound: no such incident.
        IncidentAlreadyResolved: it has ended.
    """
    snapshot = await _lock_open(st, incident_id, now)
    await end_snooze(st, incident_id, now)
    snoozed = "UPDATE incidents SET snoozed_until = $1 WHERE id = $2"
    await st.fetch(snoozed, to_unix_ms(until), incident_id)
    entry = {"snoozed_until": to_iso(until), "requested_by": requested_by}
    await add_timeline(st, snapshot.event_id, TimelineKind.INCIDENT_SNOOZED, now, **entry)
    return snapshot.event_id


async def lock_incident(st: Statements, incident_id: IncidentId) -> ReceiptSnapshot:
    rows = await st.fetch("SELECT event_id FROM incidents WHERE id = $1", incident_id)
    if not rows:
        raise NotFound
    (event_id,) = rows[0]
    return await lock_receipt(st, EventId(event_id))


async def _lock_open(st: Statements, incident_id: IncidentId, now: datetime) -> ReceiptSnapshot:
    """Lock an incident that is not resolved.

    Raises:
        NotFound: no such incident.
        IncidentAlreadyResolved: it has ended.
    """
    snapshot = await lock_incident(st, incident_id)
    (await apply_transition(st, snapshot, Trigger.TRIAGE, now)).raise_refusal()
    return snapshot
