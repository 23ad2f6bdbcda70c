"""The zone and the date language of a user: chosen from lists, found by session and address."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from domain.errors import ValidationFailed
from domain.ids import UserId
from domain.wording.dates import UTC_DATES, DateLanguage, ReaderDates
from store.db.database import Database
from store.people import preferences, sessions, users

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BERLIN = ReaderDates(ZoneInfo("Europe/Berlin"), DateLanguage.GERMAN, is_chosen=True)


@pytest.fixture
async def ada(database: Database) -> UserId:
    async with database.transaction() as session:
        return (await users.create_user(session, email="Ada@example.com", now=NOW)).user_id


async def choose(database: Database, user_id: UserId, zone: str, language: str) -> None:
    async with database.transaction() as session:
        await preferences.set_preferences(session, user_id, time_zone=zone, date_language=language)


async def test_choice_is_read_with_the_session_and_by_any_spelling_of_the_address(
    database: Database, ada: UserId
) -> None:
    await choose(database, ada, "Europe/Berlin", "de")

    async with database.transaction() as session:
        token = await sessions.open_session(session, user_id=ada, now=NOW)
        opened = await sessions.read_session(session, token=token, now=NOW)
        found = [
            await preferences.read_dates_of_address(session, address)
            for address in ("ada@example.com", " ADA@EXAMPLE.COM", "eve@example.com", "", "dst_1")
        ]

    assert opened is not None
    assert opened.dates == BERLIN
    assert found == [BERLIN, BERLIN, UTC_DATES, UTC_DATES, UTC_DATES]


async def test_user_who_chose_nothing_gets_utc(database: Database, ada: UserId) -> None:
    async with database.reading() as session:
        found = await preferences.read_dates_of_address(session, "ada@example.com")

    assert found == UTC_DATES
    assert not found.is_chosen


@pytest.mark.parametrize(
    ("zone", "language"),
    [
        ("Europe/Nowhere", "de"),
        ("", "de"),
        ("../../etc/passwd", "de"),
        ("Europe/../../etc/passwd", "de"),
        ("CET", "de"),
        ("Europe/Berlin\0", "de"),
        ("Europe/Berlin", "klingon"),
        ("Europe/Berlin", ""),
    ],
)
async def test_what_is_not_in_the_lists_is_refused(
    database: Database, ada: UserId, zone: str, language: str
) -> None:
    with pytest.raises(ValidationFailed):
        await choose(database, ada, zone, language)

    async with database.reading() as session:
        stored = await session.execute(text("SELECT time_zone, date_language FROM users"))
        assert [*stored.one()] == [None, None]


@pytest.mark.parametrize(
    ("zone", "language", "expected"),
    [
        ("Mars/Olympus", "de", ReaderDates(UTC, DateLanguage.GERMAN, is_chosen=True)),
        ("Europe/../../etc/passwd", "de", ReaderDates(UTC, DateLanguage.GERMAN, is_chosen=True)),
        ("Europe", "de", ReaderDates(UTC, DateLanguage.GERMAN, is_chosen=True)),
        ("Europe/Berlin", "tlh", ReaderDates(BERLIN.zone, is_chosen=True)),
    ],
)
async def test_name_of_a_newer_version_or_of_a_lost_zone_does_not_fail(
    database: Database, ada: UserId, zone: str, language: str, expected: ReaderDates
) -> None:
    values = {"zone": zone, "language": language}
    change = "UPDATE users SET time_zone = :zone, date_language = :language"
    async with database.transaction() as session:
        await session.execute(text(change), values)

    async with database.reading() as session:
        assert await preferences.read_dates_of_address(session, "ada@example.com") == expected


def test_list_of_zones_begins_with_utc_and_each_can_be_loaded() -> None:
    names = preferences.zone_names()

    assert names[0] == "UTC"
    assert {"Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"} <= {*names}
    assert not [name for name in names if name.startswith(("posix", "right", "Etc/"))]
    assert [ZoneInfo(name).key for name in names] == [*names]
