"""The store writes what the lifecycle table says, for every trigger in every state; and no state is
written over one that has changed.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest

from domain.errors import Refusal
from domain.ids import EventId, ReplayId
from domain.incidents import RepairCause
from domain.lifecycle import (
    REPAIRING_STATES,
    TRANSITIONS,
    IllegalTransition,
    LifecycleState,
    Transition,
    Trigger,
    states_at,
)
from domain.receipts import Flag
from domain.results import ResultFacts, ResultStatus
from store.crypto.tokens import new_replay_id
from store.db.sql import SessionStatements
from store.receipts.state import lock_receipt
from store.receipts.transitions import TriggerFacts, apply_transition
from tests.support.given import OPERATOR, Story

TABLES = ("receipts", "incidents", "repairs", "timeline", "alerts", "outbox", "results")
SUCCESSES = {Trigger.SUCCESS, Trigger.SUCCESS_TO_NOTE}
FAILURES = {Trigger.FAILED, Trigger.FAILED_AFTER_SUCCESS}
ALERTS = {
    ("expected", "open"): "incident_opened",
    ("waiting", "open"): "incident_opened",
    ("held", "open"): "repair_failed",
    ("calling", "open"): "repair_failed",
    ("awaiting_result", "open"): "repair_failed",
    ("open", "recovered"): "incident_resolved",
    ("held", "recovered"): "incident_resolved",
    ("calling", "recovered"): "incident_resolved",
    ("awaiting_result", "recovered"): "incident_resolved",
    ("open", "closed"): "incident_resolved",
    ("held", "closed"): "incident_resolved",
    ("calling", "closed"): "incident_resolved",
    ("awaiting_result", "closed"): "incident_resolved",
}


@dataclass(frozen=True)
class Outcome:
    """What one trigger did: its verdict, and what is stored after it."""

    to: LifecycleState
    incident: str | None
    active_repairs: list[str]
    noted: int = 0
    flags: tuple[Flag, ...] = ()
    alerted: str | None = None
    refusal: type[Refusal] | None = None
    is_illegal: bool = False


@pytest.mark.parametrize("trigger", Trigger)
async def test_store_does_what_the_table_says_in_every_state(
    story: Story, trigger: Trigger
) -> None:
    expected = {state: expected_of(state, trigger) for state in LifecycleState}

    outcomes = {state: await outcome_of(story, state, trigger) for state in LifecycleState}

    assert outcomes == expected


@pytest.mark.parametrize(
    ("stored", "believed", "trigger"),
    [
        (LifecycleState.WAITING, LifecycleState.EXPECTED, Trigger.DEADLINE_PASSED),
        (LifecycleState.APPLIED, LifecycleState.EXPECTED, Trigger.RECEIPT),
        (LifecycleState.APPLIED, LifecycleState.WAITING, Trigger.SUCCESS),
        (LifecycleState.APPLIED, LifecycleState.WAITING, Trigger.DEADLINE_PASSED),
        (LifecycleState.CALLING, LifecycleState.OPEN, Trigger.RESOLVE),
        (LifecycleState.AWAITING_RESULT, LifecycleState.CALLING, Trigger.CALLBACK_ACCEPTED),
        (LifecycleState.AWAITING_RESULT, LifecycleState.CALLING, Trigger.CALLBACK_ENDED),
        (LifecycleState.OPEN, LifecycleState.CALLING, Trigger.SUCCESS_BY_REPLAY),
        (LifecycleState.CLOSED, LifecycleState.OPEN, Trigger.REPROCESS),
    ],
)
async def test_no_state_is_written_over_one_that_has_changed(
    story: Story, stored: LifecycleState, believed: LifecycleState, trigger: Trigger
) -> None:
    event_id, replay_id = await story.reach(stored)
    before = await rows_of(story, event_id)

    with pytest.raises(AssertionError, match="was changed by another transaction"):
        await apply(story, event_id, trigger, replay_id, believed=believed)

    assert await rows_of(story, event_id) == before


async def outcome_of(story: Story, state: LifecycleState, trigger: Trigger) -> Outcome:
    event_id, replay_id = await story.reach(state)
    before = await rows_of(story, event_id)
    story.later(days=1)

    try:
        follows = await apply(story, event_id, trigger, replay_id)
    except IllegalTransition:
        follows = None

    after = await rows_of(story, event_id)
    if follows is None or follows == Transition(state, refusal=follows.refusal):
        assert after == before, f"{trigger} in {state} writes nothing"
    snapshot = await story.snapshot(event_id)
    assert snapshot.receipt_state is states_at(snapshot.state)[0]
    states = [row["state"] for row in after["repairs"]]
    return Outcome(
        to=snapshot.state,
        incident=after["incidents"][0]["state"] if after["incidents"] else None,
        active_repairs=[one for one in states if one in {"held", "calling", "awaiting_result"}],
        noted=kinds(after["timeline"])["noted"] - kinds(before["timeline"])["noted"],
        flags=snapshot.flags,
        alerted=next(iter(kinds(after["alerts"]) - kinds(before["alerts"])), None),
        refusal=None if follows is None else follows.refusal,
        is_illegal=follows is None,
    )


def expected_of(state: LifecycleState, trigger: Trigger) -> Outcome:
    follows = TRANSITIONS[trigger].get(state)
    to = state if follows is None else follows.to
    incident = states_at(to)[1]
    outcome = Outcome(
        to=to,
        incident=None if incident is None else incident.value,
        active_repairs=[to.value] if to in REPAIRING_STATES else [],
        is_illegal=follows is None,
    )
    if follows is None:
        return outcome
    return replace(
        outcome,
        noted=int(follows.noted),
        flags=(follows.flag,) if follows.flag else (),
        alerted=ALERTS.get((state.value, to.value)),
        refusal=follows.refusal,
    )


async def apply(
    story: Story,
    event_id: EventId,
    trigger: Trigger,
    replay_id: ReplayId | None,
    *,
    believed: LifecycleState | None = None,
) -> Transition:
    """Apply the trigger to the locked receipt, or to a snapshot that believes in another state."""
    async with story.database.transaction() as session:
        st = SessionStatements(session)
        snapshot = await lock_receipt(st, event_id)
        if believed is not None:
            active = replay_id if believed in REPAIRING_STATES else None
            receipt_state, _ = states_at(believed)
            snapshot = replace(
                snapshot, state=believed, receipt_state=receipt_state, active_replay_id=active
            )
        return await apply_transition(st, snapshot, trigger, story.at, facts_of(trigger, replay_id))


def facts_of(trigger: Trigger, replay_id: ReplayId | None) -> TriggerFacts:
    """What the trigger would bring along."""
    by_replay = {Trigger.SUCCESS_BY_REPLAY: "success", Trigger.FAILED_BY_ACTIVE_REPLAY: "failed"}
    match trigger:
        case Trigger.REPROCESS | Trigger.REPROCESS_UNDER_HOLD:
            return TriggerFacts(replay_id=new_replay_id(), requested_by=OPERATOR)
        case Trigger.CALLBACK_ENDED:
            return TriggerFacts(cause=RepairCause.EXHAUSTED)
        case Trigger.RESOLVE:
            return TriggerFacts(reason="refunded", requested_by=OPERATOR)
        case Trigger.SUCCESS_ALREADY_APPLIED:
            found = ResultFacts(ResultStatus.SUCCESS, None, None, None, already_applied=True)
            return TriggerFacts(result=found)
        case _ if trigger in SUCCESSES:
            return TriggerFacts(result=ResultFacts(ResultStatus.SUCCESS, None, None, None))
        case _ if trigger in FAILURES:
            return TriggerFacts(result=ResultFacts(ResultStatus.FAILED, None, "broken", None))
        case _ if trigger in by_replay:
            status = ResultStatus(by_replay[trigger])
            return TriggerFacts(result=ResultFacts(status, replay_id, None, None))
        case _:
            return TriggerFacts()


async def rows_of(story: Story, event_id: EventId) -> dict[str, list[dict[str, Any]]]:
    return {table: await story.rows(table, event_id) for table in TABLES}


def kinds(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(row["kind"] for row in rows)
