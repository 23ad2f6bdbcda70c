"""Actions of operators on an incident or a waiting receipt: resolve, acknowledge, expire. For
reprocess see `repairs`.

Each function runs inside the caller's transaction, locks the receipt, applies the transition or
raises its refusal, and enqueues the signal for Temporal. Called by the operations that REST,
console and command line share.
"""

from datetime import datetime

from domain.errors import NotFound
from domain.ids import EventId, IncidentId
from domain.incidents import TimelineKind
from domain.lifecycle import Trigger
from domain.temporal.outbox import OutboxKind
from domain.values.timestamps import to_unix_ms
from store.db.sql import Statements
from store.receipts.groups.changes import GroupChanges
from store.receipts.outbox import enqueue_signal
from store.receipts.state import ReceiptSnapshot, lock_receipt
from store.receipts.timeline import add_timeline, note
from store.receipts.transitions import TriggerFacts, apply_transition


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


async def acknowledge(
    st: Statements, incident_id: IncidentId, now: datetime, *, requested_by: str
) -> EventId:
    """Record that an operator has seen the incident; only the first acknowledgement counts.

    Raises:
        NotFound: no such incident.
        IncidentAlreadyResolved: it has ended.
    """
    snapshot = await lock_incident(st, incident_id)
    follows = await apply_transition(st, snapshot, Trigger.TRIAGE, now)
    follows.raise_refusal()
    first = await st.fetch(
        "UPDATE incidents SET acknowledged_at = $1 WHERE id = $2 AND acknowledged_at IS NULL"
        " RETURNING 1",
        to_unix_ms(now),
        incident_id,
    )
    if first:
        await add_timeline(
            st,
            snapshot.event_id,
            TimelineKind.INCIDENT_ACKNOWLEDGED,
            now,
            requested_by=requested_by,
        )
    return snapshot.event_id


async def expire(st: Statements, event_id: EventId, now: datetime, *, requested_by: str) -> None:
    """Move the deadline of a waiting receipt to now.

    Raises:
        NotFound: no such receipt.
        NotWaiting: it already has a result or an incident.
    """
    snapshot = await lock_receipt(st, event_id)
    follows = await apply_transition(st, snapshot, Trigger.EXPIRE, now)
    follows.raise_refusal()
    deadline_at = min(to_unix_ms(snapshot.deadline_at), to_unix_ms(now))
    await st.fetch(
        "UPDATE receipts SET deadline_at = $1 WHERE event_id = $2 AND state = 'waiting'",
        deadline_at,
        event_id,
    )
    await note(st, event_id, now, text="The deadline was moved to now.", requested_by=requested_by)
    await enqueue_signal(st, event_id, OutboxKind.EXPIRE, now)


async def lock_incident(st: Statements, incident_id: IncidentId) -> ReceiptSnapshot:
    rows = await st.fetch("SELECT event_id FROM incidents WHERE id = $1", incident_id)
    if not rows:
        raise NotFound
    (event_id,) = rows[0]
    return await lock_receipt(st, EventId(event_id))
