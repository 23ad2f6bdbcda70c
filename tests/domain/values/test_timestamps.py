"""Instants: ISO 8601, UTC, milliseconds, `Z`; exact in the store."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.values.timestamps import EPOCH, from_milliseconds, milliseconds, wire, wire_or_none


@pytest.mark.parametrize(
    ("at", "written"),
    [
        (datetime(2026, 11, 23, 11, 13, 55, 123_999, tzinfo=UTC), "2026-11-23T11:13:55.123Z"),
        (datetime(2026, 11, 23, 11, 13, 55, tzinfo=UTC), "2026-11-23T11:13:55.000Z"),
        (datetime(2026, 11, 23, 1, 0, tzinfo=timezone(timedelta(hours=2))), "2026-11-22T23:00:00.000Z"),
    ],
    ids=["cut to milliseconds", "whole second", "another zone"],
)
def test_instant_is_written_in_utc_with_milliseconds(at: datetime, written: str) -> None:
    assert wire(at) == wire_or_none(at) == written


def test_no_instant_is_written_as_none() -> None:
    assert wire_or_none(None) is None


@given(st.integers(min_value=0, max_value=253_402_300_799_999))
def test_milliseconds_come_back_exactly(count: int) -> None:
    assert milliseconds(from_milliseconds(count)) == count


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_stored_instant_is_less_than_a_millisecond_earlier(at: datetime) -> None:
    stored = from_milliseconds(milliseconds(at))

    assert timedelta(0) <= at - stored < timedelta(milliseconds=1)
    assert wire(stored) == wire(at)


def test_epoch_is_zero() -> None:
    assert milliseconds(EPOCH) == 0
