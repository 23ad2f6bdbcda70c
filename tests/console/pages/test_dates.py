"""Times on pages: in the reader's zone and language, with UTC in the title; days of filters; typed
times.
"""

import html
import re
from datetime import timedelta

import pytest
from sqlalchemy import text

from domain.lifecycle import LifecycleState
from domain.values.timestamps import from_unix_ms
from store.db.database import Database
from store.receipts.operator_actions import snooze
from tests.console.conftest import Visitor
from tests.support.given import OPERATOR, START, Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

TIME = re.compile(r'<time[^>]*title="([^"]*)"[^>]*>(.*?)</time>', re.DOTALL)


async def choose(visitor: Visitor, zone: str, language: str) -> None:
    """Save the choice by the form of the account page."""
    answer = await visitor.post(
        "/account/dates", page="/account", time_zone=zone, date_language=language
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")


def times(page: str) -> list[tuple[str, str]]:
    """The title and the text of each time on the page."""
    return [(title, re.sub("<.*", "", shown)) for title, shown in TIME.findall(page)]


async def test_choice_is_saved_and_shown(operator: Visitor) -> None:
    before = (await operator.open("/account")).text
    await choose(operator, "Asia/Tokyo", "fr")
    page = (await operator.open("/account")).text

    assert "data-offer-zone" in before
    assert "Until you save a zone, times are in UTC." in before
    assert "<option selected>UTC</option>" in before
    assert "Saved. Times on pages and in mails to you are shown this way." in page
    assert "<option selected>Asia/Tokyo</option>" in page
    assert '<option value="fr" selected>Français</option>' in page
    assert "data-offer-zone" not in page


@pytest.mark.parametrize(
    ("zone", "language"),
    [("Mars/Olympus", "de"), ("", ""), ("Europe/Berlin", "\udc00"), ("x" * 9_000, "de")],
)
async def test_choice_that_is_not_in_the_lists_is_refused(
    operator: Visitor, zone: str, language: str
) -> None:
    form = {"time_zone": zone, "date_language": language.encode("utf-8", "surrogatepass")}
    page = (await operator.open("/account")).text
    token = re.findall(r'name="form_token" value="(\w+)"', page)[0]

    answer = await operator.client.post("/account/dates", data={"form_token": token, **form})

    assert answer.status_code == 303
    assert 'class="notice bad"' in (await operator.open("/account")).text


async def test_event_page_is_in_the_readers_zone_with_utc_in_titles(
    operator: Visitor, story: Story
) -> None:
    """The receipt is accepted at 12:00 UTC, and its deadline is 12:30: the next day in Auckland."""
    await choose(operator, "Pacific/Auckland", "en-US")
    event_id, _ = await story.opened()

    page = html.unescape((await operator.open(f"/events/{event_id}")).text)

    assert "<span>Nov 24, 2026, Pacific/Auckland</span>" in page
    shown = times(page)
    assert ("Nov 23, 2026, 12:00:00 PM UTC", "1:00:00 AM") in shown
    # A fact of the timeline, and one beside it.
    assert shown.count(("Nov 23, 2026, 12:30:00 PM UTC", "Nov 24, 2026, 1:30:00 AM NZDT")) == 2
    assert [title for title, _ in shown if not title.endswith("UTC") and "(" not in title] == []
    assert not re.search(r">[^<]*\d\d:\d\d:\d\d (?:[AP]M )?UTC<", page)


async def test_ages_have_the_time_and_utc_in_their_titles(operator: Visitor, story: Story) -> None:
    await choose(operator, "Europe/Berlin", "en-GB")
    await story.opened()

    page = (await operator.open("/incidents?state=all")).text

    assert 'title="23 Nov 2026, 13:30:00 CET (12:30:00 UTC)"' in page


async def test_panel_names_the_zone_of_the_time_that_it_waits_for(
    operator: Visitor, story: Story
) -> None:
    await choose(operator, "Europe/Berlin", "en-GB")
    event_id, _ = await story.reach(LifecycleState.AWAITING_RESULT)
    (repair,) = await story.rows("repairs", event_id)
    due = from_unix_ms(int(repair["result_deadline_at"])) + timedelta(hours=1)

    page = (await operator.open(f"/events/{event_id}")).text

    assert f"Waiting for the result until {due:%H:%M:%S} CET" in page


async def test_audit_log_is_in_the_readers_zone(operator: Visitor) -> None:
    await choose(operator, "Asia/Kolkata", "iso")
    await operator.post("/account/sessions/end-others", page="/account")

    page = (await operator.open("/audit")).text

    ((title, day),) = times(page.partition("<tbody>")[2])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", title)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", day)
    assert re.search(r'<span class="under">\d\d:\d\d:\d\d IST</span>', page)


@pytest.mark.parametrize("path", ["/incidents", "/events", "/audit"])
async def test_days_of_filters_name_their_zone(operator: Visitor, path: str) -> None:
    await choose(operator, "America/New_York", "de")

    page = (await operator.open(path)).text

    assert "From (America/New_York)" in page
    assert "To (America/New_York)" in page


@pytest.mark.parametrize(
    ("zone", "day", "is_listed"),
    [
        ("UTC", "2026-11-23", True),
        ("UTC", "2026-11-24", False),
        # 12:00 and 12:30 UTC are 01:00 and 01:30 of the next day.
        ("Pacific/Auckland", "2026-11-23", False),
        ("Pacific/Auckland", "2026-11-24", True),
        # One hour of the day before: 23:00 and 23:30.
        ("Pacific/Pago_Pago", "2026-11-23", True),
        ("Pacific/Pago_Pago", "2026-11-22", False),
    ],
)
async def test_day_of_a_filter_is_one_of_the_readers_zone(
    operator: Visitor, story: Story, zone: str, day: str, is_listed: bool
) -> None:
    event_id, _ = await story.opened()
    await choose(operator, zone, "en-GB")

    for path in ("/events", "/incidents"):
        page = (await operator.open(f"{path}?state=all&from={day}&to={day}")).text
        assert (f"/events/{event_id}" in page) is is_listed


async def test_typed_time_is_one_of_the_readers_zone(
    operator: Visitor, story: Story, database: Database
) -> None:
    await choose(operator, "Asia/Tokyo", "iso")
    event_id, incident_id = await story.opened()
    async with database.reading() as session:
        now = await database.now(session)
    local = (now + timedelta(hours=9 + 3)).replace(second=0, microsecond=0, tzinfo=None)
    typed = f"{local:%Y-%m-%dT%H:%M}"

    await operator.post(f"/incidents/{incident_id}/snooze", page=f"/events/{event_id}", at=typed)

    (stored,) = await story.rows("incidents", event_id)
    until = now.replace(second=0, microsecond=0) + timedelta(hours=3)
    assert stored["snoozed_until"] == int(until.timestamp() * 1000)
    page = (await operator.open(f"/events/{event_id}")).text
    assert "Snoozed until <time" in page
    assert f"{local:%Y-%m-%d %H:%M}:00 JST" in page
    assert "or until <span" in page
    assert "(Asia/Tokyo, optional)" in page


async def test_instant_at_the_end_of_the_calendar_is_shown_in_every_zone(
    operator: Visitor, story: Story, database: Database
) -> None:
    event_id, incident_id = await story.opened()
    async with database.transaction() as session:
        first = "UPDATE receipts SET occurred_at = -62135596800000"  # 0001-01-01
        await session.execute(text(first))
    await story.do(snooze, incident_id, until=START, requested_by=OPERATOR)

    for zone in ("America/New_York", "Asia/Tokyo"):
        await choose(operator, zone, "en-GB")
        page = await operator.open(f"/events/{event_id}")
        assert page.status_code == 200

    await choose(operator, "America/New_York", "en-GB")
    page = await operator.open(f"/events/{event_id}")
    assert "1 Jan 0001, 00:00:00 UTC" in page.text
    for day in ("0001-01-01", "9999-12-31"):
        for path in ("/events", "/incidents", "/audit"):
            listed = await operator.open(f"{path}?from={day}&to={day}")
            assert listed.status_code in (200, 303)
