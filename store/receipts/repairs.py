"""The repairs of an incident: requested by an operator, a bulk repair or a rule, or begun for a
signal. For their attempts see `attempts`.

A repair that is requested while a hold matches is held: it is signalled when it is released.
Each function runs inside the caller's transaction and locks the receipt. A partial unique index
allows one active repair for each incident; a second request adopts it. Running a function twice is
safe. Called by the API's operations and by the lifecycle activities.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.errors import NotFound, RepairUrlMissing, Superseded
from domain.ids import EventId, ReplayId
from domain.incidents import RepairCause
from domain.lifecycle import LifecycleState, Transition, Trigger
from domain.temporal.outbox import OutboxKind
from domain.values.timestamps import to_unix_ms
from store.crypto.tokens import new_replay_id
from store.db.sql import Statements
from store.receipts.held.holds import lock_matching_hold
from store.receipts.outbox import enqueue_signal
from store.receipts.state import ReceiptSnapshot, load_snapshot, lock_receipt
from store.receipts.timeline import note
from store.receipts.transitions import TriggerFacts, apply_transition
from store.receipts.triage.superseded import superseding_events


@dataclass(frozen=True, slots=True)
class Begun:
    """The active repair of the incident: created now (`is_new`), or adopted.

    A new one may be held.
    """

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
    st: Statements, event_id: EventId, now: datetime, *, requested_by: str, confirm: bool = False
) -> Begun:
    """Begin a repair for REST, the console, the command line, a bulk repair or a rule, and enqueue
    its signal; or return the active one.

    `confirm`: begin it although a later event makes it doubtful.

    Raises:
        NotFound: no such receipt, or it has no incident.
        IncidentAlreadyResolved: it has ended.
        RepairUrlMissing: the project has no repair URL, or it is gone.
        Superseded: a later event makes the repair doubtful, and it is not confirmed.
    """
    snapshot = await lock_receipt(st, event_id)
    if snapshot.incident_id is None:
        raise NotFound
    if snapshot.state is LifecycleState.OPEN and snapshot.repair_url is None:
        raise RepairUrlMissing
    is_open = snapshot.state is LifecycleState.OPEN
    if is_open and not confirm and await superseding_events(st, [event_id]):
        raise Superseded
    replay_id = new_replay_id()
    follows = await _apply_request(st, snapshot, replay_id, now, requested_by=requested_by)
    follows.raise_refusal()
    if snapshot.active_replay_id is not None:
        await _signal_again(st, snapshot, snapshot.active_replay_id, requested_by, now)
        return Begun(snapshot.active_replay_id, is_new=False)
    if follows.to is LifecycleState.CALLING:
        await enqueue_signal(
            st, event_id, OutboxKind.REPROCESS, now, replay_id=replay_id, requested_by=requested_by
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
    new = new_replay_id()
    follows = await _apply_request(st, snapshot, new, now, requested_by=requested_by)
    if follows.to not in {LifecycleState.CALLING, LifecycleState.HELD}:
        return RepairRefused(None)
    if follows.to is LifecycleState.CALLING and snapshot.repair_url is None:
        calling = await load_snapshot(st, event_id)
        missing = TriggerFacts(cause=RepairCause.REPAIR_URL_MISSING)
        await apply_transition(st, calling, Trigger.CALLBACK_ENDED, now, missing)
        return RepairRefused(RepairCause.REPAIR_URL_MISSING)
    await _note_doubt(st, event_id, new, now)
    return Begun(new, is_new=True)


async def _note_doubt(
    st: Statements, event_id: EventId, replay_id: ReplayId, now: datetime
) -> None:
    """Note that a signal's repair is doubtful: a signal cannot be asked to confirm it."""
    later = (await superseding_events(st, [event_id])).get(event_id)
    if later is not None:
        text = (
            "The repair was requested by a signal, although a later event of this reference, such"
            " as a refund, makes it doubtful."
        )
        await note(st, event_id, now, text=text, replay_id=replay_id, superseded_by=later)


async def _apply_request(
    st: Statements,
    snapshot: ReceiptSnapshot,
    replay_id: ReplayId,
    now: datetime,
    *,
    requested_by: str,
) -> Transition:
    """Apply the request of a repair. It is held while a hold matches the open incident."""
    hold_id, trigger = None, Trigger.REPROCESS
    if snapshot.state is LifecycleState.OPEN:
        hold_id = await lock_matching_hold(st, snapshot.event_id, now)
        trigger = Trigger.REPROCESS if hold_id is None else Trigger.REPROCESS_UNDER_HOLD
    facts = TriggerFacts(replay_id=replay_id, requested_by=requested_by, hold_id=hold_id)
    return await apply_transition(st, snapshot, trigger, now, facts)


async def _remember_request(
    st: Statements, snapshot: ReceiptSnapshot, marks: Mapping[str, int]
) -> bool:
    """Store the marks with the incident; False when all of them were known."""
    if snapshot.incident_id is None or not marks:
        return True
    marks_of = "SELECT request_marks FROM incidents WHERE id = $1"
    ((stored_marks,),) = await st.fetch(marks_of, snapshot.incident_id)
    known: dict[str, int] = json.loads(stored_marks or "{}")
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
    if snapshot.state is not LifecycleState.CALLING:
        return
    known = await st.fetch(
        "SELECT 1 FROM attempts WHERE replay_id = $1 AND at > $2 "
        "UNION ALL SELECT 1 FROM outbox WHERE event_id = $3 AND kind = $4",
        replay_id,
        to_unix_ms(now - RECENTLY_CALLED),
        snapshot.event_id,
        OutboxKind.REPROCESS.value,
    )
    if not known:
        await enqueue_signal(
            st,
            snapshot.event_id,
            OutboxKind.REPROCESS,
            now,
            replay_id=replay_id,
            requested_by=requested_by,
        )
