"""Encrypts secrets that must be read back, and digests those that are only looked up.

All keys come from one root secret. HKDF-SHA256 derives the pepper of API keys and the master key
from it. The master key wraps one data key per project. Data keys encrypt ("seal") the project's
secrets with AES-256-GCM. A value sealed for one table, column and row cannot be opened in another
place.

While the root secret is being replaced there are two, and values sealed with either can be opened.
`store.crypto.root_secret` decides which of them writes. This module stores and logs nothing.
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
    """A stored value cannot be opened.

    It was changed, or it was sealed for another place or with another root secret.
    """


class RootSecret:
    """The keys derived from one root secret, in memory only.

    `fingerprint` identifies the secret and reveals nothing about it.
    """

    def __init__(self, secret_key: str) -> None:
        root = secret_key.encode()
        self.fingerprint = _derived(root, b"makegood/fingerprint/1").hex()[:FINGERPRINT_CHARACTERS]
        # Authenticates backups; it cannot decrypt anything.
        self.backup_key = _derived(root, b"makegood/backup/1")
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
        """A new data key for a project, wrapped by the master key."""
        return self.wrap(secrets.token_bytes(KEY_BYTES), project_id)

    def wrap(self, data_key: bytes, project_id: str) -> bytes:
        """Wrap the project's data key with the master key."""
        return _sealed(
            self._master, data_key, _location(project_id, "projects", "data_key", project_id)
        )

    def unwrap(self, data_key: bytes, project_id: str) -> bytes:
        """Unwrap the project's data key. Raises: SealBroken."""
        return _opened(
            self._master, data_key, _location(project_id, "projects", "data_key", project_id)
        )


class Sealer:
    """Seals and opens with the root secret. During a replacement, the previous one opens too."""

    def __init__(self, secret_key: str, previous: str | None = None) -> None:
        self.current = RootSecret(secret_key)
        self.previous = (
            RootSecret(previous) if previous is not None and previous != secret_key else None
        )

    @property
    def roots(self) -> tuple[RootSecret, ...]:
        """Every known root secret, the current one first."""
        return (self.current,) if self.previous is None else (self.current, self.previous)

    def key_digest(self, api_key: str) -> str:
        """The digest of an API key with the current secret."""
        return self.current.key_digest(api_key)

    def key_digests(self, api_key: str) -> tuple[str, ...]:
        """The digests under which an API key may be stored: one for each root secret, current
        first.
        """
        return tuple(root.key_digest(api_key) for root in self.roots)

    def is_audit_seal(self, seal: str, text: bytes) -> bool:
        """Whether `seal` is the audit log's seal over this text, with any known root secret."""
        return any(
            hmac.compare_digest(seal.encode(), root.audit_seal(text).encode())
            for root in self.roots
        )

    def seal(
        self,
        data_key: bytes,
        *,
        project_id: str,
        table: str,
        column: str,
        row: str,
        plaintext: bytes,
    ) -> bytes:
        """Encrypt the plaintext for this table, column and row with the project's wrapped
        `data_key`.

        Raises: SealBroken when the data key cannot be unwrapped.
        """
        cipher = AESGCM(self.unwrapped(data_key, project_id))
        return _sealed(cipher, plaintext, _location(project_id, table, column, row))

    def open(
        self, data_key: bytes, *, project_id: str, table: str, column: str, row: str, sealed: bytes
    ) -> bytes:
        """Decrypt what was sealed for this table, column and row. Raises: SealBroken."""
        cipher = AESGCM(self.unwrapped(data_key, project_id))
        return _opened(cipher, sealed, _location(project_id, table, column, row))

    def unwrapped(self, data_key: bytes, project_id: str) -> bytes:
        """The project's data key, unwrapped with the root secret that wrapped it. Raises:
        SealBroken.
        """
        for root in self.roots:
            with suppress(SealBroken):
                return root.unwrap(data_key, project_id)
        raise SealBroken


def _derived(root: bytes, purpose: bytes) -> bytes:
    # No salt: the root secret itself is random, and every process must derive the same keys.
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(root)


def _location(*parts: str) -> bytes:
    # No id and no column name contains NUL, so two locations never have the same bytes.
    return "\0".join(parts).encode()


def _sealed(cipher: AESGCM, plaintext: bytes, location: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return VERSION + nonce + cipher.encrypt(nonce, plaintext, location)


def _opened(cipher: AESGCM, sealed: bytes, location: bytes) -> bytes:
    nonce_end = len(VERSION) + NONCE_BYTES
    if not sealed.startswith(VERSION):
        raise SealBroken
    try:
        return cipher.decrypt(sealed[len(VERSION) : nonce_end], sealed[nonce_end:], location)
    except (InvalidTag, ValueError):
        raise SealBroken from None
