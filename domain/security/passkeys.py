"""Passkeys (WebAuthn credentials) of users, and what the challenges of their ceremonies are for."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from domain.ids import PasskeyId, UserId

MOST_PASSKEYS = 20
LONGEST_NAME = 60
# Longer than a browser shows its prompt: see `PROMPT_MILLISECONDS`.
CHALLENGE_LIFETIME = timedelta(minutes=5)
PROMPT_MILLISECONDS = 240_000


class Ceremony(StrEnum):
    """What a challenge is for. It is accepted for nothing else."""

    REGISTRATION = "registration"
    SIGN_IN = "sign_in"
    SECOND_FACTOR = "second_factor"
    STEP_UP = "step_up"


@dataclass(frozen=True, slots=True)
class Passkey:
    """A stored passkey. `credential_id` and `public_key` are base64url, the key in COSE form.

    `rp_id` is the host name for which the authenticator made it: it works for no other.
    `sign_count` is the authenticator's counter at the last use; 0 where it has none. `transports`
    are hints for the browser.
    """

    id: PasskeyId
    user_id: UserId
    name: str
    credential_id: str
    public_key: str
    sign_count: int
    rp_id: str
    transports: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """What an authenticator made: a passkey without its owner and name."""

    credential_id: str
    public_key: str
    sign_count: int
    rp_id: str
    transports: tuple[str, ...]


def is_counter_valid(stored: int, given: int) -> bool:
    """Whether an authenticator's counter follows the stored one (WebAuthn level 3, 6.1.1).

    A counter that did not grow may be that of a copy. Many passkeys have none: it is always 0.
    """
    return given > stored or given == stored == 0
