"""The repairs of an incident: requested, begun, or failed without a result. For their attempts see
`attempts`.

Each function runs inside the caller's transaction and locks the receipt. A partial unique index
allows one active repair for each incident; a second request adopts it. Running a function twice is
safe. Called by the API's operations and by the lifecycle activities.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.errors import Code, IncidentAlreadyResolved, NotFound, RepairUrlMissing
from domain.ids import EventId, ReplayId
from domain.incidents import AlertKind, RepairCause, RepairState, TimelineKind
from domain.lifecycle import LifecycleState, Trigger, transition
from domain.values.timestamps import to_unix_ms
from store.crypto.tokens import new_replay_id
from store.db.sql import Statements
from store.receipts.outbox import enqueue_signal
from store.receipts.rows.alerts import add_alerts
from store.receipts.rows.incidents import end_repair, reopen
from store.receipts.state import ReceiptSnapshot, lock_receipt
from store.receipts.timeline import add_timeline
from store.receipts.transitions import NotYet


@dataclass(frozen=True, slots=True)
class Begun:
    """The active repair of the incident: created now (`is_new`), or adopted."""

    replay_id: ReplayId
    is_new: bool


@dataclass(frozen=True, slots=True)
class RepairRefused:
    """No repair began. `cause` is that of the failed repair which was recorded; None when none was.

    `is_repeat`: the same request was carried out before, and its repair has ended.
    """

    cause: RepairCause | None
    is_repeat: bool = False


SEEN = RepairRefused(None, is_repeat=True)
# A series is a run in Temporal, or a run after its reset. Nobody resets the run of one receipt this
# often.
SERIES_STORED = 100
# Longer than one attempt takes.
RECENTLY_CALLED = timedelta(minutes=1)


async def request_repair(
    st: Statements, event_id: EventId, now: datetime, *, requested_by: str
) -> Begun:
    """Begin a repair for REST, the console or the command line, and enqueue its signal; or return
    the active one.

    Raises:
        NotFound: no such receipt, or it has no incident.
        IncidentAlreadyResolved: it has ended.
        RepairUrlMissing: the project has no repair URL, or it is gone.
    """
    snapshot = await lock_receipt(st, event_id)
    if snapshot.incident_id is None:
        raise NotFound
    if transition(snapshot.position, Trigger.REPROCESS).refusal is Code.INCIDENT_RESOLVED:
        raise IncidentAlreadyResolved
    if snapshot.active_replay_id is not None:
        await _signal_again(st, snapshot, snapshot.active_replay_id, requested_by, now)
        return Begun(snapshot.active_replay_id, is_new=False)
    if snapshot.repair_url is None:
        raise RepairUrlMissing
    replay_id = new_replay_id()
    await _create_repair(st, snapshot, replay_id, requested_by, now)
    await enqueue_signal(
        st, event_id, "reprocess", now, replay_id=replay_id, requested_by=requested_by
    )
    return Begun(replay_id, is_new=True)


async def begin_repair(
    st: Statements,
    event_id: EventId,
    now: datetime,
    *,
    requested_by: str,
    replay_id: ReplayId | None,
    marks: Mapping[str, int] | None = None,
) -> Begun | RepairRefused:
    """Begin the repair that a `reprocess` signal requests.

    1. The signal names a `replay_id`: it is returned if it is the active repair, else refused.
    2. Otherwise an active repair is adopted.
    3. Otherwise a new repair is created; without a repair URL it is recorded as failed at once.

    `marks` identify the request: a number in each series of signals. The incident stores the
    highest numbers that were handled. A request whose marks are all that old is `SEEN`, even when
    its repair has ended.

    Raises:
        NotFound: no such receipt.
    """
    snapshot = await lock_receipt(st, event_id)
    if replay_id is not None:
        return (
            Begun(replay_id, is_new=False)
            if replay_id == snapshot.active_replay_id
            else RepairRefused(None)
        )
    is_seen = not await _remember_request(st, snapshot, marks or {})
    if snapshot.active_replay_id is not None:
        return Begun(snapshot.active_replay_id, is_new=False)
    if is_seen:
        return SEEN
    if snapshot.position is not LifecycleState.OPEN:
        return RepairRefused(None)
    new = new_replay_id()
    if snapshot.repair_url is None:
        await _create_failed_repair(st, snapshot, new, requested_by, now)
        return RepairRefused(RepairCause.REPAIR_URL_MISSING)
    await _create_repair(st, snapshot, new, requested_by, now)
    return Begun(new, is_new=True)


async def fail_overdue_repair(
    st: Statements, event_id: EventId, replay_id: ReplayId, now: datetime
) -> LifecycleState | NotYet:
    """Fail a repair whose result did not arrive by its deadline; returns the receipt's state.

    Raises:
        NotFound: no such receipt.
    """
    snapshot = await lock_receipt(st, event_id)
    if snapshot.active_replay_id != replay_id or snapshot.result_deadline_at is None:
        return snapshot.position
    remaining_ms = to_unix_ms(snapshot.result_deadline_at) - to_unix_ms(now)
    if remaining_ms > 0:
        return NotYet(remaining_ms)
    to = transition(snapshot.position, Trigger.REPAIR_DEADLINE_PASSED).to
    if to is not snapshot.position:
        await reopen(st, snapshot, replay_id, RepairCause.NO_RESULT, now)
    return to


async def _remember_request(
    st: Statements, snapshot: ReceiptSnapshot, marks: Mapping[str, int]
) -> bool:
    """Store the marks with the incident; False when all of them were known."""
    if snapshot.incident_id is None or not marks:
        return True
    rows = await st.fetch("SELECT request_marks FROM incidents WHERE id = $1", snapshot.incident_id)
    known: dict[str, int] = json.loads(rows[0][0] or "{}")
    new = {series: number for series, number in marks.items() if number > known.get(series, 0)}
    if not new:
        return False
    latest = dict(
        [
            *((series, number) for series, number in known.items() if series not in new),
            *new.items(),
        ][-SERIES_STORED:]
    )
    stored = json.dumps(latest, separators=(",", ":"))
    await st.fetch(
        "UPDATE incidents SET request_marks = $1 WHERE id = $2", stored, snapshot.incident_id
    )
    return True


async def _signal_again(
    st: Statements, snapshot: ReceiptSnapshot, replay_id: ReplayId, requested_by: str, now: datetime
) -> None:
    """Signal a calling repair again if it had no attempt in the last minute: Temporal may have lost
    the signal.

    The signal names the repair, so a run that is already calling it ignores the signal.
    """
    if snapshot.position is not LifecycleState.CALLING:
        return
    known = await st.fetch(
        "SELECT 1 FROM attempts WHERE replay_id = $1 AND at > $2 "
        "UNION ALL SELECT 1 FROM outbox WHERE event_id = $3 AND kind = 'reprocess'",
        replay_id,
        to_unix_ms(now - RECENTLY_CALLED),
        snapshot.event_id,
    )
    if not known:
        await enqueue_signal(
            st, snapshot.event_id, "reprocess", now, replay_id=replay_id, requested_by=requested_by
        )


async def _create_repair(
    st: Statements, snapshot: ReceiptSnapshot, replay_id: ReplayId, requested_by: str, now: datetime
) -> None:
    await _insert(st, snapshot, replay_id, requested_by, now)
    await st.fetch(
        "UPDATE incidents SET state = 'repairing' WHERE id = $1 AND state = 'open'",
        snapshot.incident,
    )


async def _create_failed_repair(
    st: Statements, snapshot: ReceiptSnapshot, replay_id: ReplayId, requested_by: str, now: datetime
) -> None:
    await _insert(st, snapshot, replay_id, requested_by, now)
    await end_repair(st, snapshot, replay_id, RepairCause.REPAIR_URL_MISSING, now)
    await add_alerts(
        st, snapshot, snapshot.incident, AlertKind.REPAIR_FAILED, now, replay_id=replay_id
    )


async def _insert(
    st: Statements, snapshot: ReceiptSnapshot, replay_id: ReplayId, requested_by: str, now: datetime
) -> None:
    await st.fetch(
        "INSERT INTO repairs (replay_id, incident_id, event_id, state,"
        " requested_by, requested_at) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        replay_id,
        snapshot.incident,
        snapshot.event_id,
        RepairState.CALLING.value,
        requested_by,
        to_unix_ms(now),
    )
    requested = {"replay_id": replay_id, "requested_by": requested_by}
    await add_timeline(st, snapshot.event_id, TimelineKind.REPROCESS_REQUESTED, now, **requested)
