"""Actions of operators on an incident or a waiting receipt: resolve, acknowledge, expire. For
reprocess see `repairs`.

Each function runs inside the caller's transaction, locks the receipt, asks `domain.lifecycle` for
the transition and writes it, with the signal for Temporal in the outbox. Called by the operations
that REST, console and command line share.
"""

from datetime import datetime

from domain.errors import Code, IncidentAlreadyResolved, NotFound, NotWaiting
from domain.ids import EventId, IncidentId
from domain.incidents import RepairCause, Resolution, TimelineKind
from domain.lifecycle import Transition, Trigger, transition
from domain.receipts import ReceiptState
from domain.values.timestamps import to_unix_ms
from store.db.sql import Statements
from store.receipts.outbox import enqueue_signal
from store.receipts.rows.incidents import end_repair, resolve_incident
from store.receipts.state import ReceiptSnapshot, lock_receipt
from store.receipts.timeline import add_timeline, note


async def resolve_manually(
    st: Statements, incident_id: IncidentId, now: datetime, *, reason: str, requested_by: str
) -> EventId:
    """Close an incident for an operator's reason; an active repair fails with cause `closed`.

    Raises:
        NotFound: no such incident.
        IncidentAlreadyResolved: it has ended.
    """
    snapshot = await lock_incident(st, incident_id)
    _refuse_resolved(transition(snapshot.position, Trigger.RESOLVE))
    if snapshot.active_replay_id is not None:
        await end_repair(st, snapshot, snapshot.active_replay_id, RepairCause.CLOSED, now)
    resolution = Resolution.MANUAL
    await resolve_incident(
        st,
        snapshot,
        ReceiptState.CLOSED,
        resolution,
        None,
        now,
        reason=reason,
        requested_by=requested_by,
    )
    await enqueue_signal(st, snapshot.event_id, "resolve", now, requested_by=requested_by)
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
    _refuse_resolved(transition(snapshot.position, Trigger.ACKNOWLEDGE))
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
    if transition(snapshot.position, Trigger.EXPIRE).refusal is Code.NOT_WAITING:
        raise NotWaiting
    deadline_at = min(to_unix_ms(snapshot.deadline_at), to_unix_ms(now))
    await st.fetch(
        "UPDATE receipts SET deadline_at = $1 WHERE event_id = $2 AND state = 'waiting'",
        deadline_at,
        event_id,
    )
    await note(st, event_id, now, text="The deadline was moved to now.", requested_by=requested_by)
    await enqueue_signal(st, event_id, "expire", now)


async def lock_incident(st: Statements, incident_id: IncidentId) -> ReceiptSnapshot:
    rows = await st.fetch("SELECT event_id FROM incidents WHERE id = $1", incident_id)
    if not rows:
        raise NotFound
    return await lock_receipt(st, rows[0][0])


def _refuse_resolved(follows: Transition) -> None:
    if follows.refusal is Code.INCIDENT_RESOLVED:
        raise IncidentAlreadyResolved
