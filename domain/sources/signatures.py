"""Whether a delivery to a hook comes from the provider: the signatures of Stripe and Shopify. Pure.

Stripe: https://docs.stripe.com/webhooks/signature, as Stripe's own libraries check it.
Shopify: https://shopify.dev/docs/apps/build/webhooks/verify-deliveries.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from domain.values.timestamps import EPOCH

STRIPE_SIGNATURE_HEADER = "stripe-signature"
SHOPIFY_SIGNATURE_HEADER = "x-shopify-hmac-sha256"
STRIPE_TOLERANCE = timedelta(minutes=5)
_SCHEME = "v1"
_MOST_TIMESTAMP_DIGITS = 15


class SignatureCheck(StrEnum):
    """What a check found. Only `GENUINE` is true in a condition."""

    GENUINE = "genuine"
    MISSING = "missing"
    """There is no header, or it is not in the provider's form."""
    WRONG = "wrong"
    """No signature fits the body and the secret."""
    STALE = "stale"
    """The signature fits, but Stripe made it more than five minutes ago by our clock."""

    def __bool__(self) -> bool:
        return self is SignatureCheck.GENUINE


def verify_stripe(
    header: str | None, body: bytes, secrets: Sequence[str], now: datetime
) -> SignatureCheck:
    """Check a `Stripe-Signature` header: `t=…,v1=…`, with a `v1` for each secret in force.

    `body` is as it was received. A blank secret fits nothing. A timestamp of the future is
    accepted, as Stripe's libraries do: nobody without the secret can make one.
    """
    items = [item.partition("=") for item in (header or "").split(",")]
    signatures = [_encoded(value) for name, _, value in items if name == _SCHEME]
    timestamp = next((value for name, _, value in items if name == "t"), "")
    if not signatures or not _is_timestamp(timestamp):
        return SignatureCheck.MISSING
    signed = f"{int(timestamp)}.".encode() + body
    digests = [_digest(secret, signed).hex().encode() for secret in secrets if secret.strip()]
    pairs = [(digest, signature) for digest in digests for signature in signatures]
    if not any([hmac.compare_digest(digest, signature) for digest, signature in pairs]):
        return SignatureCheck.WRONG
    is_stale = int(timestamp) < (now - STRIPE_TOLERANCE - EPOCH) / timedelta(seconds=1)
    return SignatureCheck.STALE if is_stale else SignatureCheck.GENUINE


def verify_shopify(header: str | None, body: bytes, secret: str) -> SignatureCheck:
    """Check an `X-Shopify-Hmac-Sha256` header: the HMAC of the body in base64.

    Shopify signs no time, so there is no tolerance. A blank secret fits nothing.
    """
    if not header:
        return SignatureCheck.MISSING
    expected = base64.b64encode(_digest(secret, body))
    if not secret.strip() or not hmac.compare_digest(expected, _encoded(header)):
        return SignatureCheck.WRONG
    return SignatureCheck.GENUINE


def _is_timestamp(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_TIMESTAMP_DIGITS


def _digest(secret: str, signed: bytes) -> bytes:
    return hmac.digest(_encoded(secret), signed, hashlib.sha256)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
