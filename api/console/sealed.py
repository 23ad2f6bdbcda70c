"""Keys of the console and what it hands to the browser sealed: the one-time notice between a POST and the page after it.

Every key is derived from the one root secret by HKDF, so several API processes agree without sharing memory. A secret that is
shown once (an API key, a signing secret) travels in an encrypted, short-lived, HttpOnly cookie and is gone after it was shown.
"""

import base64
import hmac
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NOTICE_SECONDS = 120
NONCE_BYTES = 12


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

    def __init__(self, secret_key: str) -> None:
        self._form_key = _derive(secret_key, b"makegood console form token")
        self._notices = AESGCM(_derive(secret_key, b"makegood console notice"))
        self._states = AESGCM(_derive(secret_key, b"makegood console state"))

    def form_token(self, session_token: str) -> str:
        """The token that every form of this session carries."""
        return hmac.new(self._form_key, session_token.encode(), sha256).hexdigest()

    def is_form_token(self, candidate: str, *, session_token: str) -> bool:
        return hmac.compare_digest(candidate.encode(), self.form_token(session_token).encode())

    def seal(self, notice: Notice, *, session_token: str) -> str:
        """The notice as a cookie value that only this session can read, for `NOTICE_SECONDS`."""
        nonce = os.urandom(NONCE_BYTES)
        clear = orjson.dumps({"until": time.time() + NOTICE_SECONDS, "notice": asdict(notice)})
        return base64.urlsafe_b64encode(nonce + self._notices.encrypt(nonce, clear, session_token.encode())).decode()

    def unseal(self, cookie: str, *, session_token: str) -> Notice | None:
        """The notice, or None when it is old, of another session, or was not made here."""
        try:
            sealed = base64.urlsafe_b64decode(cookie.encode())
            clear = self._notices.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], session_token.encode())
        except (ValueError, InvalidTag):
            return None
        content = orjson.loads(clear)
        if content["until"] < time.time():
            return None
        fields = content["notice"]
        return Notice(fields["tone"], fields["text"], tuple(Secret(**secret) for secret in fields["secrets"]))

    # A state is JSON: its values are of any JSON type.
    def seal_state(self, state: Mapping[str, Any], *, purpose: str, until: datetime) -> str:
        """What the browser keeps for us until then, unread and unchanged; it serves this purpose alone."""
        nonce = os.urandom(NONCE_BYTES)
        clear = orjson.dumps({"until": until.timestamp(), "state": state})
        return base64.urlsafe_b64encode(nonce + self._states.encrypt(nonce, clear, purpose.encode())).decode()

    def unseal_state(self, sealed: str, *, purpose: str, now: datetime) -> dict[str, Any] | None:
        """The state, or None when it is too old, serves another purpose, or was not made here."""
        try:
            kept = base64.urlsafe_b64decode(sealed.encode())
            content = orjson.loads(self._states.decrypt(kept[:NONCE_BYTES], kept[NONCE_BYTES:], purpose.encode()))
        except (ValueError, InvalidTag):
            return None
        state: dict[str, Any] = content["state"]
        return state if content["until"] > now.timestamp() else None


def _derive(secret_key: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(secret_key.encode())
