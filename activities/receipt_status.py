"""Converts a loaded snapshot into the message that activities return."""

from activities.messages import ReceiptStatus
from domain.lifecycle import LifecycleState
from store.receipts.state import ReceiptSnapshot


def to_status(snapshot: ReceiptSnapshot) -> ReceiptStatus:
    """The fields of a snapshot that the workflow needs.

    A held repair is not named: its release signals it, and the run then begins it.
    """
    is_held = snapshot.state is LifecycleState.HELD
    return ReceiptStatus(
        state=snapshot.state,
        deadline_at=snapshot.deadline_at,
        incident_id=snapshot.incident_id,
        replay_id=None if is_held else snapshot.active_replay_id,
        result_deadline_at=snapshot.result_deadline_at,
    )
