"""Detects a process whose host clock differs too much from the store's clock, and describes it.

Callbacks are signed with the store's time, so a wrong host clock does not reach receivers, which
tolerate 5 minutes. It breaks TLS, OIDC sign-in and logs, so it is reported.
"""

CLOCK_OFF_SECONDS = 60.0


def clock_complaint(process: str, ahead_seconds: object) -> str | None:
    """The complaint about a process's clock; None when it is right or unknown.

    `ahead_seconds` is negative when the clock is slow.
    """
    if not isinstance(ahead_seconds, int | float) or abs(ahead_seconds) <= CLOCK_OFF_SECONDS:
        return None
    side = "ahead of" if ahead_seconds > 0 else "behind"
    return f"The clock of {process} is {abs(ahead_seconds):.0f} s {side} the store's."
