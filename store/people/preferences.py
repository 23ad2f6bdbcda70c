"""How users see dates and times: their time zone, and the language of dates.

The store has both by name. A name that is not known here, because a newer version or another time
zone database wrote it, counts as not chosen. Called by the console for every request, and by the
sender of alerts.
"""

import functools
import zoneinfo
from datetime import UTC, tzinfo
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, ValidationFailed
from domain.ids import UserId
from domain.values.enums import member_or_text
from domain.wording.dates import UTC_DATES, DateLanguage, ReaderDates
from store.people.email_addresses import spellings
from store.schema.tables import USERS

UTC_NAME = "UTC"
# The names without a region are abbreviations and spellings of fixed offsets.
_REGIONS = (
    *("Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe"),
    *("Indian", "Pacific"),
)
_PREFIXES = tuple(f"{region}/" for region in _REGIONS)


@functools.cache
def zone_names() -> tuple[str, ...]:
    """The zones that a user can choose, UTC first and the others by name."""
    named = (name for name in zoneinfo.available_timezones() if name.startswith(_PREFIXES))
    return (UTC_NAME, *sorted(named))


async def set_preferences(
    session: AsyncSession, user_id: UserId, *, time_zone: str, date_language: str
) -> None:
    """Save how the user sees dates and times.

    Raises:
        ValidationFailed: the zone or the language is unknown.
    """
    if time_zone not in zone_names():
        message = "Choose a zone of the list, such as Europe/Berlin."
        raise ValidationFailed(errors=(FieldError("/time_zone", "unknown", message),))
    if date_language not in set(DateLanguage):
        message = "Choose a language of the list."
        raise ValidationFailed(errors=(FieldError("/date_language", "unknown", message),))
    values = {"time_zone": time_zone, "date_language": date_language}
    await session.execute(update(USERS).where(USERS.c.id == user_id).values(values))


async def read_dates_of_address(session: AsyncSession, address: str) -> ReaderDates:
    """How the user with this e-mail address sees dates. UTC if it is nobody's."""
    known = spellings(address)
    of_address = select(USERS).where(USERS.c.email.in_(known))
    # The canonical spelling first, as at sign-in.
    row = (
        await session.execute(of_address.order_by(USERS.c.email != known[0], USERS.c.id))
    ).first()
    return UTC_DATES if row is None else dates_from(row)


# Any: a row's columns have no common type.
def dates_from(row: Row[Any]) -> ReaderDates:
    """How the user of a row of `users` sees dates and times."""
    language = member_or_text(DateLanguage, row.date_language or "")
    return ReaderDates(
        zone=_zone(row.time_zone),
        language=language if isinstance(language, DateLanguage) else UTC_DATES.language,
        is_chosen=row.time_zone is not None,
    )


def _zone(name: str | None) -> tzinfo:
    if name is None or not name.startswith(_PREFIXES):
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)  # which keeps those it has read
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return UTC
