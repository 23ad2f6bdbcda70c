"""The shape of an API key and of a signing secret, and the digest a key is stored under. No randomness: bytes are handed in.

A key is `sk_test_` or `sk_live_`, 43 base62 digits of 32 random bytes, and 6 digits of their CRC-32, so that a mistyped or
cut-off key, and a scanner's false find, is known without the store.
"""

import base64
import hmac
import re
import zlib

RANDOM_BYTES = 32
TEST_PREFIX = "sk_test_"
LIVE_PREFIX = "sk_live_"
SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, not a secret
HINT_CHARACTERS = 4

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY_LENGTH = 43
_CHECKSUM_LENGTH = 6
_KEY = re.compile(rf"sk_(?:test|live)_[0-9A-Za-z]{{{_BODY_LENGTH + _CHECKSUM_LENGTH}}}")


def api_key_text(random_bytes: bytes, *, livemode: bool) -> str:
    """The key made of 32 random bytes, as its owner will send it."""
    body = (LIVE_PREFIX if livemode else TEST_PREFIX) + _base62(int.from_bytes(random_bytes, "big"), _BODY_LENGTH)
    return body + _checksum(body)


def looks_like_key(text: str) -> bool:
    """Whether the text has a key's shape and checksum; it may still be unknown."""
    if _KEY.fullmatch(text) is None:
        return False
    return _checksum(text[:-_CHECKSUM_LENGTH]) == text[-_CHECKSUM_LENGTH:]


def hint_of(api_key: str) -> str:
    """What people may see of a key afterwards: its prefix and its last four characters."""
    return f"{api_key[: len(TEST_PREFIX)]}…{api_key[-HINT_CHARACTERS:]}"


def key_digest(api_key: str, *, pepper: bytes) -> str:
    """Hex HMAC-SHA256 of a key: what is stored and looked up; worthless without the pepper."""
    return hmac.digest(pepper, api_key.encode(), "sha256").hex()


def signing_secret_text(random_bytes: bytes) -> str:
    """The signing secret made of 32 random bytes, in Standard Webhooks' spelling."""
    return SECRET_PREFIX + base64.b64encode(random_bytes).decode("ascii")


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
