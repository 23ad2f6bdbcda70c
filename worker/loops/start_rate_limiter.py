"""How much the dispatcher may tell Temporal now: everything, or a few events a second while others need the machine more.

While the front door is busy, so that it answers; and while incidents that are due do not open, though Temporal knows of them:
what is told then only lengthens the queue in which they wait. What is due itself, and what a person asked for, the dispatcher
tells whatever the pace. Pure arithmetic over given instants (monotonic seconds); `worker.loops.dispatch` asks before each claim.
"""

from store.receipts.deadlines import BEHIND_FROM_OVERDUE

BUSY_ACCEPTS_PER_SECOND = 200.0
BEHIND_SHARE = 0.2  # of the rate, while incidents are behind


class StartRateLimiter:
    """Allows `rate_per_second` while the front door is busy, in bursts of at most a fifth of a second's worth; else no limit."""

    def __init__(self, rate_per_second: int) -> None:
        self._busy_rate = float(rate_per_second)
        self._rate = self._busy_rate
        self._saved = self._burst
        self._saved_at = 0.0
        self.is_limiting = False

    def set_load(self, *, accepted_per_second: float, overdue: int) -> None:
        """What the busiest API process last said of itself, and how many receipts are overdue though told (`count_overdue`)."""
        is_behind = overdue >= BEHIND_FROM_OVERDUE
        self.is_limiting = is_behind or accepted_per_second > BUSY_ACCEPTS_PER_SECOND
        self._rate = self._busy_rate * BEHIND_SHARE if is_behind else self._busy_rate

    def allowance(self, now: float, *, wanted: int) -> int:
        """How many of the wanted may begin at `now`."""
        self._saved = min(self._burst, self._saved + max(0.0, now - self._saved_at) * self._rate)
        self._saved_at = now
        return min(wanted, int(self._saved)) if self.is_limiting else wanted

    def spend(self, count: int) -> None:
        """So many began."""
        self._saved = max(0.0, self._saved - count)

    @property
    def _burst(self) -> float:
        return max(1.0, self._rate / 5)
