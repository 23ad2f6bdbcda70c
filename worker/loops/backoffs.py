"""Computes how long an item waits after each of its failures.

Items are receipts, repairs and kinds of rows. Used by the loops of a worker process: dispatch,
overdue incidents and retention.
"""

import time


class Backoffs:
    """The backoffs of the items that failed in one process. Another process tries each once too.

    The first is `first_seconds`. Each is `factor` times as long as the one before, and at most
    `longest_seconds`.
    """

    def __init__(
        self, *, first_seconds: float, longest_seconds: float = 600.0, factor: float = 2.0
    ) -> None:
        self._first_seconds, self._longest_seconds = first_seconds, longest_seconds
        self._factor = factor
        # failures and until when, by the monotonic clock
        self._failed: dict[str, tuple[int, float]] = {}

    def is_ready(self, item: str) -> bool:
        """Whether the item's backoff is over."""
        return time.monotonic() >= self._failed.get(item, (0, 0.0))[1]

    def back_off(self, item: str) -> float:
        """Count one more failure of the item, and return its backoff in seconds."""
        failures, _ = self._failed.get(item, (0, 0.0))
        seconds = min(
            self._longest_seconds, self._first_seconds * self._factor ** min(failures, 10)
        )
        self._failed[item] = (failures + 1, time.monotonic() + seconds)
        return seconds

    def forget(self, item: str) -> None:
        """Forget the item's failures, because it succeeded."""
        self._failed.pop(item, None)

    def forget_old(self) -> None:
        """Forget the items whose backoff was over `longest_seconds` ago: they may have succeeded
        elsewhere.
        """
        oldest = time.monotonic() - self._longest_seconds
        self._failed = {item: failed for item, failed in self._failed.items() if failed[1] > oldest}
