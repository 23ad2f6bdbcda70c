"""Converts a loaded snapshot into the message that activities return."""

from activities.messages import ReceiptStatus
from store.receipts.state import ReceiptSnapshot


def to_status(snapshot: ReceiptSnapshot) -> ReceiptStatus:
    """The fields of a snapshot that the workflow needs."""
    return ReceiptStatus(
        state=snapshot.state,
        deadline_at=snapshot.deadline_at,
        incident_id=snapshot.incident_id,
        replay_id=snapshot.active_replay_id,
        result_deadline_at=snapshot.result_deadline_at,
    )
