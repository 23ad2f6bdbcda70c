"""Instants as ISO 8601 text in UTC, as in the contract, and as unix milliseconds, as in the
store.
"""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


def from_unix_ms(count: int) -> datetime:
    return EPOCH + timedelta(milliseconds=count)
