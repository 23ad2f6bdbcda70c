"""Applies triggers to receipts: the only code that changes the state of a receipt, an incident or a
repair.

`apply_transition` looks the trigger up in the table of `domain.lifecycle` and writes what follows:

1. The states, each as a compare-and-set, and the rows of a new incident or repair.
2. The entries of the timeline, and the receipt's flag.
3. The counts of the incident's group, and the alerts. A batch has them written at its end.

It runs inside the caller's transaction, which has locked the receipt, and never commits. It never
calls Temporal: a caller that has something to signal enqueues it.
"""

from datetime import datetime

from domain.groups.group import Cause
from domain.ids import ReplayId
from domain.incidents import (
    AlertKind,
    IncidentState,
    Reason,
    RepairCause,
    RepairState,
    Resolution,
    TimelineKind,
)
from domain.lifecycle import (
    UNDECIDED_STATES,
    LifecycleState,
    Transition,
    Trigger,
    states_at,
    transition,
)
from domain.receipts import ReceiptState, timeout_span
from domain.values.timestamps import to_iso, to_unix_ms
from store.db.sql import Statements, Value
from store.receipts.groups.apply import apply_group_changes
from store.receipts.groups.changes import GroupChanges
from store.receipts.groups.gathering import gather_moved, gather_opened
from store.receipts.rows.alerts import AlertRound, end_snooze, round_name
from store.receipts.rows.changes import Change, add_entry, given, note_unchanged
from store.receipts.rows.changes import TriggerFacts as TriggerFacts
from store.receipts.rows.rule_turns import add_turn_of_failed, add_turn_of_opened
from store.receipts.state import ReceiptSnapshot

# Why an incident opens that no failed result opens.
_MISSING = {
    LifecycleState.EXPECTED: Reason.MISSING_RECEIPT,
    LifecycleState.WAITING: Reason.MISSING_RESULT,
}
# Why the active repair fails. `CALLBACK_ENDED` brings its own cause.
_CAUSES = {
    Trigger.FAILED_BY_ACTIVE_REPLAY: RepairCause.FAILED_RESULT,
    Trigger.REPAIR_DEADLINE_PASSED: RepairCause.NO_RESULT,
    Trigger.SUCCESS: RepairCause.SUPERSEDED,
    Trigger.SUCCESS_BY_REPLAY: RepairCause.SUPERSEDED,
    Trigger.SUCCESS_ALREADY_APPLIED: RepairCause.SUPERSEDED,
    Trigger.RESOLVE: RepairCause.CLOSED,
    Trigger.STOP: RepairCause.STOPPED,
}
_RESOLUTIONS = {
    Trigger.SUCCESS: Resolution.LATE_RESULT,
    Trigger.SUCCESS_BY_REPLAY: Resolution.REPAIRED,
    Trigger.SUCCESS_ALREADY_APPLIED: Resolution.ALREADY_APPLIED,
    Trigger.RESOLVE: Resolution.MANUAL,
}
_MOVE_RECEIPT = (
    "UPDATE receipts SET state = $1, ended_at = $4 WHERE event_id = $2 AND state = $3 RETURNING 1"
)
_INSERT_INCIDENT = (
    "INSERT INTO incidents (id, event_id, project_id, state, reason, error_code, error_message,"
    " opened_at, event_type, effect_type, amount, currency, customer_reference, deadline_at,"
    " sort_amount) SELECT $1, $2, $3, $4, $5, $6, $7, CAST($8 AS BIGINT), event_type, effect_type,"
    " amount, currency, customer_reference, deadline_at, COALESCE(amount, -1)"
    " FROM receipts WHERE event_id = $2 RETURNING effect_type, amount, currency"
)
_MOVE_INCIDENT = "UPDATE incidents SET state = $1 WHERE id = $2 AND state = $3 RETURNING 1"
_RESOLVE_INCIDENT = (
    "UPDATE incidents SET state = $1, resolved_at = $4, resolution = $5, resolving_replay_id = $6,"
    " acknowledged_until = NULL WHERE id = $2 AND state = $3 RETURNING 1"
)
_REOPEN_INCIDENT = (
    "UPDATE incidents SET state = $1, resolved_at = NULL, resolution = NULL, acknowledged_at = NULL"
    ", acknowledged_by = NULL WHERE id = $2 AND state = $3 AND resolution = 'manual' RETURNING 1"
)
_INSERT_REPAIR = (
    "INSERT INTO repairs (replay_id, incident_id, event_id, state, requested_by, requested_at,"
    " hold_id) VALUES ($1, $2, $3, $4, $5, $6, $7)"
)
_MOVE_REPAIR = (
    "UPDATE repairs SET state = $1, cause = $4 WHERE replay_id = $2 AND state = $3 RETURNING 1"
)
# Outages of the past do not credit a deadline that begins now.
_AWAIT_RESULT = (
    "UPDATE repairs SET state = $1, result_deadline_at = $4,"
    " credited_outage = (SELECT coalesce(max(id), 0) FROM outages)"
    " WHERE replay_id = $2 AND state = $3 RETURNING 1"
)


async def apply_transition(
    st: Statements,
    snapshot: ReceiptSnapshot,
    trigger: Trigger,
    now: datetime,
    facts: TriggerFacts | None = None,
    *,
    groups: GroupChanges | None = None,
) -> Transition:
    """Write the transition of a locked receipt. With a `refusal`, nothing is written.

    A caller that locks further receipts passes `groups`, and applies them when it has locked all.

    Raises:
        IllegalTransition: the trigger cannot happen in this state.
    """
    gathered = GroupChanges() if groups is None else groups
    follows = await _apply(Change(st, snapshot, trigger, facts or TriggerFacts(), now, gathered))
    if groups is None:
        await apply_group_changes(st, gathered, now)
    return follows


async def _apply(change: Change) -> Transition:
    snapshot, follows = change.snapshot, transition(change.snapshot.state, change.trigger)
    if follows.noted:
        await note_unchanged(change, follows.flag)
    if follows.to is snapshot.state:
        return follows
    match follows.to:
        case LifecycleState.APPLIED:
            await _move_receipt(change, ReceiptState.APPLIED)
        case LifecycleState.WAITING:
            await _move_receipt(change, ReceiptState.WAITING)
        case LifecycleState.OPEN if snapshot.state in UNDECIDED_STATES:
            await _open_incident(change)
        case LifecycleState.OPEN if change.trigger is Trigger.REOPEN:
            await _reopen_incident(change)
        case LifecycleState.OPEN:
            await _fail_active_repair(change)
        case LifecycleState.CALLING if snapshot.state is LifecycleState.HELD:
            await _release_repair(change)
        case LifecycleState.CALLING:
            await _begin_repair(change, RepairState.CALLING)
        case LifecycleState.HELD:
            await _begin_repair(change, RepairState.HELD)
        case LifecycleState.AWAITING_RESULT:
            await _await_result(change)
        case LifecycleState.RECOVERED | LifecycleState.CLOSED:
            await _end_repairs(change)
            await _resolve_incident(change, states_at(follows.to)[0])
        case LifecycleState.EXPECTED:
            raise AssertionError("no transition leads back to expected")
    return follows


async def _move_receipt(change: Change, to: ReceiptState) -> None:
    has_ended = to not in {ReceiptState.WAITING, ReceiptState.INCIDENT}
    ended_at = to_unix_ms(change.now) if has_ended else None
    before = change.snapshot.receipt_state.value
    await _move(change, _MOVE_RECEIPT, to.value, change.snapshot.event_id, before, ended_at)


async def _open_incident(change: Change) -> None:
    snapshot, facts = change.snapshot, change.facts
    if change.trigger is Trigger.DEADLINE_PASSED:
        deadline_at = to_iso(snapshot.deadline_at)
        await add_entry(change, TimelineKind.DEADLINE_PASSED, deadline_at=deadline_at)
    await _move_receipt(change, ReceiptState.INCIDENT)
    error_code = facts.result.error_code if facts.result else None
    is_failure = change.trigger is Trigger.FAILED
    reason = Reason.FAILED_RESULT if is_failure else _MISSING[snapshot.state]
    why = (reason.value, error_code, facts.result.error_message if facts.result else None)
    of = (facts.incident_id, snapshot.event_id, snapshot.project_id, IncidentState.OPEN.value)
    rows = await change.st.fetch(_INSERT_INCIDENT, *of, *why, to_unix_ms(change.now))
    error = {"error_code": error_code} if error_code else {}
    opened = {"incident_id": facts.incident_id, "reason": reason.value} | error
    await add_entry(change, TimelineKind.INCIDENT_OPENED, **opened)
    effect_type, amount, currency = rows[0]
    cause = Cause(snapshot.project_id, effect_type, reason.value, error_code or "")
    gather_opened(change.groups, snapshot, facts.incident_id, cause, (amount, currency))
    await add_turn_of_opened(change.st, facts.incident_id, change.now)


async def _fail_active_repair(change: Change) -> None:
    """The active repair failed: the incident is open again, and no longer snoozed."""
    incident, replay_id = change.snapshot.incident, given(change.snapshot.active_replay_id)
    await _fail_repair(change, replay_id, change.facts.cause or _CAUSES[change.trigger])
    await _move_incident(change, IncidentState.OPEN, AlertKind.REPAIR_FAILED, replay_id)
    if await end_snooze(change.st, incident, change.now):
        await add_entry(change, TimelineKind.SNOOZE_ENDED, replay_id=replay_id)
    # A rule does not undo what a person stopped.
    if change.trigger is not Trigger.STOP:
        await add_turn_of_failed(change.st, change.snapshot, replay_id, change.now)


async def _reopen_incident(change: Change) -> None:
    """An operator takes the manual resolution back: the incident is open, as if it were new."""
    snapshot, facts = change.snapshot, change.facts
    await _move_receipt(change, ReceiptState.INCIDENT)
    before = _incident_state(change).value
    await _move(change, _REOPEN_INCIDENT, IncidentState.OPEN.value, snapshot.incident, before)
    reopened = {"reason": facts.reason, "requested_by": facts.requested_by}
    await add_entry(change, TimelineKind.INCIDENT_REOPENED, **reopened)
    again = round_name(AlertRound.REOPENED, change.now)
    _move_in_group(change, IncidentState.OPEN, AlertKind.INCIDENT_OPENED, again)


async def _begin_repair(change: Change, state: RepairState) -> None:
    snapshot, facts = change.snapshot, change.facts
    replay_id, requested_by = given(facts.replay_id), given(facts.requested_by)
    of, asked_at = (replay_id, snapshot.incident, snapshot.event_id), to_unix_ms(change.now)
    asked = (state.value, requested_by, asked_at, facts.hold_id)
    await change.st.fetch(_INSERT_REPAIR, *of, *asked)
    held = {"hold_id": facts.hold_id} if facts.hold_id else {}
    requested = {"replay_id": replay_id, "requested_by": requested_by} | held
    await add_entry(change, TimelineKind.REPROCESS_REQUESTED, **requested)
    await _move_incident(change, IncidentState.REPAIRING)


async def _release_repair(change: Change) -> None:
    """No hold matches the incident any more: its held repair begins."""
    before, after = RepairState.HELD.value, RepairState.CALLING.value
    replay_id = given(change.snapshot.active_replay_id)
    await _move(change, _MOVE_REPAIR, after, replay_id, before, None)


async def _await_result(change: Change) -> None:
    """The app accepted the callback: its result is due after the project's timeout."""
    before, after = RepairState.CALLING.value, RepairState.AWAITING_RESULT.value
    due_at = to_unix_ms(change.now + timeout_span(change.snapshot.timeout_minutes))
    replay_id = given(change.snapshot.active_replay_id)
    await _move(change, _AWAIT_RESULT, after, replay_id, before, due_at)


async def _end_repairs(change: Change) -> None:
    """The repair that the result names succeeded; another active one failed."""
    active, named = change.snapshot.active_replay_id, change.named_replay_id
    if active is not None and active != named:
        await _fail_repair(change, active, _CAUSES[change.trigger])
    if named is not None:
        before = _active_state(change) if named == active else RepairState.FAILED
        succeeded = RepairState.SUCCEEDED.value
        await _move(change, _MOVE_REPAIR, succeeded, named, before.value, None)


async def _fail_repair(change: Change, active: ReplayId, cause: RepairCause) -> None:
    before, after = _active_state(change).value, RepairState.FAILED.value
    await _move(change, _MOVE_REPAIR, after, active, before, cause.value)
    failed = {"replay_id": active, "cause": cause.value}
    await add_entry(change, TimelineKind.REPAIR_FAILED, **failed)


async def _resolve_incident(change: Change, to: ReceiptState) -> None:
    snapshot, facts, replay_id = change.snapshot, change.facts, change.named_replay_id
    await _move_receipt(change, to)
    before, after = _incident_state(change).value, IncidentState.RESOLVED.value
    resolution = _RESOLUTIONS[change.trigger].value
    values = (snapshot.incident, before, to_unix_ms(change.now), resolution, replay_id)
    await _move(change, _RESOLVE_INCIDENT, after, *values)
    optional = {"replay_id": replay_id, "reason": facts.reason, "requested_by": facts.requested_by}
    given = {name: value for name, value in optional.items() if value is not None}
    resolved = {"incident_id": snapshot.incident, "resolution": resolution} | given
    await add_entry(change, TimelineKind.INCIDENT_RESOLVED, **resolved)
    await end_snooze(change.st, snapshot.incident, change.now)
    _move_in_group(change, IncidentState.RESOLVED, AlertKind.INCIDENT_RESOLVED)


async def _move_incident(
    change: Change, to: IncidentState, alert: AlertKind | None = None, about: str = ""
) -> None:
    before = _incident_state(change).value
    await _move(change, _MOVE_INCIDENT, to.value, change.snapshot.incident, before)
    _move_in_group(change, to, alert, about)


def _move_in_group(
    change: Change, to: IncidentState, alert: AlertKind | None, about: str = ""
) -> None:
    gather_moved(change.groups, change.snapshot, _incident_state(change), to, alert, about)


async def _move(change: Change, sql: str, to: str, row_id: str, *values: Value) -> None:
    """Compare-and-set a state. The receipt is locked, so a lost update is a bug."""
    if not await change.st.fetch(sql, to, row_id, *values):
        event_id = change.snapshot.event_id
        raise AssertionError(f"{event_id} was changed by another transaction while it was locked")


def _active_state(change: Change) -> RepairState:
    """The state of the active repair: the lifecycle state has the same name."""
    return RepairState(change.snapshot.state.value)


def _incident_state(change: Change) -> IncidentState:
    return given(states_at(change.snapshot.state)[1])
