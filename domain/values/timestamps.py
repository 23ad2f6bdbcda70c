"""Instants in the contract's form: ISO 8601, UTC, milliseconds, `Z`; and their millisecond count, as the store keeps them."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_iso(at: datetime) -> str:
    """The instant as the contract writes it, for example `2026-11-23T11:13:55.123Z`; finer digits are cut off."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def to_iso_or_none(at: datetime | None) -> str | None:
    return None if at is None else to_iso(at)


def to_unix_ms(at: datetime) -> int:
    """Milliseconds since 1970-01-01 UTC, cut off, exact (no floating point)."""
    return (at - EPOCH) // timedelta(milliseconds=1)


def from_unix_ms(count: int) -> datetime:
    return EPOCH + timedelta(milliseconds=count)
