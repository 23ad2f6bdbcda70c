"""Computes how long a receipt's outbox rows wait after each failed delivery.

Used by `worker.loops.dispatch`.
"""

import time

from domain.ids import EventId

FIRST_BACKOFF_SECONDS = 1.0
BACKOFF_FACTOR = 3.0
LONGEST_BACKOFF_SECONDS = 600.0
REMEMBERED_SECONDS = LONGEST_BACKOFF_SECONDS * 2


class DeliveryBackoff:
    """The failed deliveries of one process, by receipt."""

    def __init__(self) -> None:
        self._failures: dict[EventId, tuple[int, float]] = {}  # how many, and when the last was

    def after_failure(self, event_id: EventId) -> float:
        """Count one more failure of the receipt, and return its backoff in seconds."""
        now = time.monotonic()
        failures, _ = self._failures.get(event_id, (0, now))
        self._failures[event_id] = (failures + 1, now)
        return float(
            min(
                LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * BACKOFF_FACTOR ** min(failures, 10)
            )
        )

    def forget(self, event_id: EventId) -> None:
        """Forget the receipt's failures, because it was delivered."""
        self._failures.pop(event_id, None)

    def forget_old(self) -> None:
        """Forget failures of receipts that another process may have delivered since."""
        oldest = time.monotonic() - REMEMBERED_SECONDS
        self._failures = {
            event_id: failures
            for event_id, failures in self._failures.items()
            if failures[1] > oldest
        }
