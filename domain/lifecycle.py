"""The state machine of a receipt, as one table of triggers and states.

    state             receipt     incident    repair
    expected          expected    -           -
    waiting           waiting     -           -
    applied           applied     -           -                end
    open              incident    open        - or ended
    held              incident    repairing   held
    calling           incident    repairing   calling
    awaiting_result   incident    repairing   awaiting_result
    recovered         recovered   resolved    - or ended       end
    closed            closed      resolved    - or ended       end

1. `transition` is the only way from one state to the next. It does no I/O and reads no clock.
2. `store.receipts.transitions.apply_transition` writes what it returns as compare-and-sets, and
   the workflow follows the stored state.
3. A pair that cannot happen raises `IllegalTransition` and changes nothing.

The picture in `docs/how-recovery-works.md` is drawn from this table.
"""

from dataclasses import dataclass
from enum import StrEnum

from domain.errors import IncidentAlreadyResolved, NotClosed, NotWaiting, Refusal
from domain.incidents import IncidentState, RepairState
from domain.receipts import Flag, ReceiptState


class LifecycleState(StrEnum):
    """The combined state of a receipt, its incident and its repair."""

    EXPECTED = "expected"
    WAITING = "waiting"
    APPLIED = "applied"
    OPEN = "open"
    HELD = "held"
    CALLING = "calling"
    AWAITING_RESULT = "awaiting_result"
    RECOVERED = "recovered"
    CLOSED = "closed"


class Trigger(StrEnum):
    """What can happen to a receipt."""

    SEEN = "seen"
    RECEIPT = "receipt"
    SUCCESS = "success"
    SUCCESS_TO_NOTE = "success_to_note"
    SUCCESS_BY_REPLAY = "success_by_replay"
    SUCCESS_ALREADY_APPLIED = "success_already_applied"
    FAILED = "failed"
    FAILED_AFTER_SUCCESS = "failed_after_success"
    FAILED_BY_ACTIVE_REPLAY = "failed_by_active_replay"
    REPEATED = "repeated"
    DEADLINE_PASSED = "deadline_passed"
    REPROCESS = "reprocess"
    REPROCESS_UNDER_HOLD = "reprocess_under_hold"
    HOLD_ENDED = "hold_ended"
    CALLBACK_ACCEPTED = "callback_accepted"
    CALLBACK_ENDED = "callback_ended"
    REPAIR_DEADLINE_PASSED = "repair_deadline_passed"
    TRIAGE = "triage"
    RESOLVE = "resolve"
    REOPEN = "reopen"
    STOP = "stop"
    EXPIRE = "expire"
    PURGE = "purge"


@dataclass(frozen=True, slots=True)
class Transition:
    """The result of a trigger: the next state, or a refusal with nothing changed.

    `noted`: the timeline gets an entry. `flag` is set on the receipt. `refusal` answers an
    operator's request.
    """

    to: LifecycleState
    noted: bool = False
    flag: Flag | None = None
    refusal: type[Refusal] | None = None

    def raise_refusal(self) -> None:
        """Raise the refusal, if there is one."""
        if self.refusal is not None:
            raise self.refusal


class IllegalTransition(Exception):
    """The trigger cannot happen in this state. It is a bug: races are in the table."""

    def __init__(self, state: LifecycleState, trigger: Trigger) -> None:
        super().__init__(f"{trigger.value} cannot happen in state {state.value}")


EXPECTED, WAITING, APPLIED, OPEN, HELD, CALLING, AWAITING_RESULT, RECOVERED, CLOSED = LifecycleState
UNDECIDED_STATES = frozenset({EXPECTED, WAITING})
OPEN_STATES = frozenset({OPEN, HELD, CALLING, AWAITING_RESULT})
END_STATES = frozenset({APPLIED, RECOVERED, CLOSED})
REPAIRING_STATES = frozenset({HELD, CALLING, AWAITING_RESULT})


def _stay(
    *states: LifecycleState, noted: bool = False, refusal: type[Refusal] | None = None
) -> dict[LifecycleState, Transition]:
    """The transitions of the states that a trigger does not change."""
    return {state: Transition(state, noted=noted, refusal=refusal) for state in states}


def _go(to: LifecycleState, *states: LifecycleState) -> dict[LifecycleState, Transition]:
    """The transitions of these states to one."""
    return {state: Transition(to) for state in states}


# For each trigger: from which state, to which state. A pair that is missing cannot happen.
TRANSITIONS: dict[Trigger, dict[LifecycleState, Transition]] = {
    # A source sees the event at the provider, again or after its receipt: one event is one receipt.
    Trigger.SEEN: _stay(*LifecycleState),
    # The app's first receipt of an event that a source expected. A waiting one had its receipt.
    Trigger.RECEIPT: {
        EXPECTED: Transition(WAITING),
        **_stay(
            *(APPLIED, OPEN, HELD, CALLING, AWAITING_RESULT, RECOVERED, CLOSED),
            noted=True,
        ),
    },
    # Results that the app sends.
    Trigger.SUCCESS: {
        **_go(APPLIED, EXPECTED, WAITING, APPLIED),
        **_go(RECOVERED, OPEN, HELD, CALLING, AWAITING_RESULT),
        RECOVERED: Transition(RECOVERED, noted=True, flag=Flag.DOUBLE_APPLICATION),
        CLOSED: Transition(CLOSED, noted=True, flag=Flag.LATE_SUCCESS),
    },
    Trigger.SUCCESS_TO_NOTE: _stay(OPEN, HELD, CALLING, AWAITING_RESULT, noted=True),
    Trigger.SUCCESS_BY_REPLAY: {
        **_go(RECOVERED, OPEN, HELD, CALLING, AWAITING_RESULT),
        RECOVERED: Transition(RECOVERED, noted=True, flag=Flag.DOUBLE_APPLICATION),
        CLOSED: Transition(CLOSED, noted=True, flag=Flag.LATE_SUCCESS),
    },
    # The app found the effect applied and did nothing, so nothing was applied twice.
    Trigger.SUCCESS_ALREADY_APPLIED: {
        **_go(APPLIED, EXPECTED, WAITING, APPLIED),
        **_go(RECOVERED, OPEN, HELD, CALLING, AWAITING_RESULT),
        RECOVERED: Transition(RECOVERED, noted=True),
        CLOSED: Transition(CLOSED, noted=True, flag=Flag.LATE_SUCCESS),
    },
    Trigger.FAILED: {
        **_go(OPEN, EXPECTED, WAITING),
        APPLIED: Transition(APPLIED, noted=True, flag=Flag.CONTRADICTION),
        **_stay(OPEN, HELD, CALLING, AWAITING_RESULT, noted=True),
        RECOVERED: Transition(RECOVERED, noted=True, flag=Flag.CONTRADICTION),
        CLOSED: Transition(CLOSED, noted=True),
    },
    Trigger.FAILED_AFTER_SUCCESS: {
        CLOSED: Transition(CLOSED, noted=True, flag=Flag.CONTRADICTION),
    },
    Trigger.FAILED_BY_ACTIVE_REPLAY: _go(OPEN, HELD, CALLING, AWAITING_RESULT),
    Trigger.REPEATED: _stay(APPLIED, RECOVERED, CLOSED),
    # Deadlines and callback attempts. They may come late: a receipt in a later state ignores them.
    Trigger.DEADLINE_PASSED: {
        **_go(OPEN, EXPECTED, WAITING),
        **_stay(APPLIED, OPEN, HELD, CALLING, AWAITING_RESULT, RECOVERED, CLOSED),
    },
    Trigger.CALLBACK_ACCEPTED: {
        CALLING: Transition(AWAITING_RESULT),
        **_stay(OPEN, HELD, AWAITING_RESULT, RECOVERED, CLOSED),
    },
    Trigger.CALLBACK_ENDED: {
        CALLING: Transition(OPEN),
        **_stay(OPEN, HELD, AWAITING_RESULT, RECOVERED, CLOSED),
    },
    Trigger.REPAIR_DEADLINE_PASSED: {
        AWAITING_RESULT: Transition(OPEN),
        **_stay(OPEN, HELD, CALLING, RECOVERED, CLOSED),
    },
    # Requests of an operator, of a bulk repair or of a rule.
    Trigger.REPROCESS: {
        OPEN: Transition(CALLING),
        **_stay(EXPECTED, WAITING, HELD, CALLING, AWAITING_RESULT),
        **_stay(APPLIED, RECOVERED, CLOSED, refusal=IncidentAlreadyResolved),
    },
    # The same while a hold matches the incident.
    Trigger.REPROCESS_UNDER_HOLD: {
        OPEN: Transition(HELD),
        **_stay(EXPECTED, WAITING, HELD, CALLING, AWAITING_RESULT),
        **_stay(APPLIED, RECOVERED, CLOSED, refusal=IncidentAlreadyResolved),
    },
    # No hold matches the incident any more.
    Trigger.HOLD_ENDED: {
        HELD: Transition(CALLING),
        **_stay(OPEN, CALLING, AWAITING_RESULT, RECOVERED, CLOSED),
    },
    # Every action on an open incident that changes no state, such as acknowledge.
    Trigger.TRIAGE: {
        **_stay(OPEN, HELD, CALLING, AWAITING_RESULT),
        **_stay(RECOVERED, CLOSED, refusal=IncidentAlreadyResolved),
    },
    Trigger.RESOLVE: {
        **_go(CLOSED, OPEN, HELD, CALLING, AWAITING_RESULT),
        **_stay(APPLIED, RECOVERED, CLOSED, refusal=IncidentAlreadyResolved),
    },
    Trigger.REOPEN: {
        **_stay(OPEN, HELD, CALLING, AWAITING_RESULT, RECOVERED, refusal=NotClosed),
        CLOSED: Transition(OPEN),
    },
    # The repair is stopped. A repair that has ended already is left as it is.
    Trigger.STOP: {
        **_go(OPEN, OPEN, HELD, CALLING, AWAITING_RESULT),
        **_stay(RECOVERED, CLOSED, refusal=IncidentAlreadyResolved),
    },
    # The deadline is moved: to now (`expire`), or to another time.
    Trigger.EXPIRE: {
        **_stay(*LifecycleState, refusal=NotWaiting),
        WAITING: Transition(WAITING),
    },
    # The project is deleted: what has no incident yet gets one, which is then resolved.
    Trigger.PURGE: {
        **_go(OPEN, EXPECTED, WAITING),
        **_stay(APPLIED, OPEN, HELD, CALLING, AWAITING_RESULT, RECOVERED, CLOSED),
    },
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
        case ReceiptState.EXPECTED:
            return LifecycleState.EXPECTED
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
                case RepairState.HELD:
                    return LifecycleState.HELD
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
        case LifecycleState.EXPECTED | LifecycleState.WAITING | LifecycleState.APPLIED:
            return ReceiptState(state.value), None
        case LifecycleState.OPEN:
            return ReceiptState.INCIDENT, IncidentState.OPEN
        case LifecycleState.HELD | LifecycleState.CALLING | LifecycleState.AWAITING_RESULT:
            return ReceiptState.INCIDENT, IncidentState.REPAIRING
        case LifecycleState.RECOVERED | LifecycleState.CLOSED:
            return ReceiptState(state.value), IncidentState.RESOLVED
