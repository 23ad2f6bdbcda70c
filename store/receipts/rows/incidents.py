"""Writes what a transition changes: the receipt's state, its incident, its active repair, with
timeline entries and alerts.

Runs inside the caller's transaction, which has locked the receipt, and never commits.
`domain.lifecycle` decides which of these changes follows; the callers are
`store.receipts.transitions`, `repairs`, `attempts` and `operator_actions`.
"""

from datetime import datetime

from domain.ids import IncidentId, ReplayId
from domain.incidents import AlertKind, Reason, RepairCause, Resolution, TimelineKind
from domain.receipts import ReceiptState
from domain.results import ResultFacts
from domain.values.timestamps import to_unix_ms
from store.crypto.tokens import new_incident_id
from store.db.sql import Statements
from store.receipts.rows.alerts import add_alerts
from store.receipts.state import ReceiptSnapshot
from store.receipts.timeline import add_timeline


async def move_receipt(
    st: Statements, snapshot: ReceiptSnapshot, to: ReceiptState, now: datetime
) -> None:
    """Compare-and-set the receipt's state. The caller has locked the receipt, so a lost update is a
    bug.
    """
    ended_at = None if to in {ReceiptState.WAITING, ReceiptState.INCIDENT} else to_unix_ms(now)
    moved = await st.fetch(
        "UPDATE receipts SET state = $1, ended_at = $2 WHERE event_id = $3 AND state = $4"
        " RETURNING 1",
        to.value,
        ended_at,
        snapshot.event_id,
        snapshot.receipt_state.value,
    )
    if not moved:
        raise AssertionError(
            f"{snapshot.event_id} was changed by another transaction while it was locked"
        )


async def create_incident(
    st: Statements,
    snapshot: ReceiptSnapshot,
    reason: Reason,
    facts: ResultFacts | None,
    now: datetime,
) -> IncidentId:
    incident_id = new_incident_id()
    error_code, error_message = (facts.error_code, facts.error_message) if facts else (None, None)
    await move_receipt(st, snapshot, ReceiptState.INCIDENT, now)
    await st.fetch(
        "INSERT INTO incidents (id, event_id, project_id, state, reason,"
        " error_code, error_message, opened_at, event_type, effect_type) "
        "VALUES ($1, $2, $3, 'open', $4, $5, $6, $7,"
        " (SELECT event_type FROM receipts WHERE event_id = $2),"
        " (SELECT effect_type FROM receipts WHERE event_id = $2))",
        incident_id,
        snapshot.event_id,
        snapshot.project_id,
        reason.value,
        error_code,
        error_message,
        to_unix_ms(now),
    )
    error = {"error_code": error_code} if error_code else {}
    opened = {"incident_id": incident_id, "reason": reason.value} | error
    await add_timeline(st, snapshot.event_id, TimelineKind.INCIDENT_OPENED, now, **opened)
    await add_alerts(st, snapshot, incident_id, AlertKind.INCIDENT_OPENED, now)
    return incident_id


async def resolve_incident(
    st: Statements,
    snapshot: ReceiptSnapshot,
    to: ReceiptState,
    resolution: Resolution,
    replay_id: ReplayId | None,
    now: datetime,
    **fields: object,
) -> None:
    await move_receipt(st, snapshot, to, now)
    await st.fetch(
        "UPDATE incidents SET state = 'resolved', resolved_at = $1, resolution = $2,"
        " resolving_replay_id = $3 WHERE id = $4",
        to_unix_ms(now),
        resolution.value,
        replay_id,
        snapshot.incident,
    )
    replay = {"replay_id": replay_id} if replay_id else {}
    named = {"incident_id": snapshot.incident, "resolution": resolution.value} | replay | fields
    await add_timeline(st, snapshot.event_id, TimelineKind.INCIDENT_RESOLVED, now, **named)
    await add_alerts(st, snapshot, snapshot.incident, AlertKind.INCIDENT_RESOLVED, now)


async def end_repair(
    st: Statements,
    snapshot: ReceiptSnapshot,
    replay_id: ReplayId,
    cause: RepairCause,
    now: datetime,
) -> None:
    """Record that a repair failed; the caller changes the incident."""
    await st.fetch(
        "UPDATE repairs SET state = 'failed', cause = $1 WHERE replay_id = $2 AND state IN"
        " ('calling', 'awaiting_result')",
        cause.value,
        replay_id,
    )
    await add_timeline(
        st,
        snapshot.event_id,
        TimelineKind.REPAIR_FAILED,
        now,
        replay_id=replay_id,
        cause=cause.value,
    )


async def reopen(
    st: Statements,
    snapshot: ReceiptSnapshot,
    replay_id: ReplayId,
    cause: RepairCause,
    now: datetime,
) -> None:
    """Record that the active repair failed: the incident is open again and alerts are sent."""
    await end_repair(st, snapshot, replay_id, cause, now)
    await st.fetch(
        "UPDATE incidents SET state = 'open' WHERE id = $1 AND state = 'repairing'",
        snapshot.incident,
    )
    await add_alerts(
        st, snapshot, snapshot.incident, AlertKind.REPAIR_FAILED, now, replay_id=replay_id
    )
