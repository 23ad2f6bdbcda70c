"""Keys of the console and what it hands to the browser sealed: the one-time notice between a POST and the page after it.

Every key is derived from the one root secret by HKDF, so several API processes agree without sharing memory. A secret that is
shown once (an API key, a signing secret) travels in an encrypted, short-lived, HttpOnly cookie and is gone after it was shown.
While the root secret is being replaced, each token and notice is made with both, and one that either made is taken: a process
that knows only one of them agrees with one that knows the other beside it.
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
MOST_SECRETS = 2
_BETWEEN = "."  # in neither hex nor base64


@dataclass(frozen=True, slots=True)
class Secret:
    """Something shown once: what it is called and its text."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What the page after a POST says: `tone` is `good` or `bad`."""

    tone: str
    text: str
    secrets: tuple[Secret, ...] = ()


class ConsoleKeys:
    """Signs form tokens and seals notices; made once per process from the root secret."""

    def __init__(
        self, secret_key: str, previous: str | None = None, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """`now` is the store's clock: another process, on another host, may open what this one sealed."""
        self._now = now
        secrets = (secret_key,) if previous is None else (secret_key, previous)
        self._form_keys = [_derive(secret, b"makegood console form token") for secret in secrets]
        self._notices = [AESGCM(_derive(secret, b"makegood console notice")) for secret in secrets]
        self._states = [AESGCM(_derive(secret, b"makegood console state")) for secret in secrets]

    def form_token(self, session_token: str) -> str:
        """The token that every form of this session carries."""
        return _BETWEEN.join(hmac.new(key, session_token.encode(), sha256).hexdigest() for key in self._form_keys)

    def is_form_token(self, candidate: str, *, session_token: str) -> bool:
        ours, theirs = self.form_token(session_token).split(_BETWEEN), candidate.split(_BETWEEN)[:MOST_SECRETS]
        return any([hmac.compare_digest(one.encode(), other.encode()) for one in ours for other in theirs])

    def seal(self, notice: Notice, *, session_token: str) -> str:
        """The notice as a cookie value that only this session can read, for `NOTICE_SECONDS`."""
        clear = orjson.dumps({"until": self._now().timestamp() + NOTICE_SECONDS, "notice": asdict(notice)})
        return _BETWEEN.join(_sealed(cipher, clear, session_token) for cipher in self._notices)

    def unseal(self, cookie: str, *, session_token: str) -> Notice | None:
        """The notice, or None when it is old, of another session, or was not made here."""
        for sealed in cookie.split(_BETWEEN)[:MOST_SECRETS]:
            for cipher in self._notices:
                clear = _opened(cipher, sealed, session_token)
                if clear is not None:
                    return _notice_from(clear, self._now())
        return None

    # A state is JSON: its values are of any JSON type.
    def seal_state(self, state: Mapping[str, Any], *, purpose: str, until: datetime) -> str:
        """What the browser keeps for us until then, unread and unchanged; it serves this purpose alone."""
        clear = orjson.dumps({"until": until.timestamp(), "state": state})
        return _BETWEEN.join(_sealed(cipher, clear, purpose) for cipher in self._states)

    def unseal_state(self, sealed: str, *, purpose: str, now: datetime) -> dict[str, Any] | None:
        """The state, or None when it is too old, serves another purpose, or was not made here."""
        for one in sealed.split(_BETWEEN)[:MOST_SECRETS]:
            for cipher in self._states:
                clear = _opened(cipher, one, purpose)
                if clear is not None:
                    content = orjson.loads(clear)
                    state: dict[str, Any] = content["state"]
                    return state if content["until"] > now.timestamp() else None
        return None


def _sealed(cipher: AESGCM, clear: bytes, session_token: str) -> str:
    nonce = os.urandom(NONCE_BYTES)
    return base64.urlsafe_b64encode(nonce + cipher.encrypt(nonce, clear, session_token.encode())).decode()


def _opened(cipher: AESGCM, text: str, session_token: str) -> bytes | None:
    try:
        sealed = base64.urlsafe_b64decode(text.encode())
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], session_token.encode())
    except (ValueError, InvalidTag):
        return None


def _notice_from(clear: bytes, now: datetime) -> Notice | None:
    content = orjson.loads(clear)
    if content["until"] < now.timestamp():
        return None
    fields = content["notice"]
    return Notice(fields["tone"], fields["text"], tuple(Secret(**secret) for secret in fields["secrets"]))


def _derive(secret_key: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(secret_key.encode())
