"""The wait after failed logins: some attempts are free, then each wait doubles up to a cap.

Pure arithmetic. The cap prevents an attacker from locking a user out for long.
`store.people.login_attempts` stores the counts.
"""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Limit:
    """The backoff of one kind of counter.

    `free` failures cost no wait. The next one waits `first_seconds`, doubled each time up to
    `longest_seconds`. Failures are forgotten when the last one is `forgotten_hours` old.
    """

    free: int
    first_seconds: int
    longest_seconds: int
    forgotten_hours: int


# An e-mail address at sign-in, known or not. Anyone can drive it to its cap, so the cap is short.
ACCOUNT = Limit(free=5, first_seconds=2, longest_seconds=60, forgotten_hours=24)
# A network address: several users may share it.
ADDRESS = Limit(free=20, first_seconds=2, longest_seconds=60, forgotten_hours=1)
# A user's codes and step-up proofs. The caller already has a password or a session; a code has only
# six digits.
CODE = Limit(free=5, first_seconds=15, longest_seconds=900, forgotten_hours=24)


def wait_after(failures: int, limit: Limit) -> timedelta:
    """The wait after this many failures, before the next attempt is allowed."""
    beyond = failures - limit.free
    if beyond < 0:
        return timedelta(0)
    # Bounded shift: beyond the cap's bit length the result is the cap anyway.
    return timedelta(
        seconds=min(
            limit.first_seconds << min(beyond, limit.longest_seconds.bit_length()),
            limit.longest_seconds,
        )
    )
