"""Stores results that apps report, and applies the transitions that they cause.

`apply_result` runs inside the caller's transaction and locks the receipt. A second equal result
finds the first one's row and changes nothing. It never commits and never calls Temporal: the signal
for the workflow goes into the outbox. Called by `store.ingest.batch`.
"""

from dataclasses import dataclass
from datetime import datetime

from domain.ids import EventId, ResultId
from domain.lifecycle import END_STATES, OPEN_STATES, Trigger, states_at, transition
from domain.receipts import ReceiptState
from domain.results import NewResult, ResultFacts, ResultStatus, classify_result
from domain.temporal.outbox import OutboxKind
from domain.values.timestamps import to_unix_ms
from store.crypto.tokens import new_result_id
from store.db.sql import Statements
from store.receipts.groups.changes import GroupChanges
from store.receipts.matching import match_event
from store.receipts.outbox import enqueue_signal, has_unclaimed
from store.receipts.state import ReceiptSnapshot, lock_receipt
from store.receipts.transitions import TriggerFacts, apply_transition

# Results that may equal a given one, by the index on event, status and digest. '' is a row from
# before digests.
_EQUAL = (
    "status = $2 AND digest IN ($3, '') AND coalesce(replay_id, '') = $4 AND coalesce(error_code,"
    " '') = $5 "
)
_EQUAL += "AND coalesce(error_message, '') = $6"
# Decides whether a result of an ended receipt is a repeat: the stored successes, and the results
# equal to it.
_FACTS = "status, replay_id, error_code, error_message, already_applied"
_EARLIER = f"""
SELECT {_FACTS} FROM results WHERE event_id = $1 AND {_EQUAL}
UNION SELECT {_FACTS} FROM results WHERE event_id = $1 AND status = 'success'"""  # noqa: S608
_COUNT_REPEAT = f"""
UPDATE results SET repeats = repeats + 1, repeated_at = $7
WHERE id = (SELECT max(id) FROM results WHERE event_id = $1 AND {_EQUAL}) RETURNING 1"""  # noqa: S608 - of constants alone


@dataclass(frozen=True, slots=True)
class AppliedResult:
    """The receipt's state after a result. `result_id` is None for an equal repeat, which is not
    stored.
    """

    event_id: EventId
    state: ReceiptState
    result_id: ResultId | None


async def apply_result(
    st: Statements,
    new: NewResult,
    now: datetime,
    *,
    event_id: EventId | None = None,
    groups: GroupChanges | None = None,
) -> AppliedResult:
    """Store a result and perform its transition. `event_id` is the receipt that it was matched to,
    if it already was. `groups` as in `apply_transition`.

    Raises:
        NotFound: the result names no receipt of this project, or its `replay_id` is not one of the
            receipt's repairs.
        ValidationFailed: the ids name different events, or several effects of one.
    """
    event_id = event_id or await match_event(st, new)
    snapshot = await lock_receipt(st, event_id)
    facts = ResultFacts(
        new.status,
        new.replay_id,
        new.error_code,
        new.error_message,
        already_applied=new.already_applied,
    )
    trigger = classify_result(
        facts,
        state=snapshot.state,
        active_replay_id=snapshot.active_replay_id,
        ended_by_replay_id=snapshot.ended_by_replay_id,
        earlier=await _earlier(st, snapshot, facts),
        late_result=snapshot.late_result,
    )
    if trigger is Trigger.REPEATED or await _is_counted_repeat(st, snapshot, trigger, facts, now):
        return AppliedResult(event_id, snapshot.receipt_state, None)
    result_id = new_result_id()
    await _store_result(st, event_id, result_id, facts, now, request_id=new.request_id)
    follows = await apply_transition(
        st, snapshot, trigger, now, TriggerFacts(result=facts), groups=groups
    )
    if snapshot.state not in END_STATES and not await _is_hinted(st, snapshot, now):
        replay = {"replay_id": new.replay_id} if new.replay_id else {}
        await enqueue_signal(
            st,
            event_id,
            OutboxKind.RESULT,
            now,
            result_id=result_id,
            status=new.status.value,
            **replay,
        )
    return AppliedResult(event_id, states_at(follows.to)[0], result_id)


async def result_is_stored(st: Statements, event_id: EventId, result_id: ResultId) -> bool:
    return bool(
        await st.fetch("SELECT 1 FROM results WHERE id = $1 AND event_id = $2", result_id, event_id)
    )


async def _is_hinted(st: Statements, snapshot: ReceiptSnapshot, now: datetime) -> bool:
    """Whether the run of an open incident will read the store anyway."""
    return snapshot.state in OPEN_STATES and await has_unclaimed(st, snapshot.event_id, now)


async def _store_result(
    st: Statements,
    event_id: EventId,
    result_id: ResultId,
    facts: ResultFacts,
    now: datetime,
    *,
    request_id: str,
) -> None:
    await st.fetch(
        "INSERT INTO results (id, event_id, status, replay_id, error_code,"
        " error_message, received_at, digest, repeats, already_applied,"
        " request_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10)",
        result_id,
        event_id,
        facts.status.value,
        facts.replay_id,
        facts.error_code,
        facts.error_message,
        to_unix_ms(now),
        facts.digest,
        facts.already_applied,
        request_id,
    )


async def _is_counted_repeat(
    st: Statements, snapshot: ReceiptSnapshot, trigger: Trigger, facts: ResultFacts, now: datetime
) -> bool:
    """Whether an open receipt has an equal result and this one changes nothing: it is counted, not
    stored again.
    """
    if (
        snapshot.state not in OPEN_STATES
        or transition(snapshot.state, trigger).to is not snapshot.state
    ):
        return False
    return bool(
        await st.fetch(_COUNT_REPEAT, snapshot.event_id, *_equal_to(facts), to_unix_ms(now))
    )


async def _earlier(
    st: Statements, snapshot: ReceiptSnapshot, facts: ResultFacts
) -> frozenset[ResultFacts]:
    # Never all results: an app may report failures without end.
    if snapshot.state not in END_STATES:
        return frozenset()
    rows = await st.fetch(_EARLIER, snapshot.event_id, *_equal_to(facts))
    return frozenset(
        ResultFacts(ResultStatus(status), replay_id, error_code, error_message, bool(is_found))
        for status, replay_id, error_code, error_message, is_found in rows
    )


def _equal_to(facts: ResultFacts) -> tuple[str, str, str, str, str]:
    return (
        facts.status.value,
        facts.digest,
        facts.replay_id or "",
        facts.error_code or "",
        facts.error_message or "",
    )
