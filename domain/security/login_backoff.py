"""How long who guesses wrong must wait before the next try: some tries are free, then each wait is twice the last, up to a cap.

Pure arithmetic. The cap keeps the throttle from shutting anybody out for long; what is counted where is
`store.people.login_attempts`'s.
"""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Limit:
    """`free` failures cost nothing; the next wait is `first_seconds`, then doubled each time up to `longest_seconds`.

    Failures are forgotten when the last one is `forgotten_hours` old.
    """

    free: int
    first_seconds: int
    longest_seconds: int
    forgotten_hours: int


# An e-mail address at sign-in, whether anybody has it or not. Anyone may bring it to its cap, which is therefore short.
ACCOUNT = Limit(free=5, first_seconds=2, longest_seconds=60, forgotten_hours=24)
# Where tries come from: several people may be there.
ADDRESS = Limit(free=20, first_seconds=2, longest_seconds=60, forgotten_hours=1)
# A person's codes and proofs: only who gave the password or holds a session comes this far, and a code is six digits.
CODE = Limit(free=5, first_seconds=15, longest_seconds=900, forgotten_hours=24)


def wait_after(failures: int, limit: Limit) -> timedelta:
    """How long nobody may try after this many failures."""
    beyond = failures - limit.free
    if beyond < 0:
        return timedelta(0)
    # A shift by the cap's own length is enough: more would only make a large number.
    return timedelta(seconds=min(limit.first_seconds << min(beyond, limit.longest_seconds.bit_length()), limit.longest_seconds))
