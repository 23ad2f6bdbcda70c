"""Ed25519 (RFC 8032): the keys of evidence, and the check of a file against a public key.

Opens no store: `makegood evidence verify` runs where there is none.
"""

from collections.abc import Collection
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domain.security.evidence import Evidence, EvidenceBroken, read_evidence


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of the check.

    - `evidence`: the file, if it is intact. Else `problem` says what is wrong, and `entry` is the
      number of the first broken entry, None if the problem is elsewhere.
    - `is_signer_known`: the file was signed by a public key that the caller gave. False if the
      caller gave none: then anybody may have made the file.
    """

    evidence: Evidence | None
    is_signer_known: bool
    problem: str | None = None
    entry: int | None = None


def new_private_key() -> bytes:
    """A random private key, 32 bytes."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key_of(private_key: bytes) -> str:
    """The public key, 64 hex digits."""
    public = Ed25519PrivateKey.from_private_bytes(private_key).public_key()
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def sign(private_key: bytes, statement: bytes) -> bytes:
    """The signature of the statement, 64 bytes. The same statement has the same signature."""
    return Ed25519PrivateKey.from_private_bytes(private_key).sign(statement)


def verify_evidence(file: bytes, *, public_keys: Collection[str]) -> Verdict:
    """Check every byte of the file.

    `public_keys` are those that the caller trusts, 64 hex digits each. Without any, the key in the
    file is taken. This finds every change, except by somebody who signs the changed file again with
    a key of their own.
    """
    try:
        evidence = read_evidence(file)
    except EvidenceBroken as broken:
        return Verdict(None, is_signer_known=False, problem=broken.problem, entry=broken.entry)
    if not _is_signed(evidence):
        problem = "its signature does not match: something outside of its entries was changed"
        return Verdict(None, is_signer_known=False, problem=problem)
    if public_keys and evidence.public_key not in public_keys:
        problem = f"it was signed by another key, {evidence.key_id}"
        return Verdict(None, is_signer_known=False, problem=problem)
    return Verdict(evidence, is_signer_known=bool(public_keys))


def _is_signed(evidence: Evidence) -> bool:
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(evidence.public_key))
        public.verify(evidence.signature, evidence.statement)
    except (InvalidSignature, ValueError):
        return False
    return True
