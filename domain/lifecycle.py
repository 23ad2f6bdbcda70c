"""The state machine of a receipt, as one table of triggers and states.

    state             receipt     incident    repair
    waiting           waiting     -           -
    applied           applied     -           -                end
    open              incident    open        - or ended
    calling           incident    repairing   calling
    awaiting_result   incident    repairing   awaiting_result
    recovered         recovered   resolved    - or ended       end
    closed            closed      resolved    - or ended       end

1. `transition` is the only way from one state to the next. It does no I/O and reads no clock.
2. The store performs what it returns as compare-and-sets, and the workflow follows the stored
   state.
3. A pair that cannot happen raises `IllegalTransition` and changes nothing.

The picture in `docs/how-recovery-works.md` is drawn from this table.
"""

from dataclasses import dataclass
from enum import StrEnum

from domain.errors import Code
from domain.incidents import IncidentState, RepairState
from domain.receipts import Flag, ReceiptState


class LifecycleState(StrEnum):
    """The combined state of a receipt, its incident and its repair."""

    WAITING = "waiting"
    APPLIED = "applied"
    OPEN = "open"
    CALLING = "calling"
    AWAITING_RESULT = "awaiting_result"
    RECOVERED = "recovered"
    CLOSED = "closed"


class Trigger(StrEnum):
    """What can happen to a receipt."""

    SUCCESS = "success"
    SUCCESS_TO_NOTE = "success_to_note"
    SUCCESS_BY_REPLAY = "success_by_replay"
    FAILED = "failed"
    FAILED_AFTER_SUCCESS = "failed_after_success"
    FAILED_BY_ACTIVE_REPLAY = "failed_by_active_replay"
    REPEATED = "repeated"
    DEADLINE_PASSED = "deadline_passed"
    REPROCESS = "reprocess"
    CALLBACK_ACCEPTED = "callback_accepted"
    CALLBACK_ENDED = "callback_ended"
    REPAIR_DEADLINE_PASSED = "repair_deadline_passed"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"
    EXPIRE = "expire"


@dataclass(frozen=True, slots=True)
class Transition:
    """The result of a trigger: the next state, or a refusal with nothing changed.

    `noted`: the timeline gets an entry. `flag` is set on the receipt.
    """

    to: LifecycleState
    noted: bool = False
    flag: Flag | None = None
    refusal: Code | None = None


class IllegalTransition(Exception):
    """The trigger cannot happen in this state. It is a bug: races are in the table."""

    def __init__(self, state: LifecycleState, trigger: Trigger) -> None:
        super().__init__(f"{trigger.value} cannot happen in state {state.value}")


W, A, O, C, R, V, X = LifecycleState  # noqa: E741 - one letter for each column of the table below
OPEN_STATES = frozenset({O, C, R})
END_STATES = frozenset({A, V, X})
REPAIRING_STATES = frozenset({C, R})

_DOUBLE_APPLIED, _DOUBLE_RECOVERED = (
    Transition(A, True, Flag.DOUBLE_APPLICATION),
    Transition(V, True, Flag.DOUBLE_APPLICATION),
)
_CONTRADICTED_APPLIED, _CONTRADICTED_RECOVERED = (
    Transition(A, True, Flag.CONTRADICTION),
    Transition(V, True, Flag.CONTRADICTION),
)
_LATE = Transition(X, True, Flag.LATE_SUCCESS)


def _stay(*states: LifecycleState) -> dict[LifecycleState, Transition]:
    return {state: Transition(state) for state in states}


def _note(*states: LifecycleState) -> dict[LifecycleState, Transition]:
    return {state: Transition(state, noted=True) for state in states}


def _to(target: LifecycleState, *states: LifecycleState) -> dict[LifecycleState, Transition]:
    return {state: Transition(target) for state in states}


def _refuse(code: Code, *states: LifecycleState) -> dict[LifecycleState, Transition]:
    return {state: Transition(state, refusal=code) for state in states}


TRANSITIONS: dict[Trigger, dict[LifecycleState, Transition]] = {
    # Results that the app sends.
    Trigger.SUCCESS: _to(A, W)
    | _to(V, O, C, R)
    | {A: Transition(A), V: _DOUBLE_RECOVERED, X: _LATE},
    Trigger.SUCCESS_TO_NOTE: _note(O, C, R),
    Trigger.SUCCESS_BY_REPLAY: _to(V, O, C, R) | {V: _DOUBLE_RECOVERED, X: _LATE},
    Trigger.FAILED: _to(O, W)
    | _note(O, C, R, X)
    | {A: _CONTRADICTED_APPLIED, V: _CONTRADICTED_RECOVERED},
    Trigger.FAILED_AFTER_SUCCESS: {X: Transition(X, True, Flag.CONTRADICTION)},
    Trigger.FAILED_BY_ACTIVE_REPLAY: _to(O, C, R),
    Trigger.REPEATED: _stay(A, V, X),
    # Deadlines and callback attempts. They may come late: a receipt in a later state ignores them.
    Trigger.DEADLINE_PASSED: _to(O, W) | _stay(A, O, C, R, V, X),
    Trigger.CALLBACK_ACCEPTED: _to(R, C) | _stay(O, R, V, X),
    Trigger.CALLBACK_ENDED: _to(O, C) | _stay(O, R, V, X),
    Trigger.REPAIR_DEADLINE_PASSED: _to(O, R) | _stay(O, C, V, X),
    # Requests of an operator.
    Trigger.REPROCESS: _to(C, O) | _stay(W, C, R) | _refuse(Code.INCIDENT_RESOLVED, A, V, X),
    Trigger.ACKNOWLEDGE: _stay(O, C, R) | _refuse(Code.INCIDENT_RESOLVED, V, X),
    Trigger.RESOLVE: _to(X, O, C, R) | _refuse(Code.INCIDENT_RESOLVED, A, V, X),
    Trigger.EXPIRE: _stay(W) | _refuse(Code.NOT_WAITING, A, O, C, R, V, X),
}


def transition(state: LifecycleState, trigger: Trigger) -> Transition:
    """The transition of a receipt in `state` on `trigger`.

    Raises:
        IllegalTransition: the pair is not in the table.
    """
    try:
        return TRANSITIONS[trigger][state]
    except KeyError:
        raise IllegalTransition(state, trigger) from None


def state_of(receipt: ReceiptState, repair: RepairState | None) -> LifecycleState:
    """The lifecycle state of a stored receipt. `repair` is the state of its active repair, None
    without one.
    """
    match receipt:
        case ReceiptState.WAITING:
            return LifecycleState.WAITING
        case ReceiptState.APPLIED:
            return LifecycleState.APPLIED
        case ReceiptState.RECOVERED:
            return LifecycleState.RECOVERED
        case ReceiptState.CLOSED:
            return LifecycleState.CLOSED
        case ReceiptState.INCIDENT:
            match repair:
                case RepairState.CALLING:
                    return LifecycleState.CALLING
                case RepairState.AWAITING_RESULT:
                    return LifecycleState.AWAITING_RESULT
                case _:
                    return LifecycleState.OPEN


def states_at(state: LifecycleState) -> tuple[ReceiptState, IncidentState | None]:
    """The stored states of the receipt and of its incident; None for the incident where there is
    none.
    """
    match state:
        case LifecycleState.WAITING | LifecycleState.APPLIED:
            return ReceiptState(state.value), None
        case LifecycleState.OPEN:
            return ReceiptState.INCIDENT, IncidentState.OPEN
        case LifecycleState.CALLING | LifecycleState.AWAITING_RESULT:
            return ReceiptState.INCIDENT, IncidentState.REPAIRING
        case LifecycleState.RECOVERED | LifecycleState.CLOSED:
            return ReceiptState(state.value), IncidentState.RESOLVED
