"""Instants: ISO 8601, UTC, milliseconds, `Z`; exact in the store."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.values.timestamps import (
    EPOCH,
    ceil_unix_ms,
    from_unix_ms,
    parse_instant,
    to_iso,
    to_iso_or_none,
    to_unix_ms,
)


@pytest.mark.parametrize(
    ("at", "written"),
    [
        (datetime(2026, 11, 23, 11, 13, 55, 123_999, tzinfo=UTC), "2026-11-23T11:13:55.123Z"),
        (datetime(2026, 11, 23, 11, 13, 55, tzinfo=UTC), "2026-11-23T11:13:55.000Z"),
        (
            datetime(2026, 11, 23, 1, 0, tzinfo=timezone(timedelta(hours=2))),
            "2026-11-22T23:00:00.000Z",
        ),
    ],
    ids=["cut to milliseconds", "whole second", "another zone"],
)
def test_instant_is_written_in_utc_with_milliseconds(at: datetime, written: str) -> None:
    assert to_iso(at) == to_iso_or_none(at) == written


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T11:13:55Z",
        "2026-11-23t11:13:55z",
        "2026-11-23T11:13:55z",
        "2026-11-23t12:13:55+01:00",
        "20261123T111355Z",
    ],
)
def test_letters_of_an_instant_may_be_lowercase(text: str) -> None:
    assert parse_instant(text) == datetime(2026, 11, 23, 11, 13, 55, tzinfo=UTC)


@pytest.mark.parametrize(
    ("microseconds", "below", "above"),
    [(0, 0, 0), (1, 0, 1), (999, 0, 1), (1_000, 1, 1), (-1, -1, 0), (-1_000, -1, -1)],
)
def test_instant_within_a_millisecond_is_rounded_down_or_up(
    microseconds: int, below: int, above: int
) -> None:
    at = EPOCH + timedelta(microseconds=microseconds)

    assert (to_unix_ms(at), ceil_unix_ms(at)) == (below, above)


def test_no_instant_is_written_as_none() -> None:
    assert to_iso_or_none(None) is None


@given(st.integers(min_value=0, max_value=253_402_300_799_999))
def test_milliseconds_come_back_exactly(count: int) -> None:
    assert to_unix_ms(from_unix_ms(count)) == count


@given(
    st.datetimes(
        min_value=datetime(1970, 1, 1),  # noqa: DTZ001
        max_value=datetime(9999, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    )
)
def test_stored_instant_is_less_than_a_millisecond_earlier(at: datetime) -> None:
    stored = from_unix_ms(to_unix_ms(at))

    assert timedelta(0) <= at - stored < timedelta(milliseconds=1)
    assert to_iso(stored) == to_iso(at)


def test_epoch_is_zero() -> None:
    assert to_unix_ms(EPOCH) == 0
