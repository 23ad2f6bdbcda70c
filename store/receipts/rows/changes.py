"""A trigger on a locked receipt with what it brings along, and the notes of one that changes no
state.

Runs inside the caller's transaction and never commits. Called by `store.receipts.transitions`.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from domain.ids import HoldId, IncidentId, ReplayId
from domain.incidents import RepairCause, TimelineKind
from domain.lifecycle import END_STATES, Trigger
from domain.receipts import Flag
from domain.results import ResultFacts
from store.crypto.tokens import new_incident_id
from store.db.sql import Statements
from store.receipts.groups.changes import GroupChanges
from store.receipts.state import ReceiptSnapshot
from store.receipts.timeline import add_timeline, note

_SET_FLAGS = "UPDATE receipts SET flags = $1 WHERE event_id = $2"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerFacts:
    """What a trigger brings along for the rows that its transition writes.

    1. A success or failed trigger: its `result`.
    2. `REPROCESS` and `REPROCESS_UNDER_HOLD`: the new repair's `replay_id`, `requested_by`, and the
       `hold_id` of the hold.
    3. `CALLBACK_ENDED`: the `cause` of the repair's failure.
    4. `RESOLVE` and `REOPEN`: the operator's `reason`, and `requested_by`.

    `incident_id` is the id of the incident, if one opens.
    """

    result: ResultFacts | None = None
    replay_id: ReplayId | None = None
    cause: RepairCause | None = None
    requested_by: str | None = None
    reason: str | None = None
    hold_id: HoldId | None = None
    incident_id: IncidentId = field(default_factory=new_incident_id)


@dataclass(frozen=True, slots=True)
class Change:
    """A trigger on a locked receipt in `snapshot.state`."""

    st: Statements
    snapshot: ReceiptSnapshot
    trigger: Trigger
    facts: TriggerFacts
    now: datetime
    groups: GroupChanges

    @property
    def named_replay_id(self) -> ReplayId | None:
        """The repair that the result names; None without one."""
        return None if self.facts.result is None else self.facts.result.replay_id


async def note_unchanged(change: Change, flag: Flag | None) -> None:
    """Note a receipt or result that changes no state, and flag the receipt once."""
    if change.trigger is Trigger.RECEIPT:
        await _note_receipt(change)
        return
    st, snapshot, result = change.st, change.snapshot, given(change.facts.result)
    replay = {"replay_id": result.replay_id} if result.replay_id else {}
    text = f"A {result.status.value} result changed nothing."
    await note(st, snapshot.event_id, change.now, text=text, **replay)
    if flag is None or flag in snapshot.flags:
        return
    flags = " ".join(sorted({*snapshot.flags, flag}))
    await st.fetch(_SET_FLAGS, flags, snapshot.event_id)
    await add_entry(change, TimelineKind.FLAGGED, flag=flag.value)


async def add_entry(change: Change, kind: TimelineKind, **fields: object) -> None:
    await add_timeline(change.st, change.snapshot.event_id, kind, change.now, **fields)


def given(value: T | None) -> T:
    """The value, which this transition always has."""
    if value is None:
        raise AssertionError("a trigger came without a value that its transition writes")
    return value


async def _note_receipt(change: Change) -> None:
    has_ended = change.snapshot.state in END_STATES
    text = (
        "The receipt came after the event had ended. It changed nothing."
        if has_ended
        else "The receipt came after the incident had opened. Only a success ends the incident."
    )
    await note(change.st, change.snapshot.event_id, change.now, text=text)
