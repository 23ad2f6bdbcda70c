"""Signs form tokens and encrypts cookies: the notice after a POST, and state that the browser keeps
between requests.

All keys are derived from the root secret with HKDF, so that API processes agree without shared
memory. Each purpose has its own key: a Fernet token of one purpose or session is not authentic for
another. A secret that is shown once (an API key, a signing secret) travels in a short-lived,
HttpOnly cookie, which is deleted after the page was shown.

While the root secret is rotated, every token and cookie is made with both the old and the new
secret, and either one is accepted. A process that still knows only the old secret, or already only
the new one, therefore works together with a process that knows both.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NOTICE_SECONDS = 120
MAXIMUM_SECRETS = 2
SEPARATOR = "."  # occurs in neither hex nor base64


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that is shown once."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """The message on the page after a POST. `tone` is `good` or `bad`."""

    tone: str
    text: str
    secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True)
class StateCookie:
    """A kind of state that the browser keeps. `purpose` is part of the cookie's name."""

    purpose: str
    seconds: int


class ConsoleKeys:
    """Signs form tokens and encrypts notices and state.

    Created once per process from the root secret.
    """

    def __init__(
        self,
        secret_key: str,
        previous: str | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`now` is the database's clock: a process on another host may decrypt the cookie."""
        self._now = now
        self._secrets = (secret_key,) if previous is None else (secret_key, previous)
        self._form_keys = [_derive(secret, "form token") for secret in self._secrets]

    def form_token(self, session_token: str) -> str:
        """The token of every form of this session."""
        return SEPARATOR.join(
            hmac.new(key, session_token.encode(), sha256).hexdigest() for key in self._form_keys
        )

    def is_form_token(self, candidate: str, *, session_token: str) -> bool:
        """Whether the candidate belongs to this session."""
        ours, theirs = (
            self.form_token(session_token).split(SEPARATOR),
            candidate.split(SEPARATOR)[:MAXIMUM_SECRETS],
        )
        return any(
            [hmac.compare_digest(one.encode(), other.encode()) for one in ours for other in theirs]
        )

    def seal(self, notice: Notice, *, session_token: str) -> str:
        """The notice as a cookie value. Only this session can read it, for `NOTICE_SECONDS`."""
        return self._encrypt(asdict(notice), f"notice\0{session_token}", now=self._now())

    def unseal(self, cookie: str, *, session_token: str) -> Notice | None:
        """The notice. None if it has expired, belongs to another session or is not authentic."""
        fields = self._decrypt(
            cookie, f"notice\0{session_token}", seconds=NOTICE_SECONDS, now=self._now()
        )
        if fields is None:
            return None
        secrets = tuple(Secret(**secret) for secret in fields["secrets"])
        return Notice(fields["tone"], fields["text"], secrets)

    # State is a JSON object: its values are of any JSON type.
    def seal_state(self, state: Mapping[str, Any], *, purpose: str, now: datetime) -> str:
        """State as a cookie value that the browser can neither read nor change.

        It is valid for one purpose.
        """
        return self._encrypt(dict(state), f"state\0{purpose}", now=now)

    def unseal_state(
        self, sealed: str, *, purpose: str, seconds: int, now: datetime
    ) -> dict[str, Any] | None:
        """The state. None if it is `seconds` old, has another purpose or is not authentic."""
        return self._decrypt(sealed, f"state\0{purpose}", seconds=seconds, now=now)

    def _encrypt(self, content: dict[str, Any], purpose: str, *, now: datetime) -> str:
        """One Fernet token for each secret: `MultiFernet` encrypts under its first key only, which
        a process that knows only the other secret could not read.
        """
        clear, at = orjson.dumps(content), int(now.timestamp())
        return SEPARATOR.join(
            fernet.encrypt_at_time(clear, at).decode() for fernet in self._fernets(purpose)
        )

    def _decrypt(
        self, sealed: str, purpose: str, *, seconds: int, now: datetime
    ) -> dict[str, Any] | None:
        fernet, at = MultiFernet(self._fernets(purpose)), int(now.timestamp())
        # Fernet compares whole seconds and accepts the last one.
        ttl = seconds - 1
        for token in sealed.split(SEPARATOR)[:MAXIMUM_SECRETS]:
            with suppress(InvalidToken, UnicodeEncodeError):
                content: dict[str, Any] = orjson.loads(
                    fernet.decrypt_at_time(token.encode(), ttl=ttl, current_time=at)
                )
                return content
        return None

    def _fernets(self, purpose: str) -> list[Fernet]:
        """One for each secret, the current secret first."""
        return [Fernet(urlsafe_b64encode(_derive(secret, purpose))) for secret in self._secrets]


def _derive(secret_key: str, purpose: str) -> bytes:
    hkdf = HKDF(
        algorithm=SHA256(), length=32, salt=None, info=f"makegood console {purpose}".encode()
    )
    return hkdf.derive(secret_key.encode())
