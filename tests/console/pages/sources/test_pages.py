"""The pages of sources: what they show of states, problems, gaps and reports, and to whom."""

import html
import re
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import insert, select, text, update

from domain.ids import EventId
from domain.projects import CreatedProject
from domain.sources.events import ProviderEvent, sightings_of
from domain.sources.listing import Complaint
from domain.sources.source import Source, SourceKind, SourceProblem
from domain.users import Role
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.schema.tables import RECEIPTS, SOURCE_EVENTS, SOURCE_GAPS, SOURCES
from store.sources.sightings import record_sightings
from store.sources.sources import remove_source
from tests.console.conftest import ConsoleStubs, Visitor
from tests.console.people import ConsoleWorld
from tests.support.given import Story
from tests.support.later_version import plant
from tests.support.sources import provider_event, stored_source

HOSTILE = "<script>alert(1)</script> \u202egnp \x1b[31m"


@pytest.fixture
async def listing(database: Database, sealer: Sealer, project: CreatedProject) -> Source:
    return await stored_source(
        database, sealer, project.project.id, SourceKind.STRIPE_API, name="Stripe live events"
    )


@pytest.fixture
async def webhook(database: Database, sealer: Sealer, project: CreatedProject) -> Source:
    return await stored_source(database, sealer, project.project.id)


def path_of(source: Source) -> str:
    return f"/projects/{source.project_id}/sources/{source.id}"


async def now_of(database: Database) -> datetime:
    async with database.reading() as session:
        return await database.now(session)


async def change(database: Database, source: Source, **values: object) -> None:
    async with database.transaction() as session:
        await session.execute(update(SOURCES).where(SOURCES.c.id == source.id).values(values))


async def see(database: Database, source: Source, *events: ProviderEvent) -> None:
    async with database.transaction() as session:
        st, now = SessionStatements(session), await database.now(session)
        await record_sightings(st, source, sightings_of(source, events), now)


async def receipt_of(database: Database, event: ProviderEvent) -> EventId:
    is_it = RECEIPTS.c.provider_event_id == event.id
    async with database.reading() as session:
        return EventId(
            (await session.execute(select(RECEIPTS.c.event_id).where(is_it))).scalar_one()
        )


async def test_project_leads_to_its_sources(operator: Visitor, project: CreatedProject) -> None:
    path = f"/projects/{project.project.id}"

    page = (await operator.open(path)).text
    empty = (await operator.open(f"{path}/sources")).text

    assert f'href="{path}/sources"' in page
    assert "No sources yet" in empty
    for kind in SourceKind:
        assert f'href="{path}/sources/new?kind={kind.value}"' in empty


async def test_list_shows_state_and_how_far_each_came(
    operator: Visitor, database: Database, stubs: ConsoleStubs, listing: Source, webhook: Source
) -> None:
    stubs.at = await now_of(database)
    await change(
        database,
        listing,
        last_event_at=stubs.at - timedelta(minutes=7),
        last_listed_at=stubs.at - timedelta(minutes=2),
        listed_until=stubs.at - timedelta(minutes=3),
    )
    await give_gap(database, listing, stubs.at)

    page = (await operator.open(f"/projects/{listing.project_id}/sources")).text

    first, second = re.findall(r'<tr id="row-src_.*?</tr>', page, re.DOTALL)
    assert "Working" in first
    assert "Stripe live events" in first
    assert cells(first)[2:] == ["7 min ago", "2 min ago", "3 min", "1"]
    assert "New" in second
    assert cells(second)[2:] == ["None yet", "–", "–", "None"]


def cells(row: str) -> list[str]:
    return [
        re.sub(r"<[^>]*>", "", cell).strip()
        for cell in re.findall(r"<td.*?>(.*?)</td>", row, re.DOTALL)
    ]


async def give_gap(database: Database, source: Source, at: datetime) -> None:
    row = {"source_id": source.id, "project_id": source.project_id, "found_at": at}
    span = {"from_at": at - timedelta(days=35), "until_at": at - timedelta(days=30)}
    async with database.transaction() as session:
        await session.execute(insert(SOURCE_GAPS).values(row | span))


async def test_page_of_a_webhook_has_its_address_and_four_steps(
    operator: Visitor, webhook: Source
) -> None:
    page = (await operator.open(path_of(webhook))).text

    steps = re.search(r'<ol class="steps">(.*?)</ol>', page, re.DOTALL)
    assert steps is not None
    assert steps[1].count("<h3>") == 4
    assert f"http://makegood.example/hooks/{webhook.id}" in steps[1]
    assert "<code>invoice.paid</code>" in steps[1]
    assert "Create new destination" in steps[1]


async def test_page_of_a_listing_says_what_the_key_may_do(
    operator: Visitor, listing: Source
) -> None:
    page = (await operator.open(path_of(listing))).text

    assert "Set Events to Read" in page
    assert "can move no money" in page
    assert "/hooks/" not in page
    assert "lists the provider&#39;s events every 5 min" in page.replace("'", "&#39;")


async def test_page_says_at_once_that_the_schedule_is_not_yet_changed(
    operator: Visitor, database: Database, listing: Source, webhook: Source
) -> None:
    waits = (await operator.open(path_of(listing))).text
    await change(database, listing, schedule_retry_at=datetime(2026, 11, 23, 11, 13, tzinfo=UTC))

    failed = (await operator.open(path_of(listing))).text
    called = (await operator.open(path_of(webhook))).text

    assert "Its Schedule at Temporal is not yet changed. A worker does that" in waits
    assert "Its Schedule at Temporal is not yet changed: Temporal did not take" in failed
    assert "It is tried again at <time" in failed
    assert 'datetime="2026-11-23T11:13:00' in failed
    assert "Schedule at Temporal" not in called


async def test_events_of_the_future_are_not_called_no_list(
    operator: Visitor, database: Database, listing: Source
) -> None:
    future = Complaint.FUTURE_EVENTS
    await change(database, listing, problem=future.problem, problem_detail=future.detail)

    page = (await operator.open(path_of(listing))).text

    assert "The provider's answers are not as they should be." in html.unescape(page)
    assert "dated in the future" in page
    assert "list of events" not in page


@pytest.mark.parametrize("problem", SourceProblem)
async def test_problem_says_what_is_wrong_and_what_to_do(
    operator: Visitor, database: Database, listing: Source, problem: SourceProblem
) -> None:
    at = await now_of(database)
    await change(
        database, listing, problem=problem, problem_detail=f"401 {HOSTILE}", problem_since=at
    )

    page = (await operator.open(path_of(listing))).text

    assert "Failing" in page
    assert 'class="notice bad"' in page
    assert "401 &lt;script&gt;" in page
    assert "<script>alert" not in page
    assert "\u202e" not in page


async def test_silence_and_pause_are_shown(
    operator: Visitor, database: Database, webhook: Source
) -> None:
    at = await now_of(database)
    await change(database, webhook, last_event_at=at - timedelta(hours=9), silent_since=at)
    silent = (await operator.open(path_of(webhook))).text
    await change(database, webhook, paused_at=at)

    paused = (await operator.open(path_of(webhook))).text

    assert "Silent" in silent
    assert "No event since" in silent
    assert "Paused" in paused
    assert f'action="{path_of(webhook)}/resume"' in paused
    assert f'action="{path_of(webhook)}/pause"' not in paused


async def test_gaps_are_listed_with_what_to_do(
    operator: Visitor, database: Database, listing: Source
) -> None:
    await give_gap(database, listing, await now_of(database))

    page = (await operator.open(path_of(listing))).text

    assert "Gaps: the provider does not list these times any more" in page


async def test_report_is_a_picture_and_a_table(
    operator: Visitor, story: Story, webhook: Source
) -> None:
    database, at = story.database, await now_of(story.database)
    here, awaited = (provider_event(occurred_at=at, amount=amount) for amount in (4_900, 100))
    await see(database, webhook, here, awaited)
    story.at = at
    await story.accept(await receipt_of(database, here))

    page = (await operator.open(f"{path_of(webhook)}?day={at.date().isoformat()}")).text

    assert page.count("<rect") == 2
    assert "30 days: receipts of 1 events, 1 still in time, 0 without a receipt." in page
    assert page.count('<th scope="row">') == 30
    assert "USD 50.00" in page
    assert "and 1 still in time" in page


@pytest.mark.parametrize(
    "day", ["", "soon", "2026-02-30", "0001-01-01", "9999-12-31", "%00", "1970-01-01", "٢٠٢٦-01-01"]
)
async def test_day_that_is_none_or_not_kept_is_not_shown(
    operator: Visitor, webhook: Source, day: str
) -> None:
    answer = await operator.open(f"{path_of(webhook)}?day={day}")

    assert answer.status_code == 200
    assert 'id="day"' not in answer.text


async def test_event_says_when_and_by_whom_it_was_seen_at_the_provider(
    operator: Visitor, database: Database, listing: Source, webhook: Source
) -> None:
    event = provider_event(occurred_at=await now_of(database))
    await see(database, webhook, event)
    await see(database, listing, event)
    path = f"/events/{await receipt_of(database, event)}"
    both = seen_in((await operator.open(path)).text)
    async with database.transaction() as session:
        now = await database.now(session)
        await remove_source(session, webhook.project_id, webhook.id, now)

    one = seen_in((await operator.open(path)).text)

    assert [name for _, name in both] == [webhook.name, listing.name]
    assert [link for link, _ in both] == [path_of(webhook), path_of(listing)]
    assert [link for link, _ in one] == ["", path_of(listing)]


def seen_in(page: str) -> list[tuple[str, str]]:
    """The link and the name of each source that saw the event."""
    rows = re.findall(r"<dd><span><time.*?</time> by (.*?)</span></dd>", page, re.DOTALL)
    links = [re.match(r'<a href="([^"]*)">', row) for row in rows]
    names = [re.sub(r"<[^>]*>", "", row).removesuffix(" removed") for row in rows]
    return [
        ("" if link is None else link[1], name) for link, name in zip(links, names, strict=True)
    ]


async def test_hostile_names_are_shown_as_text(
    operator: Visitor, database: Database, webhook: Source
) -> None:
    await change(database, webhook, name=HOSTILE, shop_domain=HOSTILE, account=HOSTILE)

    pages = [
        (await operator.open(path)).text
        for path in (path_of(webhook), f"/projects/{webhook.project_id}/sources")
    ]

    assert all("&lt;script&gt;" in page and "<script>alert" not in page for page in pages)
    assert not any("\u202e" in page or "\x1b" in page for page in pages)


@pytest.mark.parametrize(
    ("column", "value"),
    [("sources.problem", "quota_used_up"), ("source_events.effect_type", "seat_gift")],
)
async def test_pages_open_with_values_of_a_later_version(
    operator: Visitor, database: Database, webhook: Source, column: str, value: str
) -> None:
    await see(database, webhook, provider_event(occurred_at=await now_of(database)))
    await plant(database, column, value)

    answer = await operator.open(path_of(webhook))

    assert answer.status_code == 200


MANY = """
INSERT INTO source_events (source_id, project_id, event_id, provider_event_id, event_type,
  effect_type, occurred_at, seen_at, amount, currency)
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 50001)
SELECT source_id, project_id, event_id, 'evt_' || n, event_type, effect_type, occurred_at, seen_at,
  amount, currency
FROM source_events, numbers"""


async def test_day_that_is_too_large_says_so_beside_the_others(
    operator: Visitor, database: Database, webhook: Source
) -> None:
    at = await now_of(database)
    await see(database, webhook, provider_event(occurred_at=at))
    yesterday = at - timedelta(days=1)
    async with database.transaction() as session:
        await session.execute(text(MANY))
        one = update(SOURCE_EVENTS).where(SOURCE_EVENTS.c.provider_event_id == "evt_7")
        await session.execute(one.values(occurred_at=yesterday))

    page = (await operator.open(f"{path_of(webhook)}?day={yesterday.date().isoformat()}")).text

    assert page.count("Too many events to count here: more than 50,000") == 1
    assert "Days that are not counted: " in page
    assert page.count('<th scope="row">') == 30
    assert "<dt>At the provider</dt><dd>1</dd>" in page


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_page_is_shown_without_a_slow_report(
    operator: Visitor, database: Database, webhook: Source
) -> None:
    connection = await asyncpg.connect(database.url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE source_events IN ACCESS EXCLUSIVE MODE")
        page = await operator.open(path_of(webhook))
    await connection.close()

    assert page.status_code == 200
    assert "Counting took too long." in page.text
    assert "<svg viewBox" not in page.text.partition('id="report"')[2].partition("</section>")[0]


async def test_unknown_source_is_not_found(operator: Visitor, project: CreatedProject) -> None:
    for name in ("src_none", "%00", "new%00", "a" * 300):
        answer = await operator.open(f"/projects/{project.project.id}/sources/{name}")
        assert answer.status_code == 404, name


async def test_viewer_reads_and_changes_nothing(
    world: ConsoleWorld, project: CreatedProject, webhook: Source
) -> None:
    viewer = await world.member("vera", project.project.id, Role.VIEWER)

    listed = (await viewer.get(f"/projects/{project.project.id}/sources")).text
    page = (await viewer.get(path_of(webhook))).text
    new = await viewer.get(f"/projects/{project.project.id}/sources/new?kind=stripe_api")

    assert webhook.name in listed
    assert "Add a source" not in listed
    assert "Check now" not in page
    assert "<textarea" not in page
    assert new.status_code == 403
