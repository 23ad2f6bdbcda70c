"""The list of incidents by cause, and the page of a group with its actions."""

import html
import re

import pytest

from domain.ids import EventId
from tests.console.conftest import ConsoleStubs, Visitor
from tests.support.given import Story


async def failed(story: Story, count: int, code: str = "seat_<limit>") -> list[EventId]:
    events = await story.receipts(count, amount=120_450, currency="EUR")
    for event_id in events:
        await story.result(event_id, "failed", error_code=code)
    return events


async def group_of(story: Story, event_id: EventId) -> str:
    return str((await story.rows("incidents", event_id))[0]["group_id"])


def rows_of(page: str) -> list[str]:
    return re.findall(r'<tr id="row-(\w+)">', page)


async def test_incidents_are_listed_by_cause(operator: Visitor, story: Story) -> None:
    events = await failed(story, 3)
    (ended,) = await failed(story, 1, "ended")
    await story.result(ended)
    group_id = await group_of(story, events[0])

    page = (await operator.open("/incidents")).text
    resolved = (await operator.open("/incidents?stage=resolved")).text
    everything = (await operator.open("/incidents?stage=all")).text

    assert rows_of(page) == [group_id]
    assert "Access not unlocked" in page
    assert "The app reported a failure" in page
    assert html.escape("seat_<limit>") in page
    assert "3 open" in page
    assert "EUR 3,613.50" in page
    assert f'href="/groups/{group_id}"' in page
    assert rows_of(resolved) == [await group_of(story, ended)]
    assert set(rows_of(everything)) == {*rows_of(page), *rows_of(resolved)}


async def test_unresolved_incidents_of_a_group_are_repaired_as_one(
    operator: Visitor, story: Story
) -> None:
    events = await failed(story, 3)
    group_id = await group_of(story, events[0])
    await story.result(events[1])

    page = (await operator.open(f"/groups/{group_id}")).text
    link = re.search(r'href="(/bulk-repairs/new\?[^"]*)"', page)
    assert link is not None
    new = (await operator.open(html.unescape(link[1]))).text

    assert "<dt>Incidents</dt><dd>2</dd>" in new
    assert f'<input type="hidden" name="group" value="{group_id}">' in new


async def test_switch_shows_the_incidents_one_by_one(operator: Visitor, story: Story) -> None:
    events = await failed(story, 2)

    page = (await operator.open("/incidents?stage=all")).text
    (address,) = re.findall(r'href="([^"]*)">[^<]*<svg[^>]*>.*?</svg>One by one', page)
    flat = (await operator.open(html.unescape(address))).text
    back = (await operator.open("/incidents?view=flat")).text

    assert html.unescape(address) == "/incidents?view=flat&state=all"
    assert all(event_id in flat for event_id in events)
    assert '<a href="/incidents">Show by cause</a>' in back


async def test_groups_of_a_long_list_have_pages(operator: Visitor, story: Story) -> None:
    for number in range(27):
        story.later(seconds=1)
        await failed(story, 1, f"code {number}")

    first = (await operator.open("/incidents")).text
    older = html.unescape(first.split('rel="next" href="')[1].split('"')[0])
    second = (await operator.open(older)).text

    assert (len(rows_of(first)), len(rows_of(second))) == (25, 2)
    assert not set(rows_of(first)) & set(rows_of(second))


async def test_page_of_a_group_has_its_incidents_in_pages(operator: Visitor, story: Story) -> None:
    events = await failed(story, 26)
    path = f"/groups/{await group_of(story, events[0])}"

    first = (await operator.open(path)).text
    older = html.unescape(first.split('rel="next" href="')[1].split('"')[0])
    second = (await operator.open(older)).text

    assert "26 open" in first
    assert [event_id in first for event_id in events] == [False] + [True] * 25
    assert events[0] in second


async def test_group_is_acknowledged_and_resolved_as_one(operator: Visitor, story: Story) -> None:
    events = await failed(story, 2)
    path = f"/groups/{await group_of(story, events[0])}"

    await operator.post(f"{path}/acknowledge", page=path)
    acknowledged = (await operator.open(path)).text
    refused = await operator.post(f"{path}/resolve", page=path, reason=" ")
    without_reason = (await operator.open(path)).text
    await operator.post(f"{path}/resolve", page=path, reason="Refunded")
    resolved = (await operator.open(path)).text

    assert "Incidents acknowledged: 2." in acknowledged
    assert refused.headers["location"] == path
    assert "Enter a reason." in without_reason
    assert "Incidents resolved manually: 2." in resolved
    assert "2 resolved" in resolved
    assert "Resolve all" not in resolved
    for event_id in events:
        kinds = await story.timeline(event_id)
        assert kinds[-2:] == ["incident_acknowledged", "incident_resolved"]


async def test_group_is_muted_and_unmuted(
    operator: Visitor, story: Story, stubs: ConsoleStubs
) -> None:
    events = await failed(story, 2)
    path = f"/groups/{await group_of(story, events[0])}"
    async with story.database.reading() as session:
        stubs.at = await story.database.now(session)

    await operator.post(f"{path}/mute", page=path, hours="24")
    muted = (await operator.open(path)).text
    await operator.post(f"{path}/unmute", page=path)
    unmuted = (await operator.open(path)).text

    assert "The group is muted. Incidents: 2." in muted
    assert "Muted until" in muted
    assert "The group alerts again." in unmuted
    assert "Muted until" not in unmuted


@pytest.mark.parametrize("query", ["stage=nope", "project=prj_none", "project=&stage=", "view=x"])
async def test_odd_addresses_show_a_list(operator: Visitor, query: str) -> None:
    assert (await operator.open(f"/incidents?{query}")).status_code == 200
