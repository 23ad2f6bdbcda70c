"""The life of a receipt as one table: where it stands, what happens, where it stands then.

    position          receipt     incident    repair
    waiting           waiting     -           -
    applied           applied     -           -                end
    open              incident    open        - or ended
    calling           incident    repairing   calling
    awaiting_result   incident    repairing   awaiting_result
    recovered         recovered   resolved    - or ended       end
    closed            closed      resolved    - or ended       end

`move` is the only way from one position to the next. It does no I/O and reads no clock: the store performs what it says as
compare-and-sets, the workflow follows. A pair that cannot happen raises `IllegalMove` and changes nothing. The picture in
`docs/how-recovery-works.md` is drawn from this table.
"""

from dataclasses import dataclass
from enum import StrEnum

from domain.errors import Code
from domain.incidents import IncidentState, RepairState
from domain.receipts import Flag, ReceiptState


class Position(StrEnum):
    """Where a receipt, its incident and its repair stand together."""

    WAITING = "waiting"
    APPLIED = "applied"
    OPEN = "open"
    CALLING = "calling"
    AWAITING_RESULT = "awaiting_result"
    RECOVERED = "recovered"
    CLOSED = "closed"


class Happening(StrEnum):
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
class Move:
    """What follows: the next position; whether the timeline notes it; what is flagged; or the refusal, with nothing changed."""

    to: Position
    noted: bool = False
    flag: Flag | None = None
    refusal: Code | None = None


class IllegalMove(Exception):
    """This cannot happen to a receipt that stands there: a bug, not a race, since races are in the table."""

    def __init__(self, position: Position, happening: Happening) -> None:
        super().__init__(f"{happening.value} cannot happen in position {position.value}")


W, A, O, C, R, V, X = Position  # noqa: E741 - the table below reads by its columns
OPEN_POSITIONS = frozenset({O, C, R})
END_POSITIONS = frozenset({A, V, X})
REPAIRING_POSITIONS = frozenset({C, R})

_DOUBLE_APPLIED, _DOUBLE_RECOVERED = Move(A, True, Flag.DOUBLE_APPLICATION), Move(V, True, Flag.DOUBLE_APPLICATION)
_CONTRADICTED_APPLIED, _CONTRADICTED_RECOVERED = Move(A, True, Flag.CONTRADICTION), Move(V, True, Flag.CONTRADICTION)
_LATE = Move(X, True, Flag.LATE_SUCCESS)


def _stay(*positions: Position) -> dict[Position, Move]:
    return {position: Move(position) for position in positions}


def _note(*positions: Position) -> dict[Position, Move]:
    return {position: Move(position, noted=True) for position in positions}


def _to(target: Position, *positions: Position) -> dict[Position, Move]:
    return {position: Move(target) for position in positions}


def _refuse(code: Code, *positions: Position) -> dict[Position, Move]:
    return {position: Move(position, refusal=code) for position in positions}


TABLE: dict[Happening, dict[Position, Move]] = {
    # What the app says.
    Happening.SUCCESS: _to(A, W) | _to(V, O, C, R) | {A: Move(A), V: _DOUBLE_RECOVERED, X: _LATE},
    Happening.SUCCESS_TO_NOTE: _note(O, C, R),
    Happening.SUCCESS_BY_REPLAY: _to(V, O, C, R) | {V: _DOUBLE_RECOVERED, X: _LATE},
    Happening.FAILED: _to(O, W) | _note(O, C, R, X) | {A: _CONTRADICTED_APPLIED, V: _CONTRADICTED_RECOVERED},
    Happening.FAILED_AFTER_SUCCESS: {X: Move(X, True, Flag.CONTRADICTION)},
    Happening.FAILED_BY_ACTIVE_REPLAY: _to(O, C, R),
    Happening.REPEATED: _stay(A, V, X),
    # What time and attempts decide. Being late is normal here: a settled receipt ignores them.
    Happening.DEADLINE_PASSED: _to(O, W) | _stay(A, O, C, R, V, X),
    Happening.CALLBACK_ACCEPTED: _to(R, C) | _stay(O, R, V, X),
    Happening.CALLBACK_ENDED: _to(O, C) | _stay(O, R, V, X),
    Happening.REPAIR_DEADLINE_PASSED: _to(O, R) | _stay(O, C, V, X),
    # What an operator asks.
    Happening.REPROCESS: _to(C, O) | _stay(W, C, R) | _refuse(Code.INCIDENT_RESOLVED, A, V, X),
    Happening.ACKNOWLEDGE: _stay(O, C, R) | _refuse(Code.INCIDENT_RESOLVED, V, X),
    Happening.RESOLVE: _to(X, O, C, R) | _refuse(Code.INCIDENT_RESOLVED, A, V, X),
    Happening.EXPIRE: _stay(W) | _refuse(Code.NOT_WAITING, A, O, C, R, V, X),
}


def move(position: Position, happening: Happening) -> Move:
    """What follows when `happening` meets a receipt in `position`.

    Raises:
        IllegalMove: the pair is not in the table.
    """
    try:
        return TABLE[happening][position]
    except KeyError:
        raise IllegalMove(position, happening) from None


def position_of(receipt: ReceiptState, repair: RepairState | None) -> Position:
    """Where a stored receipt stands; `repair` is the state of its active repair, None when there is none."""
    match receipt:
        case ReceiptState.WAITING:
            return Position.WAITING
        case ReceiptState.APPLIED:
            return Position.APPLIED
        case ReceiptState.RECOVERED:
            return Position.RECOVERED
        case ReceiptState.CLOSED:
            return Position.CLOSED
        case ReceiptState.INCIDENT:
            match repair:
                case RepairState.CALLING:
                    return Position.CALLING
                case RepairState.AWAITING_RESULT:
                    return Position.AWAITING_RESULT
                case _:
                    return Position.OPEN


def states_at(position: Position) -> tuple[ReceiptState, IncidentState | None]:
    """The receipt's and the incident's state at a position; the incident's is None where there is no incident."""
    match position:
        case Position.WAITING | Position.APPLIED:
            return ReceiptState(position.value), None
        case Position.OPEN:
            return ReceiptState.INCIDENT, IncidentState.OPEN
        case Position.CALLING | Position.AWAITING_RESULT:
            return ReceiptState.INCIDENT, IncidentState.REPAIRING
        case Position.RECOVERED | Position.CLOSED:
            return ReceiptState(position.value), IncidentState.RESOLVED
