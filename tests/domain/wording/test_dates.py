"""Dates and times in words: each language, zones and their changes, the ends of the calendar."""

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from domain.wording.dates import LANGUAGE_NAMES, UTC_DATES, DateLanguage, ReaderDates

AT = datetime(2026, 11, 23, 11, 13, 55, 123_000, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def test_instant_is_formatted_in_utc_until_a_zone_is_chosen() -> None:
    east = timezone(timedelta(hours=2))

    assert UTC_DATES.instant(AT) == "23 Nov 2026, 11:13:55 UTC"
    assert UTC_DATES.instant(AT.replace(tzinfo=east)) == "23 Nov 2026, 09:13:55 UTC"
    assert UTC_DATES.instant(None) == "–"
    assert UTC_DATES.beside_utc(AT) == "23 Nov 2026, 11:13:55 UTC"
    assert UTC_DATES.zone_name == "UTC"


# The patterns of CLDR's medium date and time.
@pytest.mark.parametrize(
    ("language", "instant", "day"),
    [
        (DateLanguage.ENGLISH_UK, "23 Nov 2026, 15:13:55 CET", "1 Mar 2026"),
        (DateLanguage.ENGLISH_US, "Nov 23, 2026, 3:13:55 PM CET", "Mar 1, 2026"),
        (DateLanguage.ISO, "2026-11-23 15:13:55 CET", "2026-03-01"),
        (DateLanguage.GERMAN, "23.11.2026, 15:13:55 CET", "01.03.2026"),
        (DateLanguage.FRENCH, "23 nov. 2026, 15:13:55 CET", "1 mars 2026"),
        (DateLanguage.SPANISH, "23 nov 2026, 15:13:55 CET", "1 mar 2026"),
    ],
)
def test_each_language_has_its_pattern(language: DateLanguage, instant: str, day: str) -> None:
    dates = ReaderDates(BERLIN, language)

    assert dates.instant(AT + timedelta(hours=3)) == instant
    assert dates.day(date(2026, 3, 1)) == day


def test_every_language_names_every_month_and_itself() -> None:
    for language in DateLanguage:
        dates = ReaderDates(language=language)

        assert len({dates.day(date(2026, month, 7)) for month in range(1, 13)}) == 12
    assert set(LANGUAGE_NAMES) == set(DateLanguage)


@pytest.mark.parametrize(
    ("hour", "expected"),
    [(0, "12:05:09 AM"), (1, "1:05:09 AM"), (12, "12:05:09 PM"), (23, "11:05:09 PM")],
)
def test_american_hours_are_twelve_twice(hour: int, expected: str) -> None:
    at = datetime(2026, 11, 23, hour, 5, 9, tzinfo=UTC)

    assert ReaderDates(language=DateLanguage.ENGLISH_US).time(at) == expected


@pytest.mark.parametrize(
    ("zone", "at", "expected"),
    [
        ("Europe/Berlin", AT, "23 Nov 2026, 12:13:55 CET (11:13:55 UTC)"),
        ("Europe/London", AT, "23 Nov 2026, 11:13:55 GMT (11:13:55 UTC)"),
        # UTC has its date where it is another day.
        (
            "Asia/Tokyo",
            AT + timedelta(hours=5),
            "24 Nov 2026, 01:13:55 JST (23 Nov 2026, 16:13:55 UTC)",
        ),
        # A zone without an abbreviation, and one off by a quarter of an hour.
        ("America/Sao_Paulo", AT, "23 Nov 2026, 08:13:55 UTC-03 (11:13:55 UTC)"),
        ("Asia/Kathmandu", AT, "23 Nov 2026, 16:58:55 UTC+0545 (11:13:55 UTC)"),
    ],
)
def test_utc_is_beside_the_time_of_a_zone(zone: str, at: datetime, expected: str) -> None:
    assert ReaderDates(ZoneInfo(zone)).beside_utc(at) == expected


def test_hour_that_comes_twice_is_told_apart_by_its_zone() -> None:
    """Clocks in Berlin went back on 25 Oct 2026 at 01:00 UTC."""
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)

    shown = [ReaderDates(BERLIN).time_with_zone(at) for at in (first, first + timedelta(hours=1))]

    assert shown == ["02:30:00 CEST", "02:30:00 CET"]


@pytest.mark.parametrize(
    ("at", "zone", "expected"),
    [
        (datetime.max.replace(tzinfo=UTC), "Asia/Tokyo", "31 Dec 9999, 23:59:59 UTC"),
        (datetime.min.replace(tzinfo=UTC), "America/New_York", "1 Jan 0001, 00:00:00 UTC"),
    ],
)
def test_instant_without_a_local_time_is_shown_in_utc(
    at: datetime, zone: str, expected: str
) -> None:
    dates = ReaderDates(ZoneInfo(zone))

    assert dates.instant(at) == expected
    assert dates.beside_utc(at) == expected
