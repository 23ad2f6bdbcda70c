"""The formats of API keys and signing secrets, and the digest under which a key is stored. The
caller passes random bytes.

A key is `sk_test_` or `sk_live_`, 43 base62 digits of 32 random bytes, and 6 base62 digits of their
CRC-32. The checksum rejects mistyped keys and false matches of secret scanners without a query.
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
    """The text of a key made from 32 random bytes."""
    body = (LIVE_PREFIX if livemode else TEST_PREFIX) + _base62(
        int.from_bytes(random_bytes, "big"), _BODY_LENGTH
    )
    return body + _checksum(body)


def looks_like_key(text: str) -> bool:
    """Whether the text has a key's shape and checksum; it may still be unknown."""
    if _KEY.fullmatch(text) is None:
        return False
    return _checksum(text[:-_CHECKSUM_LENGTH]) == text[-_CHECKSUM_LENGTH:]


def hint_of(api_key: str) -> str:
    """The part of a key that may be shown later: its prefix and its last four characters."""
    return f"{api_key[: len(TEST_PREFIX)]}…{api_key[-HINT_CHARACTERS:]}"


def key_digest(api_key: str, *, pepper: bytes) -> str:
    """Hex HMAC-SHA256 of a key, which is stored and looked up. Useless without the pepper."""
    return hmac.digest(pepper, api_key.encode(), "sha256").hex()


def signing_secret_text(random_bytes: bytes) -> str:
    """The text of a signing secret made from 32 random bytes, in the format of Standard
    Webhooks.
    """
    return SECRET_PREFIX + base64.b64encode(random_bytes).decode("ascii")


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
