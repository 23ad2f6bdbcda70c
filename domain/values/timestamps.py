"""Instants as ISO 8601 text in UTC, as in the contract, and as unix milliseconds, as in the
store.
"""

import re
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Hour 24, leap seconds and offsets of a day or more are refused, because Python versions parse them
# differently.
_INSTANT = re.compile(
    r"\d{4}-?\d{2}-?\d{2}[Tt ](?:[01]\d|2[0-3]).*(?:[Zz]|[+-]\d{2}:?(?:\d{2})?)", re.ASCII
)


def parse_instant(text: str) -> datetime | None:
    """The UTC instant of an ISO 8601 text with a time zone; None for any other text.

    RFC 3339 (5.6) allows the lowercase letters `t` and `z` too.
    """
    if not _INSTANT.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text.upper())
        return None if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def to_iso(at: datetime) -> str:
    """The instant as in the contract, for example `2026-11-23T11:13:55.123Z`; finer digits are cut
    off.
    """
    return at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def to_iso_or_none(at: datetime | None) -> str | None:
    return None if at is None else to_iso(at)


def to_unix_ms(at: datetime) -> int:
    """Whole milliseconds since 1970-01-01 UTC, rounded down, without floating point."""
    return (at - EPOCH) // timedelta(milliseconds=1)


def ceil_unix_ms(at: datetime) -> int:
    """Whole milliseconds since 1970-01-01 UTC, rounded up. What is stored before `at` is below."""
    return -((EPOCH - at) // timedelta(milliseconds=1))


def from_unix_ms(count: int) -> datetime:
    return EPOCH + timedelta(milliseconds=count)
