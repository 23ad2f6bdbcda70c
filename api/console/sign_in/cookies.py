"""Signs form tokens and encrypts cookies: the notice after a POST, and state that the browser keeps
between requests.

All keys are derived from the root secret with HKDF, so that API processes agree without shared
memory. A secret that is shown once (an API key, a signing secret) travels in an encrypted,
short-lived, HttpOnly cookie, which is deleted after the page was shown.

While the root secret is rotated, every token and cookie is made with both the old and the new
secret, and either one is accepted. A process that still knows only the old secret, or already only
the new one, therefore works together with a process that knows both.
"""

import base64
import hmac
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NOTICE_SECONDS = 120
NONCE_BYTES = 12
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
        secrets = (secret_key,) if previous is None else (secret_key, previous)
        self._form_keys = [_derive(secret, b"makegood console form token") for secret in secrets]
        self._notices = [AESGCM(_derive(secret, b"makegood console notice")) for secret in secrets]
        self._states = [AESGCM(_derive(secret, b"makegood console state")) for secret in secrets]

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
        clear = orjson.dumps(
            {"until": self._now().timestamp() + NOTICE_SECONDS, "notice": asdict(notice)}
        )
        return SEPARATOR.join(_encrypt(cipher, clear, session_token) for cipher in self._notices)

    def unseal(self, cookie: str, *, session_token: str) -> Notice | None:
        """The notice. None if it has expired, belongs to another session or is not authentic."""
        for candidate in cookie.split(SEPARATOR)[:MAXIMUM_SECRETS]:
            for cipher in self._notices:
                clear = _decrypt(cipher, candidate, session_token)
                if clear is not None:
                    return _notice_from(clear, self._now())
        return None

    # State is a JSON object: its values are of any JSON type.
    def seal_state(self, state: Mapping[str, Any], *, purpose: str, until: datetime) -> str:
        """State as a cookie value that the browser can neither read nor change.

        It is valid for one purpose.
        """
        clear = orjson.dumps({"until": until.timestamp(), "state": state})
        return SEPARATOR.join(_encrypt(cipher, clear, purpose) for cipher in self._states)

    def unseal_state(self, sealed: str, *, purpose: str, now: datetime) -> dict[str, Any] | None:
        """The state. None if it has expired, has another purpose or is not authentic."""
        for candidate in sealed.split(SEPARATOR)[:MAXIMUM_SECRETS]:
            for cipher in self._states:
                clear = _decrypt(cipher, candidate, purpose)
                if clear is not None:
                    content = orjson.loads(clear)
                    state: dict[str, Any] = content["state"]
                    return state if content["until"] > now.timestamp() else None
        return None


def _encrypt(cipher: AESGCM, clear: bytes, associated: str) -> str:
    nonce = os.urandom(NONCE_BYTES)
    return base64.urlsafe_b64encode(
        nonce + cipher.encrypt(nonce, clear, associated.encode())
    ).decode()


def _decrypt(cipher: AESGCM, text: str, associated: str) -> bytes | None:
    try:
        sealed = base64.urlsafe_b64decode(text.encode())
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated.encode())
    except (ValueError, InvalidTag):
        return None


def _notice_from(clear: bytes, now: datetime) -> Notice | None:
    content = orjson.loads(clear)
    if content["until"] < now.timestamp():
        return None
    fields = content["notice"]
    return Notice(
        fields["tone"], fields["text"], tuple(Secret(**secret) for secret in fields["secrets"])
    )


def _derive(secret_key: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(secret_key.encode())
