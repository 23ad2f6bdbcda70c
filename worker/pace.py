"""How much the dispatcher may tell Temporal now: everything, or a few starts a second while the front door is busy.

Pure arithmetic over given instants (monotonic seconds); `worker.dispatch` holds one and asks before each claim.
"""

BUSY_ACCEPTS_PER_SECOND = 200.0


class Pace:
    """Allows `rate_per_second` while the front door is busy, in bursts of at most a fifth of a second's worth; else no limit."""

    def __init__(self, rate_per_second: int) -> None:
        self._rate = rate_per_second
        self._burst = max(1.0, rate_per_second / 5)
        self._saved = self._burst
        self._saved_at = 0.0
        self.is_limiting = False

    def set_front_door(self, accepted_per_second: float) -> None:
        """What the busiest API process last said of itself."""
        self.is_limiting = accepted_per_second > BUSY_ACCEPTS_PER_SECOND

    def allowance(self, now: float, *, wanted: int) -> int:
        """How many of the wanted may begin at `now`."""
        self._saved = min(self._burst, self._saved + max(0.0, now - self._saved_at) * self._rate)
        self._saved_at = now
        return min(wanted, int(self._saved)) if self.is_limiting else wanted

    def spend(self, count: int) -> None:
        """So many began."""
        self._saved = max(0.0, self._saved - count)
