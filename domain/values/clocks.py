"""When a process's host clock is too far from the store's clock, and how that is said.

Nothing that leaves a process carries its host's time: callbacks are signed with the store's. A host whose clock is wrong breaks
other things (TLS, sign-in by identity providers, logs), so it is named. A receiver of callbacks takes 5 minutes.
"""

CLOCK_OFF_SECONDS = 60.0


def clock_complaint(process: str, ahead_seconds: object) -> str | None:
    """What is wrong with a process's clock; None when it is right, or not known. `ahead_seconds` is negative when it is slow."""
    if not isinstance(ahead_seconds, int | float) or abs(ahead_seconds) <= CLOCK_OFF_SECONDS:
        return None
    side = "ahead of" if ahead_seconds > 0 else "behind"
    return f"The clock of {process} is {abs(ahead_seconds):.0f} s {side} the store's."
