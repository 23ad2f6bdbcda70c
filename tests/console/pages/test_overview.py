"""The overview page: numbers, chart and table, the proposed deadline, silence, and its cost."""

import re

import pytest
from sqlalchemy import event

from domain.alerts import AlertChannel
from domain.projects import CreatedProject
from store.alerts.health import Place, note_failing
from store.db.database import Database
from tests.console.conftest import ConsoleStubs, Visitor
from tests.support.given import Story

# The queries are tested on both databases in the tests of the store.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def today(story: Story, stubs: ConsoleStubs) -> Story:
    """The story at the time of the database, which the overview reads."""
    async with story.database.reading() as session:
        story.at = stubs.at = await story.database.now(session)
    return story


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


async def test_empty_overview_says_that_nothing_came(
    operator: Visitor, project: CreatedProject
) -> None:
    page = await operator.open("/overview")

    text = text_of(page.text)
    assert page.status_code == 200
    assert "All 1 live project" not in text  # there are test projects only
    assert "No receipts in 30 days" in text
    assert "No receipts yet" in text


async def test_page_of_nobody_is_empty(operator: Visitor) -> None:
    page = await operator.open("/overview")

    assert (page.status_code, "Nothing to show yet" in page.text) == (200, True)


async def test_chart_and_table_have_the_same_numbers(operator: Visitor, today: Story) -> None:
    for _ in range(3):
        await today.result(await today.receipt())
    late, _ = await today.opened(timeout_minutes=0.01)
    await today.result(late)
    oldest, _ = await today.opened(timeout_minutes=0.01)

    page = (await operator.open(f"/overview?project={today.project.id}")).text

    label = "30 days: 3 applied in time, 1 late, 0 repaired; 2 incidents opened."
    assert f'aria-label="{label}"' in page
    assert {"applied", "late", "missing"} == set(re.findall(r'<rect class="bar-(\w+)"', page))
    sums = [0] * 6
    table = page.split("Numbers by day, newest first", 1)[1].split("</table>", 1)[0]
    for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)[1:]:
        counts = [int(cell) for cell in re.findall(r'<td class="num">([\d,]+)</td>', row)]
        sums = [one + other for one, other in zip(sums, counts, strict=True)]
    assert sums == [5, 3, 1, 0, 0, 2]
    assert f'href="/events/{oldest}"' in page
    assert "75.0 % of 4 that ended" in page
    assert "Highest: 4 above, 2 below." in page
    assert "style=" not in page
    assert "Receipt to incident" in page


async def test_open_incidents_of_now_lead_to_their_list(operator: Visitor, today: Story) -> None:
    event_id, _ = await today.opened(timeout_minutes=0.01, amount=1_999, currency="EUR")

    of_one = (await operator.open(f"/overview?project={today.project.id}")).text
    of_all = (await operator.open("/overview?mode=test")).text
    listed = await operator.open("/incidents?mode=test")

    assert f'href="/incidents?project={today.project.id}">1</a>' in of_one
    assert 'href="/incidents?mode=test">1</a>' in of_all
    assert "EUR 19.99" in of_all
    assert f"/events/{event_id}" in listed.text


async def test_owner_takes_the_proposed_deadline(operator: Visitor, today: Story) -> None:
    today.later(minutes=-10)
    waiting = await today.receipts(100)
    today.later(seconds=100)
    for event_id in waiting:
        await today.result(event_id)
    address = f"/overview?project={today.project.id}"

    before = await operator.open(address)
    answer = await operator.post(f"/projects/{today.project.id}/deadline", page=address)
    after = await operator.open(address)

    assert "Use 5 min as the deadline" in before.text
    assert (answer.status_code, answer.headers["location"]) == (303, address)
    assert "The project's deadline is 5 min" in after.text.replace("&#39;", "'")
    assert "Use 5 min" not in after.text


async def test_silence_is_set_in_the_form_and_shown(
    operator: Visitor, today: Story, database: Database
) -> None:
    await today.receipt()
    path = f"/projects/{today.project.id}"
    fields = {
        "name": "shop",
        "repair_url": "",
        "timeout_minutes": "30",
        "alert_emails": "",
        "late_result": "resolve",
        "silent_after_minutes": "90",
        "silent_event_types": "invoice.paid 60\ncharge.refunded\n",
    }

    saved = await operator.post(path, page=path, **fields)
    page = (await operator.open(path)).text
    refused = await operator.post(path, page=path, **fields | {"silent_event_types": "a.b soon"})

    assert saved.status_code == 303
    assert 'name="silent_after_minutes"' in page
    assert "1 h 30 min" in page
    assert "charge.refunded\ninvoice.paid 60</textarea>" in page
    assert (refused.status_code, "a.b soon</textarea>" in refused.text) == (422, True)
    assert "No receipts yet" not in (await operator.open("/projects")).text


async def test_project_without_receipts_has_no_green_tick(operator: Visitor, today: Story) -> None:
    before = (await operator.open("/incidents")).text
    await today.result(await today.receipt())
    after = (await operator.open("/incidents")).text

    assert ("No receipts yet" in before, "empty-mark good" in before) == (True, False)
    assert ("No receipts yet" in after, "empty-mark good" in after) == (False, True)
    assert "No receipts yet" not in (await operator.open("/projects")).text


async def test_failing_destination_is_named_under_health(
    operator: Visitor, today: Story, database: Database
) -> None:
    before = text_of((await operator.open("/overview")).text)
    place = Place(today.project.id, AlertChannel.EMAIL, "ops@shop.example")
    async with database.transaction() as session:
        await note_failing(session, place, today.at)
    after = text_of((await operator.open("/overview")).text)

    assert ("None is failing" in before, "is failing" in after) == (True, True)
    assert "ops@shop.example (shop) is failing" in after


async def test_page_is_small_and_asks_few_queries(
    operator: Visitor, today: Story, database: Database
) -> None:
    for _ in range(30):
        today.later(hours=-20)
        await today.result(await today.receipt())
    seen: list[str] = []
    await operator.open("/incidents?state=all")  # everything is loaded
    async with database.searching("test") as session:
        engine = session.get_bind()

    def note(_: object, __: object, statement: str, *___: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    page = await operator.open(f"/overview?project={today.project.id}")
    event.remove(engine, "before_cursor_execute", note)

    assert len(page.content) < 150_000
    # The page's own; those of the frame around it are on every page.
    own = [statement for statement in seen if "day_counts" in statement or "count_" in statement]
    assert 0 < len(own) <= 12
