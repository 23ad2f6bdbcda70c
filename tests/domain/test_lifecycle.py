"""Every (position, trigger) pair, against a table written from the contract's "Life of a receipt",
not from the code's.
"""

from dataclasses import FrozenInstanceError

import pytest

from domain.errors import IncidentAlreadyResolved, NotWaiting
from domain.incidents import IncidentState, RepairState
from domain.lifecycle import (
    END_STATES,
    OPEN_STATES,
    REPAIRING_STATES,
    TRANSITIONS,
    IllegalTransition,
    LifecycleState,
    Transition,
    Trigger,
    state_of,
    states_at,
    transition,
)
from domain.receipts import Flag, ReceiptState

# A cell is the next position; `+` it is noted; `+flag` it is noted and flagged; `=code` it is
# refused; `-` it cannot happen.
POSITIONS = ("waiting", "applied", "open", "calling", "awaiting_result", "recovered", "closed")
CONTRACT = """
success                  applied  applied          recovered     recovered     recovered     recovered+double   closed+late
success_to_note          -        -                open+         calling+      awaiting+     -                  -
success_by_replay        -        -                recovered     recovered     recovered     recovered+double   closed+late
failed                   open     applied+against  open+         calling+      awaiting+     recovered+against  closed+
failed_after_success     -        -                -             -             -             -                  closed+against
failed_by_active_replay  -        -                -             open          open          -                  -
repeated                 -        applied          -             -             -             recovered          closed
deadline_passed          open     applied          open          calling       awaiting      recovered          closed
callback_accepted        -        -                open          awaiting      awaiting      recovered          closed
callback_ended           -        -                open          open          awaiting      recovered          closed
repair_deadline_passed   -        -                open          calling       open          recovered          closed
reprocess                waiting  =resolved        calling       calling       awaiting      =resolved          =resolved
acknowledge              -        -                open          calling       awaiting      =resolved          =resolved
resolve                  -        =resolved        closed        closed        closed        =resolved          =resolved
expire                   waiting  =not_waiting     =not_waiting  =not_waiting  =not_waiting  =not_waiting       =not_waiting
"""
SHORT = {
    "against": "contradiction",
    "awaiting": "awaiting_result",
    "double": "double_application",
    "late": "late_success",
}
REFUSALS = {"resolved": IncidentAlreadyResolved, "not_waiting": NotWaiting}


def _pairs() -> list[tuple[str, str, str]]:
    words = CONTRACT.split()
    rows = [words[start : start + 8] for start in range(0, len(words), 8)]
    return [
        (row[0], position, cell)
        for row in rows
        for position, cell in zip(POSITIONS, row[1:], strict=True)
    ]


PAIRS = _pairs()


def test_contract_table_names_every_pair_once() -> None:
    pairs = [(trigger, position) for trigger, position, _ in PAIRS]

    assert len(pairs) == len(set(pairs)) == len(Trigger) * len(LifecycleState)
    assert {trigger for trigger, _ in pairs} == {trigger.value for trigger in Trigger}
    assert {position for _, position in pairs} == {position.value for position in LifecycleState}


@pytest.mark.parametrize(
    ("trigger", "position", "cell"), PAIRS, ids=[f"{trigger}-{at}" for trigger, at, _ in PAIRS]
)
def test_pair_does_what_the_contract_says(trigger: str, position: str, cell: str) -> None:
    at, what = LifecycleState(position), Trigger(trigger)

    if cell == "-":
        with pytest.raises(IllegalTransition, match=f"{trigger} cannot happen in state {position}"):
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


@pytest.mark.parametrize("position", sorted(END_STATES))
def test_nothing_leaves_an_end(position: LifecycleState) -> None:
    reached = {row[position].to for row in TRANSITIONS.values() if position in row}

    assert reached == {position}


def test_every_position_can_be_reached_and_every_open_one_can_end() -> None:
    steps = {(start, move_.to) for row in TRANSITIONS.values() for start, move_ in row.items()}

    assert _reached_from(LifecycleState.WAITING, steps) == set(LifecycleState)
    for position in OPEN_STATES:
        assert _reached_from(position, steps) & END_STATES


def test_each_state_is_waiting_open_or_ended() -> None:
    assert OPEN_STATES | END_STATES | {LifecycleState.WAITING} == set(LifecycleState)
    assert not OPEN_STATES & END_STATES
    assert REPAIRING_STATES < OPEN_STATES


@pytest.mark.parametrize(
    ("receipt", "repair", "position"),
    [
        ("waiting", None, "waiting"),
        ("applied", None, "applied"),
        ("incident", None, "open"),
        ("incident", "failed", "open"),
        ("incident", "calling", "calling"),
        ("incident", "awaiting_result", "awaiting_result"),
        ("recovered", None, "recovered"),
        ("recovered", "succeeded", "recovered"),
        ("closed", None, "closed"),
        ("closed", "failed", "closed"),
    ],
)
def test_position_follows_from_the_stored_states(
    receipt: str, repair: str | None, position: str
) -> None:
    assert state_of(
        ReceiptState(receipt), RepairState(repair) if repair else None
    ) is LifecycleState(position)


@pytest.mark.parametrize(
    ("position", "receipt", "incident"),
    [
        ("waiting", "waiting", None),
        ("applied", "applied", None),
        ("open", "incident", "open"),
        ("calling", "incident", "repairing"),
        ("awaiting_result", "incident", "repairing"),
        ("recovered", "recovered", "resolved"),
        ("closed", "closed", "resolved"),
    ],
)
def test_position_names_the_states_to_store(
    position: str, receipt: str, incident: str | None
) -> None:
    assert states_at(LifecycleState(position)) == (
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
