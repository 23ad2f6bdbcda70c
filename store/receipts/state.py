"""Where a stored receipt stands, and the rows that every move writes beside it: timeline, alerts, outbox.

Reads and writes inside the caller's transaction and never commits. Used by `store.receipts.transitions`, `store.receipts.repairs`
and `store.receipts.operator_actions`; the ledger activities ask `load_snapshot` and add notes.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from domain.errors import NotFound
from domain.ids import EventId, IncidentId, ProjectId, ReplayId
from domain.incidents import AlertKind, Reason, RepairCause, RepairState, Resolution, TimelineKind
from domain.lifecycle import LifecycleState, state_of
from domain.receipts import Flag, ReceiptState
from domain.results import LateResult, ResultFacts
from domain.values.timestamps import from_unix_ms, to_unix_ms
from store.crypto.tokens import new_incident_id
from store.db.sql import Statements
from store.receipts.outage_credit import credit_locked

_STANDING = """
SELECT r.event_id, r.project_id, r.livemode, r.state, r.deadline_at, r.flags, i.id, i.reason, i.resolving_replay_id,
       a.replay_id, a.state, a.result_deadline_at, p.late_result, p.timeout_minutes, p.alert_emails,
       CASE WHEN p.repair_url_gone THEN NULL ELSE p.repair_url END,
       (SELECT max(o.id) FROM outages o WHERE o.done_at IS NULL), r.credited_outage, a.credited_outage
FROM receipts r JOIN projects p ON p.id = r.project_id
LEFT JOIN incidents i ON i.event_id = r.event_id
LEFT JOIN repairs a ON a.incident_id = i.id AND a.state IN ('calling', 'awaiting_result')
WHERE r.event_id = $1"""


@dataclass(frozen=True, slots=True)
class ReceiptSnapshot:
    """A receipt, its incident and its active repair at one moment, with what its project wants of them."""

    event_id: EventId
    project_id: ProjectId
    livemode: bool
    receipt_state: ReceiptState
    position: LifecycleState
    deadline_at: datetime
    flags: tuple[Flag, ...]
    incident_id: IncidentId | None
    reason: Reason | None
    ended_by_replay_id: ReplayId | None
    active_replay_id: ReplayId | None
    result_deadline_at: datetime | None
    late_result: LateResult
    timeout_minutes: float
    alert_emails: tuple[str, ...]
    repair_url: str | None
    has_pending_credit: bool = False  # an outage moves its deadline, or its repair's, and has not been applied yet

    @property
    def incident(self) -> IncidentId:
        """The incident's id, where the position says that there is one."""
        if self.incident_id is None:
            raise AssertionError(f"{self.event_id} stands at {self.position} without an incident")
        return self.incident_id


async def load_snapshot(st: Statements, event_id: EventId) -> ReceiptSnapshot:
    """Where the receipt stands, without holding it.

    Raises:
        NotFound: no such receipt.
    """
    rows = await st.fetch(_STANDING, event_id)
    if not rows:
        raise NotFound
    row = rows[0]
    repair_state = None if row[10] is None else RepairState(row[10])
    state = ReceiptState(row[3])
    position = state_of(state, repair_state)
    return ReceiptSnapshot(
        event_id=EventId(row[0]),
        project_id=ProjectId(row[1]),
        livemode=bool(row[2]),
        receipt_state=state,
        position=position,
        deadline_at=from_unix_ms(row[4]),
        flags=tuple(Flag(flag) for flag in row[5].split()),
        incident_id=row[6],
        reason=None if row[7] is None else Reason(row[7]),
        ended_by_replay_id=row[8],
        active_replay_id=row[9],
        result_deadline_at=None if row[11] is None else from_unix_ms(row[11]),
        late_result=LateResult(row[12]),
        timeout_minutes=row[13],
        alert_emails=tuple(json.loads(row[14])),
        repair_url=row[15],
        has_pending_credit=_has_pending_credit(position, newest=row[16], of_receipt=row[17], of_repair=row[18]),
    )


async def project_of(st: Statements, event_id: EventId) -> ProjectId | None:
    """Whose receipt it is, which never changes; None when there is no such receipt."""
    rows = await st.fetch("SELECT project_id FROM receipts WHERE event_id = $1", event_id)
    return ProjectId(rows[0][0]) if rows else None


async def lock_receipt(st: Statements, event_id: EventId) -> ReceiptSnapshot:
    """Where the receipt stands, held until the transaction ends: whoever else wants to move it waits.

    PostgreSQL locks the receipt's row first and reads in a second statement, whose snapshot is younger than the lock; one
    statement would join the locked row to what the others were before it waited. SQLite's transaction is the only writer.
    Outages that have not reached its deadline are applied first, so that nothing is judged without them.

    Raises:
        NotFound: no such receipt.
    """
    if st.dialect == "postgresql":
        await st.fetch("SELECT 1 FROM receipts WHERE event_id = $1 FOR UPDATE", event_id)
    standing = await load_snapshot(st, event_id)
    if not standing.has_pending_credit:
        return standing
    await credit_locked(st, event_id)
    return await load_snapshot(st, event_id)


def _has_pending_credit(position: LifecycleState, *, newest: int | None, of_receipt: int, of_repair: int | None) -> bool:
    """`newest` is the newest outage that has not reached every deadline, None where all have; the others what these have."""
    match position:
        case LifecycleState.WAITING:
            has = of_receipt
        case LifecycleState.AWAITING_RESULT:
            has = of_repair or 0
        case _:
            return False
    return newest is not None and has < newest


async def move_receipt(st: Statements, standing: ReceiptSnapshot, to: ReceiptState, now: datetime) -> None:
    """Compare-and-set the receipt's state; the standing must be held, so that losing is a bug."""
    ended_at = None if to in {ReceiptState.WAITING, ReceiptState.INCIDENT} else to_unix_ms(now)
    moved = await st.fetch(
        "UPDATE receipts SET state = $1, ended_at = $2 WHERE event_id = $3 AND state = $4 RETURNING 1",
        to.value,
        ended_at,
        standing.event_id,
        standing.receipt_state.value,
    )
    if not moved:
        raise AssertionError(f"{standing.event_id} was moved by somebody else while it was held")


async def add_timeline(st: Statements, event_id: EventId, kind: TimelineKind, now: datetime, **fields: object) -> None:
    await st.fetch(
        "INSERT INTO timeline (event_id, at, kind, fields) VALUES ($1, $2, $3, $4)",
        event_id,
        to_unix_ms(now),
        kind.value,
        json.dumps(fields, separators=(",", ":")),
    )


async def enqueue_signal(st: Statements, event_id: EventId, kind: str, now: datetime, **fields: object) -> None:
    """Put into the outbox what the workflow must be told: `result`, `reprocess`, `resolve` or `expire`."""
    await st.fetch(
        "INSERT INTO outbox (event_id, kind, fields, created_at) VALUES ($1, $2, $3, $4)",
        event_id,
        kind,
        json.dumps(fields, separators=(",", ":")),
        to_unix_ms(now),
    )


async def add_alerts(
    st: Statements,
    standing: ReceiptSnapshot,
    incident_id: IncidentId,
    kind: AlertKind,
    now: datetime,
    *,
    replay_id: ReplayId | None = None,
) -> None:
    """One alert for each of the project's destinations; a second time changes nothing."""
    for destination in dict.fromkeys(standing.alert_emails):
        await insert_alert(
            st,
            project_id=standing.project_id,
            incident_id=incident_id,
            event_id=standing.event_id,
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
    """One alert, due now; a second time changes nothing. `about` is a `replay_id` or a destination's digest, '' for neither."""
    await st.fetch(
        "INSERT INTO alerts (project_id, incident_id, event_id, kind, replay_id, destination, created_at, due_at, tries) "
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


async def end_repair(st: Statements, standing: ReceiptSnapshot, replay_id: ReplayId, cause: RepairCause, now: datetime) -> None:
    """Record that a repair failed; the caller says what becomes of the incident."""
    await st.fetch(
        "UPDATE repairs SET state = 'failed', cause = $1 WHERE replay_id = $2 AND state IN ('calling', 'awaiting_result')",
        cause.value,
        replay_id,
    )
    await add_timeline(st, standing.event_id, TimelineKind.REPAIR_FAILED, now, replay_id=replay_id, cause=cause.value)


async def reopen(st: Statements, standing: ReceiptSnapshot, replay_id: ReplayId, cause: RepairCause, now: datetime) -> None:
    """The active repair failed: the incident is open again, and people are told."""
    await end_repair(st, standing, replay_id, cause, now)
    await st.fetch("UPDATE incidents SET state = 'open' WHERE id = $1 AND state = 'repairing'", standing.incident)
    await add_alerts(st, standing, standing.incident, AlertKind.REPAIR_FAILED, now, replay_id=replay_id)


async def resolve_incident(
    st: Statements,
    standing: ReceiptSnapshot,
    to: ReceiptState,
    resolution: Resolution,
    replay_id: ReplayId | None,
    now: datetime,
    **fields: object,
) -> None:
    await move_receipt(st, standing, to, now)
    await st.fetch(
        "UPDATE incidents SET state = 'resolved', resolved_at = $1, resolution = $2, resolving_replay_id = $3 WHERE id = $4",
        to_unix_ms(now),
        resolution.value,
        replay_id,
        standing.incident,
    )
    replay = {"replay_id": replay_id} if replay_id else {}
    named = {"incident_id": standing.incident, "resolution": resolution.value} | replay | fields
    await add_timeline(st, standing.event_id, TimelineKind.INCIDENT_RESOLVED, now, **named)
    await add_alerts(st, standing, standing.incident, AlertKind.INCIDENT_RESOLVED, now)


async def create_incident(
    st: Statements, standing: ReceiptSnapshot, reason: Reason, said: ResultFacts | None, now: datetime
) -> IncidentId:
    incident_id = new_incident_id()
    error_code, error_message = (said.error_code, said.error_message) if said else (None, None)
    await move_receipt(st, standing, ReceiptState.INCIDENT, now)
    await st.fetch(
        "INSERT INTO incidents (id, event_id, project_id, state, reason, error_code, error_message, opened_at) "
        "VALUES ($1, $2, $3, 'open', $4, $5, $6, $7)",
        incident_id,
        standing.event_id,
        standing.project_id,
        reason.value,
        error_code,
        error_message,
        to_unix_ms(now),
    )
    error = {"error_code": error_code} if error_code else {}
    opened = {"incident_id": incident_id, "reason": reason.value} | error
    await add_timeline(st, standing.event_id, TimelineKind.INCIDENT_OPENED, now, **opened)
    await add_alerts(st, standing, incident_id, AlertKind.INCIDENT_OPENED, now)
    return incident_id


async def note(st: Statements, event_id: EventId, now: datetime, *, text: str, **ids: object) -> None:
    """Add a `noted` entry to the timeline."""
    await add_timeline(st, event_id, TimelineKind.NOTED, now, text=text, **ids)
