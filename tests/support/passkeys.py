"""A software authenticator: it makes passkeys and signs challenges as a browser and a security key
do, with a real P-256 key (WebAuthn level 3, 6.1 and 6.5). The answers are the JSON that the console
reads.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from domain.security.passkeys import NewPasskey

USER_PRESENT, USER_VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def new_passkey(credential_id: str = "Y3JlZC0x", *, sign_count: int = 0) -> NewPasskey:
    """A passkey whose key nobody has, for tests that sign nothing."""
    return NewPasskey(credential_id, "cGs", sign_count, "makegood.example", ("internal",))


def to_text(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def to_bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Authenticator:
    """One passkey. `counter` grows with each use; None is an authenticator without a counter.

    `public_key` is that of `key`, in COSE form, unless a test gives another.
    """

    origin: str
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    credential_id: bytes = b""
    user_handle: bytes = b""
    counter: int | None = 0
    flags: int = USER_PRESENT | USER_VERIFIED
    public_key: bytes = b""

    # Any: JSON values.
    def create(self, options: dict[str, Any], **changed: Any) -> str:
        """Make the passkey for these creation options. `changed` replaces parts of the answer."""
        self.user_handle = to_bytes(options["user"]["id"])
        self.public_key = self.public_key or self._public_key()
        self.credential_id = self.credential_id or sha256(self.public_key).digest()
        identifier = len(self.credential_id).to_bytes(2, "big") + self.credential_id
        attested = bytes(16) + identifier + self.public_key
        data = self._head(options["rp"]["id"], ATTESTED) + attested
        statement = {"fmt": "none", "attStmt": {}, "authData": data}
        response = {
            "clientDataJSON": self._client_data("webauthn.create", options, changed),
            "attestationObject": to_text(cbor2.dumps(statement)),
            "transports": ["internal", "hybrid"],
        }
        return self._answer(response, changed)

    def use(self, options: dict[str, Any], **changed: Any) -> str:
        """Sign the challenge of these request options. `changed` replaces parts of the answer."""
        if self.counter is not None:
            self.counter += 1
        data = self._head(options["rpId"], 0)
        client = self._client_data("webauthn.get", options, changed)
        signed = data + sha256(to_bytes(client)).digest()
        response = {
            "clientDataJSON": client,
            "authenticatorData": to_text(data),
            "signature": to_text(self.key.sign(signed, ec.ECDSA(SHA256()))),
            "userHandle": to_text(self.user_handle),
        }
        return self._answer(response, changed)

    def _client_data(self, kind: str, options: dict[str, Any], changed: dict[str, Any]) -> str:
        client = {"type": kind, "challenge": options["challenge"], "origin": self.origin}
        client |= {name: changed.pop(name) for name in [*changed] if name in CLIENT_FIELDS}
        return to_text(json.dumps(client).encode())

    def _answer(self, response: dict[str, Any], changed: dict[str, Any]) -> str:
        identifier = to_text(self.credential_id)
        whole = {"id": identifier, "rawId": identifier, "type": "public-key"}
        return json.dumps({**whole, "response": {**response, **changed}})

    def _head(self, rp_id: str, more_flags: int) -> bytes:
        """The fixed part of the authenticator data."""
        flags = bytes([self.flags | more_flags])
        return sha256(rp_id.encode()).digest() + flags + (self.counter or 0).to_bytes(4, "big")

    def _public_key(self) -> bytes:
        """The key in COSE form (RFC 9053, 7.1)."""
        numbers = self.key.public_key().public_numbers()
        x, y = (one.to_bytes(32, "big") for one in (numbers.x, numbers.y))
        return cbor2.dumps({1: 2, 3: -7, -1: 1, -2: x, -3: y})


CLIENT_FIELDS = ("type", "challenge", "origin", "crossOrigin")
