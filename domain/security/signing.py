"""The headers that authenticate a repair callback.

Signs the raw body twice: in the X-SendPromptly scheme, keyed with the secret's text, and in
Standard Webhooks 1.0, keyed with the secret's decoded part. During a rotation both secrets sign.
Pure: the caller passes timestamp and nonce. Called by the callback activity for each attempt, and
by the `signature` command.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

TIMESTAMP_HEADER = "X-SendPromptly-Timestamp"
NONCE_HEADER = "X-SendPromptly-Nonce"
SIGNATURE_HEADER = "X-SendPromptly-Signature"
NEXT_SIGNATURE_HEADER = "X-SendPromptly-Signature-Next"
ATTEMPT_HEADER = "X-SendPromptly-Attempt"
# Of a test call only. The signed body says it too, as `test`.
TEST_HEADER = "X-SendPromptly-Test"
SECRET_PREFIX = "whsec_"  # noqa: S105  the public prefix of every secret, not one of them

_NONCE = re.compile(r"[0-9a-f]{32}")

Headers = tuple[tuple[str, str], ...]


class MalformedSecret(ValueError):
    """A signing secret is `whsec_` followed by base64."""


@dataclass(frozen=True, slots=True)
class SigningSecrets:
    """The current secret and, during a rotation, the next one."""

    current: str = field(repr=False)
    next: str | None = field(default=None, repr=False)


def callback_headers(
    *,
    secrets: SigningSecrets,
    replay_id: str,
    attempt_number: int,
    timestamp: int,
    nonce: str,
    body: bytes,
) -> Headers:
    """The headers that sign one attempt, in the order of the contract.

    `timestamp` is in unix seconds and `nonce` 32 lowercase hex characters, both fresh on each
    attempt.

    Raises:
        MalformedSecret: a secret is not `whsec_` and base64.
        ValueError: the nonce has another shape.
    """
    if not _NONCE.fullmatch(nonce):
        raise ValueError("a nonce is 32 lowercase hex characters")
    signing_secrets = [secret for secret in (secrets.current, secrets.next) if secret is not None]
    names = (SIGNATURE_HEADER, NEXT_SIGNATURE_HEADER)
    signatures = [
        sign(secret, timestamp=timestamp, nonce=nonce, body=body) for secret in signing_secrets
    ]
    standard = [
        sign_standard(s, message_id=replay_id, timestamp=timestamp, body=body)
        for s in signing_secrets
    ]
    return (
        (TIMESTAMP_HEADER, str(timestamp)),
        (NONCE_HEADER, nonce),
        *zip(names, signatures, strict=False),
        (ATTEMPT_HEADER, str(attempt_number)),
        ("webhook-id", replay_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", " ".join(standard)),
    )


def sign(secret: str, *, timestamp: int, nonce: str, body: bytes) -> str:
    """The lowercase hex of `X-SendPromptly-Signature`; the key is the whole text of the secret."""
    return hmac.new(
        secret.encode(), f"{timestamp}.{nonce}.".encode() + body, hashlib.sha256
    ).hexdigest()


def sign_standard(secret: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    """One `v1,…` entry of `webhook-signature`; the key is the decoded part of the secret.

    Raises:
        MalformedSecret: the secret is not `whsec_` and base64.
    """
    digest = hmac.new(
        _decoded_key(secret), f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256
    ).digest()
    return "v1," + base64.b64encode(digest).decode()


def given_secrets(texts: Iterable[str]) -> list[str]:
    """The secrets in these texts, each of which holds one or several separated by commas; blanks
    around each are removed.

    The client libraries follow the same rule (`sdks/vectors`). A blank secret is refused: anyone
    can sign with an empty key.

    Raises:
        MalformedSecret: one is blank or is not `whsec_` and base64, or there is none at all. It is
            not quoted.
    """
    secrets = [part.strip() for text in texts for part in text.split(",")]
    if not secrets or not all(secrets):
        raise MalformedSecret(
            "a signing secret is blank: is its variable set, with no comma too many?"
        )
    for secret in secrets:
        _decoded_key(secret)
    return secrets


def _decoded_key(secret: str) -> bytes:
    encoded = secret.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:  # not base64, or not even ASCII
        key = b""
    if encoded == secret or not key:
        raise MalformedSecret("a signing secret is whsec_ followed by base64")
    return key
