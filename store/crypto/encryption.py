"""Encrypts what must be read back and digests what is only looked up, all from one root secret. Never stores or logs anything.

HKDF-SHA256 derives the pepper of API keys and the master key from the root secret. The master key wraps one data key per project;
data keys seal the project's secrets with AES-256-GCM. What was sealed for one table, column and row opens nowhere else. While the
root secret is being replaced there are two: what either sealed opens, and `store.crypto.root_secret` says which of them writes.
"""

import hmac
import secrets
from contextlib import suppress

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from domain.security import api_keys as keys

KEY_BYTES = 32
NONCE_BYTES = 12
VERSION = b"\x01"
FINGERPRINT_CHARACTERS = 16


class SealBroken(Exception):
    """What was stored cannot be opened: it was changed, or sealed for another place or with another root secret."""


class RootSecret:
    """The keys that one root secret gives, held in memory only. `fingerprint` names it, and tells nothing of it."""

    def __init__(self, secret_key: str) -> None:
        root = secret_key.encode()
        self.fingerprint = _derived(root, b"makegood/fingerprint/1").hex()[:FINGERPRINT_CHARACTERS]
        self.backup_key = _derived(root, b"makegood/backup/1")  # authenticates backups, and opens nothing
        self._pepper = _derived(root, b"makegood/api-key-pepper/1")
        self._master = AESGCM(_derived(root, b"makegood/master-key/1"))
        self._audit_key = _derived(root, b"makegood/audit-log/1")

    def key_digest(self, api_key: str) -> str:
        """The digest under which an API key is stored."""
        return keys.key_digest(api_key, pepper=self._pepper)

    def audit_seal(self, text: bytes) -> str:
        """The seal at the end of the audit log, hex HMAC-SHA256."""
        return hmac.new(self._audit_key, text, "sha256").hexdigest()

    def new_data_key(self, project_id: str) -> bytes:
        """A fresh data key for a project, wrapped by the master key."""
        return self.wrap(secrets.token_bytes(KEY_BYTES), project_id)

    def wrap(self, data_key: bytes, project_id: str) -> bytes:
        """The project's opened data key, wrapped by the master key."""
        return _sealed(self._master, data_key, _place(project_id, "projects", "data_key", project_id))

    def unwrap(self, data_key: bytes, project_id: str) -> bytes:
        """The project's data key, opened. Raises: SealBroken."""
        return _opened(self._master, data_key, _place(project_id, "projects", "data_key", project_id))


class Sealer:
    """Seals and opens with the root secret, and opens with the previous one too while it is being replaced."""

    def __init__(self, secret_key: str, previous: str | None = None) -> None:
        self.current = RootSecret(secret_key)
        self.previous = RootSecret(previous) if previous is not None and previous != secret_key else None

    @property
    def roots(self) -> tuple[RootSecret, ...]:
        """Every root secret that is known, the current one first."""
        return (self.current,) if self.previous is None else (self.current, self.previous)

    def key_digest(self, api_key: str) -> str:
        """The digest of an API key with the current secret."""
        return self.current.key_digest(api_key)

    def key_digests(self, api_key: str) -> tuple[str, ...]:
        """The digests under which an API key may be stored, one for each root secret, the current one's first."""
        return tuple(root.key_digest(api_key) for root in self.roots)

    def is_audit_seal(self, seal: str, text: bytes) -> bool:
        """Whether the seal at the end of the audit log was made over this text, with whichever root secret."""
        return any(hmac.compare_digest(seal.encode(), root.audit_seal(text).encode()) for root in self.roots)

    def seal(self, data_key: bytes, *, project_id: str, table: str, column: str, row: str, plaintext: bytes) -> bytes:
        """The plaintext, readable only at this place and with the project's (wrapped) `data_key`. Raises: SealBroken."""
        return _sealed(AESGCM(self.unwrapped(data_key, project_id)), plaintext, _place(project_id, table, column, row))

    def open(self, data_key: bytes, *, project_id: str, table: str, column: str, row: str, sealed: bytes) -> bytes:
        """What was sealed at this place. Raises: SealBroken."""
        return _opened(AESGCM(self.unwrapped(data_key, project_id)), sealed, _place(project_id, table, column, row))

    def unwrapped(self, data_key: bytes, project_id: str) -> bytes:
        """The project's data key, opened with whichever root secret wrapped it. Raises: SealBroken."""
        for root in self.roots:
            with suppress(SealBroken):
                return root.unwrap(data_key, project_id)
        raise SealBroken


def _derived(root: bytes, purpose: bytes) -> bytes:
    # Without salt: the root secret is itself random, and every process must derive the same.
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(root)


def _place(*parts: str) -> bytes:
    # NUL is in no id and no column's name, so that two places are never spelled alike.
    return "\0".join(parts).encode()


def _sealed(cipher: AESGCM, plaintext: bytes, place: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return VERSION + nonce + cipher.encrypt(nonce, plaintext, place)


def _opened(cipher: AESGCM, sealed: bytes, place: bytes) -> bytes:
    nonce_end = len(VERSION) + NONCE_BYTES
    if not sealed.startswith(VERSION):
        raise SealBroken
    try:
        return cipher.decrypt(sealed[len(VERSION) : nonce_end], sealed[nonce_end:], place)
    except (InvalidTag, ValueError):
        raise SealBroken from None
