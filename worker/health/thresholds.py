"""When a worker reports itself unhealthy, and when it ends because it does no work."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthThresholds:
    """The intervals, timeouts and limits of a worker's self checks.

    A worker is unhealthy after `silent_seconds` without a poll that Temporal saw. It ends after
    `dead_seconds`.
    """

    check_seconds: float = 5.0
    # A healthy long poll is answered, or sent again, within 60 s.
    silent_seconds: float = 75.0
    dead_seconds: float = 90.0
    canary_every_seconds: float = 15.0
    canary_timeout_seconds: float = 25.0
    canary_fresh_seconds: float = 60.0
    # Canaries timed out in a row while Temporal answered, with none fresh. If Temporal saw no poll
    # for canaries in that time, it has lost this process. If it saw polls, it may be overloaded by
    # deadlines, so the limit is higher.
    timed_out_without_polls: int = 3
    timed_out_with_polls: int = 9


DEFAULT_THRESHOLDS = HealthThresholds()


class PollingDied(Exception):
    """Temporal answers, but this process does no work for it."""
