"""Moves the deadline of a waiting receipt, for an operator: to another time, or to now.

Each function runs inside the caller's transaction and locks the receipt. The signal makes the run
read the deadline again.
"""

from datetime import datetime

from domain.ids import EventId
from domain.incidents import TimelineKind
from domain.lifecycle import Trigger
from domain.temporal.outbox import OutboxKind
from domain.values.timestamps import to_iso, to_unix_ms
from store.db.sql import Statements
from store.receipts.outbox import enqueue_signal
from store.receipts.state import ReceiptSnapshot, lock_receipt
from store.receipts.timeline import add_timeline, note
from store.receipts.transitions import apply_transition

_MOVE_DEADLINE = "UPDATE receipts SET deadline_at = $1 WHERE event_id = $2 AND state = 'waiting'"


async def move_deadline(
    st: Statements, event_id: EventId, now: datetime, *, deadline_at: datetime, requested_by: str
) -> None:
    """Move the deadline of a waiting receipt; its `timeout_at` stays. The run reads it again.

    Raises:
        NotFound: no such receipt.
        NotWaiting: it already has a result or an incident.
    """
    snapshot = await _lock_waiting(st, event_id, now)
    await st.fetch(_MOVE_DEADLINE, to_unix_ms(deadline_at), event_id)
    entry = {
        "deadline_at": to_iso(deadline_at),
        "moved_from": to_iso(snapshot.deadline_at),
        "requested_by": requested_by,
    }
    await add_timeline(st, event_id, TimelineKind.DEADLINE_MOVED, now, **entry)
    await enqueue_signal(st, event_id, OutboxKind.EXPIRE, now)


async def expire(st: Statements, event_id: EventId, now: datetime, *, requested_by: str) -> None:
    """Move the deadline of a waiting receipt to now.

    Raises:
        NotFound: no such receipt.
        NotWaiting: it already has a result or an incident.
    """
    snapshot = await _lock_waiting(st, event_id, now)
    await st.fetch(_MOVE_DEADLINE, to_unix_ms(min(snapshot.deadline_at, now)), event_id)
    await note(st, event_id, now, text="The deadline was moved to now.", requested_by=requested_by)
    await enqueue_signal(st, event_id, OutboxKind.EXPIRE, now)


async def _lock_waiting(st: Statements, event_id: EventId, now: datetime) -> ReceiptSnapshot:
    """Lock a receipt that waits for its result.

    Raises:
        NotFound: no such receipt.
        NotWaiting: it already has a result or an incident.
    """
    snapshot = await lock_receipt(st, event_id)
    (await apply_transition(st, snapshot, Trigger.EXPIRE, now)).raise_refusal()
    return snapshot
