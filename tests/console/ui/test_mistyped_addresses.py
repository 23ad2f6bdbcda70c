"""An address with a mistake: the page says what is wrong with it, in the words of people."""

import html
import re
from dataclasses import replace

import httpx
import pytest

from api.console.base import error_message
from api.console.composition import ConsoleDependencies
from api.console.error_pages import _problem_of
from domain.errors import Forbidden, RateLimited, Refusal, Unavailable
from domain.projects import CreatedProject
from domain.users import Role
from tests.console.conftest import Visitor
from tests.console.people import ConsoleWorld, open_console
from tests.support.given import Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
API_WORDS = re.compile(
    r"`|Retry-After|Idempotency|expected shape|header|\bkey\b|JSON", re.IGNORECASE
)


def text_of(page: httpx.Response) -> str:
    """The visible text of a page."""
    main = page.text.split("<main")[1].split("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", main)).split())


def refusals(kind: type[Refusal] = Refusal) -> list[type[Refusal]]:
    """All kinds of refusals."""
    return [one for below in kind.__subclasses__() for one in (below, *refusals(below))]


@pytest.mark.parametrize(
    ("path", "first_page"),
    [
        ("/events?cursor=x", "/events"),
        ("/events?q=a&state=waiting&cursor=x", "/events?q=a&state=waiting"),
        ("/incidents?cursor=%00", "/incidents"),
        ("/audit?cursor=x", "/audit"),
    ],
)
async def test_unknown_part_of_a_list_links_to_its_first_page(
    operator: Visitor, path: str, first_page: str
) -> None:
    page = await operator.open(path)

    assert page.status_code == 400
    assert "<h1>There is no such part of this list</h1>" in page.text
    assert f'href="{html.escape(first_page)}">Show the newest entries</a>' in page.text
    assert not API_WORDS.search(text_of(page))
    assert (await operator.open(first_page)).status_code == 200


async def test_unknown_part_of_a_timeline_links_to_its_newest_entries(
    operator: Visitor, story: Story
) -> None:
    event_id = await story.receipt()

    page = await operator.open(f"/events/{event_id}?older=x")

    assert page.status_code == 400
    assert f'href="/events/{event_id}">Show the newest entries</a>' in page.text


async def test_first_page_has_the_path_prefix(parts: ConsoleDependencies) -> None:
    async with open_console(replace(parts, public_url="http://makegood.example/pay")) as world:
        person = await world.administrator()
        # The middleware removes the prefix from paths; this is the path behind it.
        page = await person.get("http://makegood.example/events?cursor=x")

    assert 'href="/pay/events">Show the newest entries</a>' in page.text


def test_no_refusal_shows_the_advice_for_programs(database_url: str) -> None:
    # The console says itself which role is missing.
    kinds = [kind for kind in refusals() if kind is not Forbidden]
    texts = {kind.__name__: " ".join(map(str, _problem_of(kind()))) for kind in kinds}
    notices = {kind.__name__: error_message(kind()) for kind in (RateLimited, Unavailable)}

    assert len(texts) > 15
    for shown in (texts, notices):
        assert {name: text for name, text in shown.items() if API_WORDS.search(text)} == {}


@pytest.mark.parametrize("path", ["/events", "/incidents", "/audit"])
@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("created_after=x", ["created_after"]),
        ("foo=1&limit=abc&tab=nope", ["foo", "limit", "tab"]),
        ("state=nope", ["state"]),
        ("from=yesterday", ["from"]),
        ("foo=&project=", ["foo"]),
        ("<b>=1", ["<b>"]),
        ("&".join(f"{name}=1" for name in "abcdefgh"), ["a", "b", "c", "d", "e"]),
    ],
)
async def test_list_names_the_parameters_that_do_not_filter(
    operator: Visitor, project: CreatedProject, path: str, query: str, names: list[str]
) -> None:
    page = await operator.open(f"{path}?{query}")

    assert page.status_code == 200
    assert f"This list is not filtered by {', '.join(names)}" in text_of(page)
    first = "/incidents?view=flat" if path == "/incidents" else path
    assert f'<a href="{first}">Remove from the address</a>' in page.text
    assert (" and 3 more" in text_of(page)) is (len(names) == 5)


@pytest.mark.parametrize("query", ["q=%00", "provider=nope", "event_type=nope", "q=" + "a" * 1_001])
async def test_list_names_the_filters_whose_value_is_not_valid(
    operator: Visitor, story: Story, query: str
) -> None:
    event_id = await story.receipt()

    page = await operator.open(f"/events?{query}")

    assert f"This list is not filtered by {query.split('=')[0]}:" in text_of(page)
    assert event_id in page.text


@pytest.mark.parametrize(
    "query", ["", "q=a&state=waiting", "provider=stripe&from=2026-11-23&to=2026-11-23", "seen=x"]
)
async def test_valid_list_has_no_notice(operator: Visitor, query: str) -> None:
    assert "not filtered by" not in (await operator.open(f"/events?{query}")).text


async def test_owner_sees_the_ignored_filter_after_the_redirect_to_their_project(
    world: ConsoleWorld, project: CreatedProject
) -> None:
    owner = await world.member("owner", project.project.id, Role.OWNER)

    redirect = await owner.get("/audit?foo=1")
    page = await owner.get(redirect.headers["location"])

    assert redirect.status_code == 303
    assert "This list is not filtered by foo" in text_of(page)
