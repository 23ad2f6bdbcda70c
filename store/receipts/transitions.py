"""The transitions that results and passed deadlines cause. For repairs see `repairs`, for operators
`operator_actions`.

Each function runs inside the caller's transaction, locks the receipt, asks `domain.lifecycle` for
the transition, writes it and returns the outcome. Running it twice is safe: the second call finds
the first one's rows and changes nothing. None commits, and none calls Temporal: signals for the
workflow go into the outbox.
"""

from dataclasses import dataclass, field
from datetime import datetime

from domain.ids import EventId, IncidentId, ReplayId, ResultId
from domain.incidents import Reason, RepairCause, RepairState, Resolution, TimelineKind
from domain.lifecycle import (
    END_STATES,
    OPEN_STATES,
    REPAIRING_STATES,
    LifecycleState,
    Transition,
    Trigger,
    transition,
)
from domain.receipts import Flag, ReceiptState
from domain.results import NewResult, ResultFacts, ResultStatus, classify_result
from domain.values.timestamps import to_iso, to_unix_ms
from store.crypto.tokens import new_result_id
from store.db.sql import Statements
from store.receipts.matching import match_event
from store.receipts.outbox import enqueue_signal
from store.receipts.rows.incidents import (
    create_incident,
    end_repair,
    move_receipt,
    reopen,
    resolve_incident,
)
from store.receipts.state import ReceiptSnapshot, lock_receipt
from store.receipts.timeline import add_timeline, note

# Results that may equal a given one, by the index on event, status and digest. '' is a row from
# before digests.
_EQUAL = (
    "status = $2 AND digest IN ($3, '') AND coalesce(replay_id, '') = $4 AND coalesce(error_code,"
    " '') = $5 "
)
_EQUAL += "AND coalesce(error_message, '') = $6"
# Decides whether a result of an ended receipt is a repeat: the stored successes, and the results
# equal to it.
_EARLIER = f"""
SELECT status, replay_id, error_code, error_message FROM results WHERE event_id = $1 AND {_EQUAL}
UNION SELECT status, replay_id, error_code, error_message FROM results WHERE event_id = $1
  AND status = 'success'"""  # noqa: S608
_COUNT_REPEAT = f"""
UPDATE results SET repeats = repeats + 1, repeated_at = $7
WHERE id = (SELECT max(id) FROM results WHERE event_id = $1 AND {_EQUAL}) RETURNING 1"""  # noqa: S608 - of constants alone

_UNCLAIMED = (
    "SELECT id FROM outbox WHERE event_id = $1 AND (claimed_until IS NULL OR claimed_until <= $2)"
    " ORDER BY id LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class AppliedResult:
    """The receipt's state after a result. `result_id` is None for an equal repeat, which is not
    stored.
    """

    event_id: EventId
    state: ReceiptState
    result_id: ResultId | None


@dataclass(frozen=True, slots=True)
class Opened:
    """The receipt has an unresolved incident, opened now (`is_new`) or before."""

    incident_id: IncidentId
    is_new: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Settled:
    """The receipt has ended: no incident opens."""

    position: LifecycleState


@dataclass(frozen=True, slots=True)
class NotYet:
    """The deadline is still in the future by the store's clock."""

    remaining_ms: int


async def apply_result(
    st: Statements, new: NewResult, now: datetime, *, event_id: EventId | None = None
) -> AppliedResult:
    """Store a result and perform its transition. `event_id` is the receipt that it was matched to,
    if it already was.

    Raises:
        NotFound: the result names no receipt of this project, or its `replay_id` is not one of the
            receipt's repairs.
        ValidationFailed: the ids name different events, or several effects of one.
    """
    event_id = event_id or await match_event(st, new)
    snapshot = await lock_receipt(st, event_id)
    facts = ResultFacts(new.status, new.replay_id, new.error_code, new.error_message)
    trigger = classify_result(
        facts,
        state=snapshot.position,
        active_replay_id=snapshot.active_replay_id,
        ended_by_replay_id=snapshot.ended_by_replay_id,
        earlier=await _earlier(st, snapshot, facts),
        late_result=snapshot.late_result,
    )
    if trigger is Trigger.REPEATED or await _is_counted_repeat(st, snapshot, trigger, facts, now):
        return AppliedResult(event_id, snapshot.receipt_state, None)
    result_id = new_result_id()
    await _store_result(st, event_id, result_id, facts, now)
    to = await _follow_result(st, snapshot, trigger, facts, now)
    if snapshot.position not in END_STATES and not await _is_hinted(st, snapshot, now):
        replay = {"replay_id": new.replay_id} if new.replay_id else {}
        await enqueue_signal(
            st, event_id, "result", now, result_id=result_id, status=new.status.value, **replay
        )
    return AppliedResult(event_id, to, result_id)


async def open_incident(
    st: Statements, event_id: EventId, now: datetime
) -> Opened | Settled | NotYet:
    """Open the incident of a receipt whose deadline has passed by the store's clock.

    Raises:
        NotFound: no such receipt.
    """
    snapshot = await lock_receipt(st, event_id)
    if snapshot.position in END_STATES:
        return Settled(snapshot.position)
    if snapshot.position in OPEN_STATES:
        return Opened(snapshot.incident)
    remaining_ms = to_unix_ms(snapshot.deadline_at) - to_unix_ms(now)
    if remaining_ms > 0:
        return NotYet(remaining_ms)
    transition(snapshot.position, Trigger.DEADLINE_PASSED)
    await add_timeline(
        st, event_id, TimelineKind.DEADLINE_PASSED, now, deadline_at=to_iso(snapshot.deadline_at)
    )
    return Opened(
        await create_incident(st, snapshot, Reason.MISSING_RESULT, None, now), is_new=True
    )


async def result_is_stored(st: Statements, event_id: EventId, result_id: ResultId) -> bool:
    return bool(
        await st.fetch("SELECT 1 FROM results WHERE id = $1 AND event_id = $2", result_id, event_id)
    )


async def _is_hinted(st: Statements, snapshot: ReceiptSnapshot, now: datetime) -> bool:
    """Whether the outbox has an unclaimed row for an open incident, so that its run will read the
    store anyway.

    The row is locked, so that it is claimed after this commit or not counted. A row that is locked
    already is being claimed.
    """
    if snapshot.position not in OPEN_STATES:
        return False
    locked = " FOR UPDATE SKIP LOCKED" if st.dialect == "postgresql" else ""
    return bool(await st.fetch(_UNCLAIMED + locked, snapshot.event_id, to_unix_ms(now)))


async def _follow_result(
    st: Statements, snapshot: ReceiptSnapshot, trigger: Trigger, facts: ResultFacts, now: datetime
) -> ReceiptState:
    """Write the transition of a result; returns the receipt's state after it."""
    follows = transition(snapshot.position, trigger)
    match follows.to:
        case LifecycleState.APPLIED if snapshot.position is LifecycleState.WAITING:
            await move_receipt(st, snapshot, ReceiptState.APPLIED, now)
            return ReceiptState.APPLIED
        case LifecycleState.OPEN if snapshot.position is LifecycleState.WAITING:
            await create_incident(st, snapshot, Reason.FAILED_RESULT, facts, now)
            return ReceiptState.INCIDENT
        case LifecycleState.OPEN if (
            snapshot.position in REPAIRING_STATES and snapshot.active_replay_id is not None
        ):
            await reopen(st, snapshot, snapshot.active_replay_id, RepairCause.FAILED_RESULT, now)
            return ReceiptState.INCIDENT
        case LifecycleState.RECOVERED if snapshot.position in OPEN_STATES:
            await _recover(st, snapshot, facts.replay_id, now)
            return ReceiptState.RECOVERED
        case _:
            await _note_result(st, snapshot, follows, facts, now)
            return snapshot.receipt_state


async def _recover(
    st: Statements, snapshot: ReceiptSnapshot, replay_id: ReplayId | None, now: datetime
) -> None:
    """A success ends the incident. The repair that it names succeeded; another active one is
    superseded.
    """
    active = snapshot.active_replay_id
    if active is not None and active != replay_id:
        await end_repair(st, snapshot, active, RepairCause.SUPERSEDED, now)
    if replay_id is not None:
        succeeded = RepairState.SUCCEEDED.value
        await st.fetch(
            "UPDATE repairs SET state = $1, cause = NULL WHERE replay_id = $2", succeeded, replay_id
        )
    resolution = Resolution.LATE_RESULT if replay_id is None else Resolution.REPAIRED
    await resolve_incident(st, snapshot, ReceiptState.RECOVERED, resolution, replay_id, now)


async def _note_result(
    st: Statements,
    snapshot: ReceiptSnapshot,
    follows: Transition,
    facts: ResultFacts,
    now: datetime,
) -> None:
    if not follows.noted:
        return
    replay = {"replay_id": facts.replay_id} if facts.replay_id else {}
    await note(
        st, snapshot.event_id, now, text=f"A {facts.status.value} result changed nothing.", **replay
    )
    if follows.flag is not None:
        await _flag(st, snapshot, follows.flag, now)


async def _flag(st: Statements, snapshot: ReceiptSnapshot, flag: Flag, now: datetime) -> None:
    if flag in snapshot.flags:
        return
    flags = " ".join(sorted({*snapshot.flags, flag}))
    await st.fetch("UPDATE receipts SET flags = $1 WHERE event_id = $2", flags, snapshot.event_id)
    await add_timeline(st, snapshot.event_id, TimelineKind.FLAGGED, now, flag=flag.value)


async def _store_result(
    st: Statements, event_id: EventId, result_id: ResultId, facts: ResultFacts, now: datetime
) -> None:
    await st.fetch(
        "INSERT INTO results (id, event_id, status, replay_id, error_code,"
        " error_message, received_at, digest, repeats) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)",
        result_id,
        event_id,
        facts.status.value,
        facts.replay_id,
        facts.error_code,
        facts.error_message,
        to_unix_ms(now),
        facts.digest,
    )


async def _is_counted_repeat(
    st: Statements, snapshot: ReceiptSnapshot, trigger: Trigger, facts: ResultFacts, now: datetime
) -> bool:
    """Whether an open receipt has an equal result and this one changes nothing: it is counted, not
    stored again.
    """
    if (
        snapshot.position not in OPEN_STATES
        or transition(snapshot.position, trigger).to is not snapshot.position
    ):
        return False
    return bool(
        await st.fetch(_COUNT_REPEAT, snapshot.event_id, *_equal_to(facts), to_unix_ms(now))
    )


async def _earlier(
    st: Statements, snapshot: ReceiptSnapshot, facts: ResultFacts
) -> frozenset[ResultFacts]:
    # Never all results: an app may report failures without end.
    if snapshot.position not in END_STATES:
        return frozenset()
    rows = await st.fetch(_EARLIER, snapshot.event_id, *_equal_to(facts))
    return frozenset(ResultFacts(ResultStatus(row[0]), row[1], row[2], row[3]) for row in rows)


def _equal_to(facts: ResultFacts) -> tuple[str, str, str, str, str]:
    return (
        facts.status.value,
        facts.digest,
        facts.replay_id or "",
        facts.error_code or "",
        facts.error_message or "",
    )
