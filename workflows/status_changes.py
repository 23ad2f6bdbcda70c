"""What follows from a change of standing: what to look for, whom to tell, what to show.

Pure, of values alone, so that a replay comes out the same. Called by `workflows.receipt`.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from temporalio.common import SearchAttributeUpdate, TypedSearchAttributes

from activities.messages import Standing
from domain.lifecycle import OPEN_STATES, LifecycleState, states_at
from workflows.messages import MG_DEADLINE, MG_INCIDENT_ID, MG_STATE


def deadline_of(standing: Standing) -> datetime:
    """When to look, if nothing is told before."""
    return standing.result_deadline_at or standing.deadline_at


def needs_alert(before: Standing, now: Standing) -> bool:
    """Whether an incident opened, or a repair failed, between the two."""
    if now.position not in OPEN_STATES or before.position is LifecycleState.OPEN:
        return False
    return before.position is LifecycleState.WAITING or before.replay_id != now.replay_id


def search_attributes(
    shown: TypedSearchAttributes, now: Standing, unregistered: Collection[str] = ()
) -> list[SearchAttributeUpdate[Any]]:
    """The search attributes to be written: those that do not show where the receipt stands. Each writing costs the engine as much
    as a signal, so a life told as a whole writes none: its start says how it ended.

    `unregistered` is what the namespace lacks, as the start found it: to write one of these fails the task, again and again.
    """
    # Any: the attributes are of different types.
    updates: list[SearchAttributeUpdate[Any]] = []
    state = states_at(now.position)[0].value
    if shown.get(MG_STATE) != state:
        updates.append(MG_STATE.value_set(state))
    if now.incident_id is not None and shown.get(MG_INCIDENT_ID) != now.incident_id:
        updates.append(MG_INCIDENT_ID.value_set(now.incident_id))
    if shown.get(MG_DEADLINE) != now.deadline_at:
        updates.append(MG_DEADLINE.value_set(now.deadline_at))
    return [update for update in updates if update.key.name not in unregistered]
