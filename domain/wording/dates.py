"""Dates and times in words, in a reader's time zone and language. Pure.

Console and mails use it. The caller finds the zone (`store.people.preferences`). The patterns are
those of CLDR's medium format for each language, with seconds. Zones are named by their abbreviation
in the time zone database, which has no translations.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from enum import StrEnum


class DateLanguage(StrEnum):
    """The pattern of dates and times."""

    ENGLISH_UK = "en-GB"
    ENGLISH_US = "en-US"
    ISO = "iso"
    GERMAN = "de"
    FRENCH = "fr"
    SPANISH = "es"


LANGUAGE_NAMES: dict[DateLanguage, str] = {
    DateLanguage.ENGLISH_UK: "English (UK)",
    DateLanguage.ENGLISH_US: "English (US)",
    DateLanguage.ISO: "ISO 8601",
    DateLanguage.GERMAN: "Deutsch",
    DateLanguage.FRENCH: "Français",
    DateLanguage.SPANISH: "Español",
}
_ENGLISH = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FRENCH = (
    *("janv.", "févr.", "mars", "avr.", "mai", "juin"),
    *("juil.", "août", "sept.", "oct.", "nov.", "déc."),
)
_SPANISH = ("ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sept", "oct", "nov", "dic")


@dataclass(frozen=True, slots=True)
class ReaderDates:
    """How one reader sees dates and times: their time zone and the language of dates.

    An instant that has no local time, at an end of the calendar, is shown in UTC. `is_chosen`: the
    reader has chosen a zone.
    """

    zone: tzinfo = UTC
    language: DateLanguage = DateLanguage.ENGLISH_UK
    is_chosen: bool = False

    @property
    def zone_name(self) -> str:
        """The zone's name in the time zone database, such as `Europe/Berlin`."""
        return str(self.zone)

    def day(self, day: date) -> str:
        """A day, as in `23 Nov 2026`."""
        year, month, number = f"{day.year:04}", day.month, day.day
        match self.language:
            case DateLanguage.ISO:
                return f"{year}-{month:02}-{number:02}"
            case DateLanguage.GERMAN:
                return f"{number:02}.{month:02}.{year}"
            case DateLanguage.ENGLISH_US:
                return f"{_ENGLISH[month - 1]} {number}, {year}"
            case DateLanguage.FRENCH:
                return f"{number} {_FRENCH[month - 1]} {year}"
            case DateLanguage.SPANISH:
                return f"{number} {_SPANISH[month - 1]} {year}"
            case DateLanguage.ENGLISH_UK:
                return f"{number} {_ENGLISH[month - 1]} {year}"

    def date(self, at: datetime) -> str:
        """The local day of an instant."""
        return self.day(self._local(at).date())

    def time(self, at: datetime) -> str:
        """The local time of day without its zone, as in `12:13:55`."""
        return self._time(self._local(at))

    def time_with_zone(self, at: datetime) -> str:
        """The local time of day, as in `12:13:55 CET`."""
        local = self._local(at)
        return f"{self._time(local)} {_zone(local)}"

    def instant(self, at: datetime | None) -> str:
        """Date and time, as in `23 Nov 2026, 12:13:55 CET`. A dash for None."""
        return "–" if at is None else self._instant(self._local(at))

    def utc(self, at: datetime) -> str:
        """Date and time in UTC, in the reader's language."""
        return self._instant(at.astimezone(UTC))

    def beside_utc(self, at: datetime) -> str:
        """Date and time with UTC beside, as in `23 Nov 2026, 12:13:55 CET (11:13:55 UTC)`.

        UTC has its date only where it is another day.
        """
        local, utc = self._local(at), at.astimezone(UTC)
        if local.tzinfo is UTC or self.zone_name == "UTC":
            return self._instant(utc)
        is_same_day = local.date() == utc.date()
        beside = f"{self._time(utc)} UTC" if is_same_day else self._instant(utc)
        return f"{self._instant(local)} ({beside})"

    def _local(self, at: datetime) -> datetime:
        try:
            return at.astimezone(self.zone)
        except OverflowError:  # before year 1 or after 9999
            return at.astimezone(UTC)

    def _instant(self, local: datetime) -> str:
        separator = " " if self.language is DateLanguage.ISO else ", "
        return f"{self.day(local.date())}{separator}{self._time(local)} {_zone(local)}"

    def _time(self, local: datetime) -> str:
        if self.language is DateLanguage.ENGLISH_US:
            half = "AM" if local.hour < 12 else "PM"
            return f"{local.hour % 12 or 12}:{local.minute:02}:{local.second:02} {half}"
        return f"{local.hour:02}:{local.minute:02}:{local.second:02}"


# What a reader without an account sees.
UTC_DATES = ReaderDates()


def _zone(local: datetime) -> str:
    """The zone's abbreviation. `UTC+03` for one that has none."""
    name = local.tzname() or "UTC"
    return f"UTC{name}" if name[0] in "+-" else name
