"""Every (state, trigger) pair, against a table written from the contract's "Life of a receipt",
not from the code's.
"""

from dataclasses import FrozenInstanceError

import pytest

from domain.errors import IncidentAlreadyResolved, NotClosed, NotWaiting
from domain.incidents import IncidentState, RepairState
from domain.lifecycle import (
    END_STATES,
    OPEN_STATES,
    REPAIRING_STATES,
    TRANSITIONS,
    UNDECIDED_STATES,
    IllegalTransition,
    LifecycleState,
    Transition,
    Trigger,
    state_of,
    states_at,
    transition,
)
from domain.receipts import Flag, ReceiptState

# A cell is the next state; `+` it is noted; `+flag` it is noted and flagged; `=code` it is
# refused; `-` it cannot happen.
STATES = (
    "expected",
    "waiting",
    "applied",
    "open",
    "held",
    "calling",
    "awaiting_result",
    "recovered",
    "closed",
)
CONTRACT = """
seen                     expected      waiting  applied          open          held          calling       awaiting      recovered          closed
receipt                  waiting       -        applied+         open+         held+         calling+      awaiting+     recovered+         closed+
success                  applied       applied  applied          recovered     recovered     recovered     recovered     recovered+double   closed+late
success_to_note          -             -        -                open+         held+         calling+      awaiting+     -                  -
success_by_replay        -             -        -                recovered     recovered     recovered     recovered     recovered+double   closed+late
success_already_applied  applied       applied  applied          recovered     recovered     recovered     recovered     recovered+         closed+late
failed                   open          open     applied+against  open+         held+         calling+      awaiting+     recovered+against  closed+
failed_after_success     -             -        -                -             -             -             -             -                  closed+against
failed_by_active_replay  -             -        -                -             open          open          open          -                  -
repeated                 -             -        applied          -             -             -             -             recovered          closed
deadline_passed          open          open     applied          open          held          calling       awaiting      recovered          closed
callback_accepted        -             -        -                open          held          awaiting      awaiting      recovered          closed
callback_ended           -             -        -                open          held          open          awaiting      recovered          closed
repair_deadline_passed   -             -        -                open          held          calling       open          recovered          closed
reprocess                expected      waiting  =resolved        calling       held          calling       awaiting      =resolved          =resolved
reprocess_under_hold     expected      waiting  =resolved        held          held          calling       awaiting      =resolved          =resolved
hold_ended               -             -        -                open          calling       calling       awaiting      recovered          closed
triage                   -             -        -                open          held          calling       awaiting      =resolved          =resolved
resolve                  -             -        =resolved        closed        closed        closed        closed        =resolved          =resolved
reopen                   -             -        -                =not_closed    =not_closed   =not_closed   =not_closed    =not_closed        open
stop                     -             -        -                open          open          open          open          =resolved          =resolved
expire                   =not_waiting  waiting  =not_waiting     =not_waiting  =not_waiting  =not_waiting  =not_waiting  =not_waiting       =not_waiting
purge                    open          open     applied          open          held          calling       awaiting      recovered          closed
"""
SHORT = {
    "against": "contradiction",
    "awaiting": "awaiting_result",
    "double": "double_application",
    "late": "late_success",
}
REFUSALS = {
    "resolved": IncidentAlreadyResolved,
    "not_waiting": NotWaiting,
    "not_closed": NotClosed,
}


def _pairs() -> list[tuple[str, str, str]]:
    words = CONTRACT.split()
    rows = [words[start : start + 10] for start in range(0, len(words), 10)]
    return [
        (row[0], state, cell) for row in rows for state, cell in zip(STATES, row[1:], strict=True)
    ]


PAIRS = _pairs()


def test_contract_table_names_every_pair_once() -> None:
    pairs = [(trigger, state) for trigger, state, _ in PAIRS]

    assert len(pairs) == len(set(pairs)) == len(Trigger) * len(LifecycleState)
    assert {trigger for trigger, _ in pairs} == {trigger.value for trigger in Trigger}
    assert {state for _, state in pairs} == {state.value for state in LifecycleState}


@pytest.mark.parametrize(
    ("trigger", "state", "cell"), PAIRS, ids=[f"{trigger}-{at}" for trigger, at, _ in PAIRS]
)
def test_pair_does_what_the_contract_says(trigger: str, state: str, cell: str) -> None:
    at, what = LifecycleState(state), Trigger(trigger)

    if cell == "-":
        with pytest.raises(IllegalTransition, match=f"{trigger} cannot happen in state {state}"):
            transition(at, what)
        return
    target, _, flag = cell.partition("+")
    if cell.startswith("="):
        assert transition(at, what) == Transition(at, refusal=REFUSALS[cell.removeprefix("=")])
    else:
        assert transition(at, what) == Transition(
            LifecycleState(_long(target)),
            noted="+" in cell,
            flag=Flag(_long(flag)) if flag else None,
        )


def test_illegal_move_changes_nothing() -> None:
    before = {trigger: dict(row) for trigger, row in TRANSITIONS.items()}

    with pytest.raises(IllegalTransition):
        transition(LifecycleState.WAITING, Trigger.RESOLVE)

    assert before == TRANSITIONS


def test_move_cannot_be_altered() -> None:
    with pytest.raises(FrozenInstanceError):
        transition(LifecycleState.WAITING, Trigger.SUCCESS).to = LifecycleState.CLOSED  # type: ignore[misc]


@pytest.mark.parametrize("state", sorted(END_STATES))
def test_nothing_leaves_an_end(state: LifecycleState) -> None:
    leaves = {trigger for trigger, row in TRANSITIONS.items() if state in row} - {Trigger.REOPEN}
    reached = {TRANSITIONS[trigger][state].to for trigger in leaves}

    assert reached == {state}


def test_only_a_manual_end_is_left_and_only_by_reopening() -> None:
    row = TRANSITIONS[Trigger.REOPEN]

    assert {state for state, follows in row.items() if follows.to is not state} == {
        LifecycleState.CLOSED
    }


def test_every_position_can_be_reached_and_every_open_one_can_end() -> None:
    steps = {(start, move_.to) for row in TRANSITIONS.values() for start, move_ in row.items()}

    everything = set(LifecycleState)
    assert _reached_from(LifecycleState.EXPECTED, steps) == everything
    assert _reached_from(LifecycleState.WAITING, steps) == everything - {LifecycleState.EXPECTED}
    for state in OPEN_STATES:
        assert _reached_from(state, steps) & END_STATES


def test_each_state_is_undecided_open_or_ended() -> None:
    assert set(LifecycleState) == OPEN_STATES | END_STATES | UNDECIDED_STATES
    assert len(OPEN_STATES) + len(END_STATES) + len(UNDECIDED_STATES) == len(LifecycleState)
    assert {"expected", "waiting"} == UNDECIDED_STATES
    assert REPAIRING_STATES < OPEN_STATES


@pytest.mark.parametrize(
    ("receipt", "repair", "state"),
    [
        ("expected", None, "expected"),
        ("waiting", None, "waiting"),
        ("applied", None, "applied"),
        ("incident", None, "open"),
        ("incident", "failed", "open"),
        ("incident", "held", "held"),
        ("incident", "calling", "calling"),
        ("incident", "awaiting_result", "awaiting_result"),
        ("recovered", None, "recovered"),
        ("recovered", "succeeded", "recovered"),
        ("closed", None, "closed"),
        ("closed", "failed", "closed"),
    ],
)
def test_position_follows_from_the_stored_states(
    receipt: str, repair: str | None, state: str
) -> None:
    assert state_of(
        ReceiptState(receipt), RepairState(repair) if repair else None
    ) is LifecycleState(state)


@pytest.mark.parametrize(
    ("state", "receipt", "incident"),
    [
        ("expected", "expected", None),
        ("waiting", "waiting", None),
        ("applied", "applied", None),
        ("open", "incident", "open"),
        ("held", "incident", "repairing"),
        ("calling", "incident", "repairing"),
        ("awaiting_result", "incident", "repairing"),
        ("recovered", "recovered", "resolved"),
        ("closed", "closed", "resolved"),
    ],
)
def test_lifecycle_state_names_the_states_to_store(
    state: str, receipt: str, incident: str | None
) -> None:
    assert states_at(LifecycleState(state)) == (
        ReceiptState(receipt),
        IncidentState(incident) if incident else None,
    )


def _long(word: str) -> str:
    return SHORT.get(word, word)


def _reached_from(
    start: LifecycleState, steps: set[tuple[LifecycleState, LifecycleState]]
) -> set[LifecycleState]:
    reached = {start}
    while more := {to for at, to in steps if at in reached} - reached:
        reached |= more
    return reached
