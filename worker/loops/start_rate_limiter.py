"""Limits workflow starts while ingest is busy, so that its latency stays low.

It also limits starts while incidents open late.

Overdue incidents wait in Temporal's queue, and further starts would lengthen it. Starts of overdue
receipts and requests of people are never limited. A token bucket without I/O, over given instants
in monotonic seconds. Called by `worker.loops.dispatch` before each claim.
"""

from store.receipts.reconcile.overdue import BEHIND_FROM_OVERDUE

BUSY_ACCEPTS_PER_SECOND = 200.0
BEHIND_SHARE = 0.2  # of the rate, while incidents open late


class StartRateLimiter:
    """A token bucket of `rate_per_second` that holds a fifth of a second's tokens.

    Without load it limits nothing.
    """

    def __init__(self, rate_per_second: int) -> None:
        self._busy_rate = float(rate_per_second)
        self._rate = self._busy_rate
        self._tokens = self._capacity
        self._refilled_at = 0.0
        self.is_limiting = False

    def set_load(self, *, accepted_per_second: float, overdue: int) -> None:
        """Set the limit by the busiest API process's rate and the number of late incidents.

        `overdue` is the value of `count_overdue`.
        """
        is_behind = overdue >= BEHIND_FROM_OVERDUE
        self.is_limiting = is_behind or accepted_per_second > BUSY_ACCEPTS_PER_SECOND
        self._rate = self._busy_rate * BEHIND_SHARE if is_behind else self._busy_rate

    def available(self, now: float, *, wanted: int) -> int:
        """How many of the wanted starts are permitted at `now`."""
        self._tokens = min(
            self._capacity, self._tokens + max(0.0, now - self._refilled_at) * self._rate
        )
        self._refilled_at = now
        return min(wanted, int(self._tokens)) if self.is_limiting else wanted

    def consume(self, count: int) -> None:
        """Count so many starts."""
        self._tokens = max(0.0, self._tokens - count)

    @property
    def _capacity(self) -> float:
        return max(1.0, self._rate / 5)
