"""The list of incidents: tabs, search, order, rows, saved views, export and the way back."""

import re
from html import unescape

import pytest

from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject
from domain.receipts import EventType
from tests.console.conftest import EMAIL, ConsoleStubs, Visitor
from tests.console.recording import recorded_statements
from tests.support.given import Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
MOST_QUERIES = 12
FLAT = "/incidents?view=flat"


def rows_of(page: str) -> list[str]:
    """The references of the rows, in order."""
    return [unescape(one) for one in re.findall(r'class="row-link"[^>]*>([^<]*)<', page)]


def tabs_of(page: str) -> dict[str, str]:
    """The number that each tab shows, by its label."""
    bar = page.split('class="tabs"')[1].split("</nav>")[0]
    found = re.findall(r">(\w+)(?:<b class=\"count\">([^<]*)</b>)?</a>", bar)
    return dict(found)


async def three(story: Story) -> list[str]:
    """Incidents of three amounts, a minute apart; their events."""
    events = []
    for number, amount in enumerate((500, 90_000, 1_000)):
        event_id, _ = await story.opened(
            internal_reference=f"order-{number}",
            amount=amount,
            currency="EUR",
            customer_reference=f"customer-{number}",
        )
        events.append(event_id)
        story.later(minutes=1)
    return events


async def test_open_incidents_are_listed_oldest_first_and_by_any_order(
    operator: Visitor, story: Story
) -> None:
    await three(story)

    assert rows_of((await operator.open(FLAT)).text) == ["order-0", "order-1", "order-2"]
    by_amount = (await operator.open("/incidents?sort=-amount")).text
    assert rows_of(by_amount) == ["order-1", "order-2", "order-0"]
    assert 'aria-sort="descending"' in by_amount


async def test_row_says_who_what_how_much_why_and_what_is_next(
    operator: Visitor, story: Story
) -> None:
    event_id = await story.receipt(
        internal_reference="order-1", customer_reference="cus-7", amount=9_950, currency="EUR"
    )
    await story.result(
        event_id,
        status="failed",
        error_code="seat_limit_reached",
        error_message="\nNo seat is left.\n  at assign_seat",
    )

    page = (await operator.open(FLAT)).text

    row = page.split("<tbody>")[1].split("</tbody>")[0]
    for shown in (
        *("order-1", "cus-7", "Access not unlocked", "EUR 99.50", "seat_limit_reached"),
        *(">No seat is left.<", "Failure reported", ">Reprocess</button>"),
    ):
        assert shown in row, shown
    assert "at assign_seat" not in row


async def test_tabs_count_what_the_filters_leave(operator: Visitor, story: Story) -> None:
    for state in LifecycleState:
        await story.reach(state)

    every = tabs_of((await operator.open(FLAT)).text)
    none = tabs_of((await operator.open("/incidents?q=error:nothing")).text)
    shop = tabs_of((await operator.open("/incidents?provider=shopify")).text)

    rest = dict.fromkeys(("Acknowledged", "Snoozed", "All"), "")
    assert every == {"Open": "1", "Repairing": "3", "Resolved": "2", **rest}
    assert set(none.values()) == set(shop.values()) == {""}


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("order-1", ["order-1"]),
        ("ref:order-2", ["order-2"]),
        ("customer:customer-0", ["order-0"]),
        ("amount:>=10.00EUR", ["order-1", "order-2"]),
        ("amount:<1000", ["order-0"]),
        ("is:open age:>1s type:invoice.paid", ["order-0", "order-1", "order-2"]),
        ("effect:credit_grant", []),
        ("order reason:missing_result", ["order-0", "order-1", "order-2"]),
    ],
)
async def test_search_takes_tokens(
    operator: Visitor, story: Story, q: str, found: list[str]
) -> None:
    await three(story)

    page = await operator.client.get("/incidents", params={"q": q})

    assert rows_of(page.text) == found


@pytest.mark.parametrize("path", ["/incidents", "/events"])
async def test_unknown_token_is_named_beside_the_search(
    operator: Visitor, story: Story, path: str
) -> None:
    await three(story)

    page = await operator.open(f"{path}?q=effet:x")

    assert page.status_code == 422
    assert "Did you mean “effect:”?" in unescape(page.text)
    assert 'aria-describedby="search-problem"' in page.text
    assert 'value="effet:x"' in page.text
    assert rows_of(page.text) == []


async def test_search_says_where_else_it_matches(operator: Visitor, story: Story) -> None:
    event_id, _ = await story.opened(internal_reference="order-40584")
    await story.result(event_id)
    await story.receipt(internal_reference="order-40584")

    page = (await operator.open("/incidents?q=order-40584")).text
    receipts = (await operator.open("/events?state=waiting&q=order-40584")).text

    assert '/incidents?state=resolved&amp;q=order-40584">1 match in Resolved</a>' in page
    assert '/events?q=order-40584">2 in Receipts</a>' in page
    assert '/incidents?state=all&amp;q=order-40584">1 in Incidents</a>' in receipts


async def test_event_leads_back_to_its_list_and_to_its_neighbours(
    operator: Visitor, story: Story
) -> None:
    events = await three(story)
    page = (await operator.open("/incidents?q=order&sort=-amount")).text
    to = [unescape(one) for one in re.findall(r'class="row-link" href="([^"]*)"', page)]

    # By amount: the second, the third, the first.
    shown = (await operator.open(to[1])).text
    first = (await operator.open(to[0])).text

    assert '<a href="/incidents?q=order&amp;sort=-amount">Incidents</a>' in shown
    assert f'href="/events/{events[1]}?list=q%3Dorder%26sort%3D-amount" rel="prev"' in shown
    assert f'href="/events/{events[0]}?list=q%3Dorder%26sort%3D-amount" rel="next"' in shown
    assert ('rel="prev"' in first, 'rel="next"' in first) == (False, True)
    assert 'name="back" value="/events/' in shown
    assert 'rel="prev"' not in (await operator.open(f"/events/{events[0]}")).text


async def test_saved_view_is_listed_opened_and_removed(
    operator: Visitor, story: Story, project: CreatedProject
) -> None:
    await three(story)
    page = "/incidents?q=order-1"

    saved = await operator.post("/views", page=page, name="Ones")
    shown = (await operator.open(FLAT)).text
    await operator.post("/views", page=page, name="Shared", project=project.project.id)
    named = (await operator.open(FLAT)).text
    view_id = re.findall(r'action="/views/(view_\w+)/remove"', shown)[0]
    await operator.post(f"/views/{view_id}/remove", page="/incidents")

    assert saved.headers["location"] == page
    assert '<a href="/incidents?q=order-1">Ones</a>' in shown
    assert ">Shared<" in named
    assert ">Ones<" not in (await operator.open(FLAT)).text


@pytest.mark.parametrize("form", ["csv", "jsonl"])
async def test_list_is_exported_as_it_is_filtered(
    operator: Visitor, story: Story, form: str
) -> None:
    await three(story)
    page = unescape((await operator.open("/incidents?q=order&sort=-amount")).text)
    assert f'href="/incidents/export?q=order&sort=-amount&format={form}"' in page

    file = await operator.open(f"/incidents/export?q=order&sort=-amount&format={form}")

    assert file.headers["content-disposition"].endswith(f'incidents.{form}"')
    assert re.findall(r"order-\d", file.text) == ["order-1", "order-2", "order-0"]


async def test_export_of_an_unknown_format_or_token_is_refused(operator: Visitor) -> None:
    for query in ("format=xml", "q=effet:x"):
        assert (await operator.open(f"/incidents/export?{query}")).status_code in (400, 422)


@pytest.mark.parametrize(
    "path", ["/incidents", FLAT, "/incidents?q=error:x&state=resolved", "/incidents?sort=-amount"]
)
async def test_page_and_its_update_take_few_queries(
    operator: Visitor, story: Story, path: str
) -> None:
    await three(story)
    for headers in ({}, {"HX-Request": "true"}):
        statements: list[str] = []
        with recorded_statements(statements):
            await operator.open(path, **headers)
        queries = [one for one in statements if one.lstrip().upper().startswith(("SELECT", "WITH"))]
        assert len(queries) <= MOST_QUERIES, "\n".join(queries)


async def test_viewer_selects_and_repairs_nothing(operator: Visitor, story: Story) -> None:
    await story.opened()
    page = (await operator.open(FLAT)).text

    assert 'name="incident_ids"' in page
    assert "Repair selected" in page
    assert 'href="/bulk-repairs/new?state=open">Repair all 1 that match…</a>' in page


async def test_repairing_the_selected_needs_a_selection(member: Visitor, story: Story) -> None:
    _, incident_id = await story.opened(internal_reference="order-1")
    form = {"page": FLAT, "selected": "1"}

    none = await member.post("/bulk-repairs/new", **form)
    one = await member.post("/bulk-repairs/new", **form, incident_ids=incident_id)

    assert none.headers["location"] == FLAT
    assert "Select the incidents to repair." in (await member.open(FLAT)).text
    assert "<dt>Incidents</dt><dd>1</dd>" in one.text


async def test_muted_and_held_incidents_say_so(
    member: Visitor, story: Story, stubs: ConsoleStubs
) -> None:
    event_id, _ = await story.held()
    reference = (await story.rows("receipts", event_id))[0]["internal_reference"]
    group_id = (await story.rows("incidents", event_id))[0]["group_id"]
    async with story.database.reading() as session:
        stubs.at = await story.database.now(session)
    await member.post(f"/groups/{group_id}/mute", page=f"/groups/{group_id}", hours="1")

    listed = (await member.open("/incidents?q=is:muted&state=repairing")).text
    page = (await member.open(f"/events/{event_id}")).text

    assert rows_of(listed) == [reference]
    assert ">Muted</span>" in listed
    assert re.search(r'class="col-repairs">\s*Held\s*<', listed)
    assert "A hold matches this incident. The repair begins when the hold ends." in page
    assert f'<a href="/groups/{group_id}">' in page


async def test_list_says_who_looks_after_an_incident_and_finds_it_by_that(
    member: Visitor, story: Story, project: CreatedProject
) -> None:
    event_id, first = await story.opened(internal_reference="order-1")
    await story.opened(internal_reference="order-2")
    at = f"/events/{event_id}"
    await member.post(f"/incidents/{first}/assign", page=at, assignee=EMAIL)
    await member.post(f"/incidents/{first}/acknowledge", page=at)
    await member.post(f"/incidents/{first}/snooze", page=at, minutes="60")

    page = (await member.open(FLAT)).text

    assert tabs_of(page) | {"All": ""} == {
        **{"Open": "2", "Acknowledged": "1", "Snoozed": "1"},
        **dict.fromkeys(("Repairing", "Resolved", "All"), ""),
    }
    row = page.split(f'id="row-{first}"')[1].split("</tr>")[0]
    for said in (f"Acknowledged by {EMAIL}", f"Assigned to {EMAIL}", "Snoozed until"):
        assert said in row
    for query in ("state=acknowledged", "state=snoozed", "q=assignee:me", f"q=assignee:{EMAIL}"):
        assert rows_of((await member.open(f"/incidents?{query}")).text) == ["order-1"], query
    assert rows_of((await member.open("/incidents?q=assignee:none")).text) == ["order-2"]
    assert rows_of((await member.open("/events?q=assignee:me")).text) == ["order-1"]


async def test_doubtful_repair_is_reviewed_before_it_is_requested(
    operator: Visitor, story: Story
) -> None:
    event_id, incident_id = await story.opened(internal_reference="order-1")
    await story.receipt(internal_reference="order-1", event_type=EventType.CHARGE_REFUNDED)

    row = (await operator.open(FLAT)).text.split(f'id="row-{incident_id}"')[1]

    assert f'href="/events/{event_id}?list=view%3Dflat"' in row
    assert ">Review<" in row
    assert ">Reprocess</button>" not in row.split("</tr>")[0]


@pytest.mark.parametrize("sort", ["opened_at", "-deadline_at"])
async def test_receipts_take_an_order(operator: Visitor, story: Story, sort: str) -> None:
    for number in range(3):
        await story.receipt(internal_reference=f"order-{number}")
        story.later(minutes=1)
    expected = ["order-0", "order-1", "order-2"]

    page = (await operator.open(f"/events?sort={sort}")).text

    assert rows_of(page) == (expected if sort == "opened_at" else expected[::-1])
    assert f'<option value="{sort}" selected>' in page
    assert "is not filtered" not in page
