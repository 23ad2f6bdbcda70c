"""Effects of a status change: the next deadline, whether to alert, and search attributes.

Pure functions of their arguments, so that a replay gives the same result. Called by
`workflows.receipt`.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from temporalio.common import SearchAttributeUpdate, TypedSearchAttributes

from activities.messages import ReceiptStatus
from domain.lifecycle import OPEN_STATES, UNDECIDED_STATES, LifecycleState, states_at
from workflows.messages import ReceiptInput
from workflows.search_attributes import MG_DEADLINE, MG_INCIDENT_ID, MG_STATE


def first_state(start: ReceiptInput) -> LifecycleState:
    """The state in which a run begins, unless it resumes."""
    return LifecycleState.EXPECTED if start.expected else LifecycleState.WAITING


def next_deadline(status: ReceiptStatus) -> datetime:
    """When to check the store, if no signal arrives before."""
    return status.result_deadline_at or status.deadline_at


def needs_alert(before: ReceiptStatus, now: ReceiptStatus) -> bool:
    """Whether an incident opened, or a repair failed, between the two."""
    if now.state not in OPEN_STATES or before.state is LifecycleState.OPEN:
        return False
    return before.state in UNDECIDED_STATES or before.replay_id != now.replay_id


def search_attribute_updates(
    shown: TypedSearchAttributes, now: ReceiptStatus, unregistered: Collection[str] = ()
) -> list[SearchAttributeUpdate[Any]]:
    """The search attributes whose shown value differs from the status.

    An upsert costs Temporal as much as a signal. A run that starts with its final state writes
    none, because its start already set them. `unregistered` are the attributes that the namespace
    did not have when the run started. Writing one of them would fail the workflow task again and
    again.
    """
    # Any: the attributes have different types.
    updates: list[SearchAttributeUpdate[Any]] = []
    state = states_at(now.state)[0].value
    if shown.get(MG_STATE) != state:
        updates.append(MG_STATE.value_set(state))
    if now.incident_id is not None and shown.get(MG_INCIDENT_ID) != now.incident_id:
        updates.append(MG_INCIDENT_ID.value_set(now.incident_id))
    if shown.get(MG_DEADLINE) != now.deadline_at:
        updates.append(MG_DEADLINE.value_set(now.deadline_at))
    return [update for update in updates if update.key.name not in unregistered]
