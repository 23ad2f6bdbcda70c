"""A search says where else it matches; a page says that no worker runs; texts are plain HTML."""

import re
from html import unescape

import pytest

from domain.lifecycle import LifecycleState
from operations.readiness import CheckStatus
from tests.console.conftest import ConsoleStubs, Visitor
from tests.support.given import Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

ELSEWHERE = re.compile(r'<p class="elsewhere".*?</p>', re.DOTALL)


async def elsewhere(operator: Visitor, path: str) -> dict[str, str]:
    """The links to other tabs with matches: their text, and their address."""
    page = (await operator.open(path)).text
    found = "".join(ELSEWHERE.findall(page))
    return {text: unescape(to) for to, text in re.findall(r'href="([^"]*)">([^<]*)<', found)}


async def test_search_in_a_tab_names_the_tab_with_the_match(
    operator: Visitor, story: Story
) -> None:
    event_id, _ = await story.opened(internal_reference="order-40584")
    await story.result(event_id)

    page = (await operator.open("/incidents?q=order-40584")).text
    links = await elsewhere(operator, "/incidents?q=order-40584")

    assert "Nothing matches in Open" in page
    assert links == {
        "1 match in Resolved": "/incidents?state=resolved&q=order-40584",
        "1 in Receipts": "/events?q=order-40584",
    }
    assert event_id in (await operator.open(links["1 match in Resolved"])).text


async def test_search_of_receipts_names_each_other_tab(operator: Visitor, story: Story) -> None:
    for state in (LifecycleState.APPLIED, LifecycleState.APPLIED, LifecycleState.CLOSED):
        await story.reach(state)
    await story.receipt()

    found = await elsewhere(operator, "/events?state=waiting&q=order")

    assert found == {
        "Applied (2)": "/events?state=applied&q=order",
        "Resolved (manually) (1)": "/events?state=closed&q=order",
        "1 in Incidents": "/incidents?state=all&q=order",
    }


async def test_many_matches_elsewhere_are_not_counted_to_the_end(
    operator: Visitor, story: Story
) -> None:
    await story.receipts(30, internal_reference="order-77")

    found = await elsewhere(operator, "/events?state=closed&q=order-77")

    assert list(found) == ["Waiting (25+)"]


@pytest.mark.parametrize(
    ("path", "other_list"),
    [
        ("/incidents?view=flat", {}),
        ("/incidents?state=all&q=order-1", {"1 in Receipts": "/events?q=order-1"}),
        ("/incidents?provider=shopify", {}),
        ("/events?q=o", {"1 in Incidents": "/incidents?state=all&q=o"}),
    ],
)
async def test_a_list_without_search_or_of_all_states_names_no_other_tab(
    operator: Visitor, story: Story, path: str, other_list: dict[str, str]
) -> None:
    event_id, _ = await story.opened(internal_reference="order-1")
    await story.result(event_id)

    assert await elsewhere(operator, path) == other_list


@pytest.mark.parametrize(
    ("check", "text"),
    [("worker", "No worker is running."), ("engine", "No worker reaches Temporal.")],
)
async def test_reprocess_says_that_nothing_can_run(
    operator: Visitor, story: Story, stubs: ConsoleStubs, check: str, text: str
) -> None:
    event_id, _ = await story.opened()
    stubs.checks |= {"engine": CheckStatus.UNKNOWN, "worker": CheckStatus.UNKNOWN}
    stubs.checks |= {check: CheckStatus.FAILED}

    page = (await operator.open(f"/events/{event_id}")).text

    button = page.split("Reprocess</button>\n    </form>\n  </details>")[1]
    assert button.lstrip().startswith('<span class="hint">')
    assert f"{text} A repair starts when workflows run again." in button


async def test_no_call_is_shown_as_running_while_no_worker_runs(
    operator: Visitor, story: Story, stubs: ConsoleStubs
) -> None:
    event_id, _ = await story.reach(LifecycleState.CALLING)

    running = (await operator.open(f"/events/{event_id}")).text
    stubs.checks["worker"] = CheckStatus.FAILED
    stopped = (await operator.open(f"/events/{event_id}")).text

    now = '<span class="gap">now</span>'
    assert ("Calling the repair endpoint" in running, now in running) == (True, True)
    assert ("Calling the repair endpoint" in stopped, now in stopped) == (False, False)
    assert "The repair endpoint is not being called" in stopped
    assert "No worker is running. Calls continue when workflows run again." in stopped


async def test_nothing_is_said_of_workers_that_run(operator: Visitor, story: Story) -> None:
    event_id, _ = await story.opened()

    assert "No worker" not in (await operator.open(f"/events/{event_id}")).text


async def test_no_page_shows_the_backticks_of_markdown(
    operator: Visitor, story: Story, login_token: str
) -> None:
    event_id, _ = await story.opened()
    pages = ("/incidents", "/events", "/projects", "/audit", "/account", "/account/security")
    more = (f"/events/{event_id}", f"/projects/{story.project.id}", "/login", "/login/password")
    texts = {path: (await operator.open(path)).text for path in (*pages, *more)}
    texts["link"] = (await operator.open(f"/login/link?token={login_token}")).text
    texts["used link"] = (await operator.redeem(login_token)).text
    texts["start"] = (await operator.open(f"/projects/{story.project.id}/start")).text

    assert [path for path, text in texts.items() if "`" in text] == []
