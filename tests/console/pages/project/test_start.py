"""The checklist of a project: its steps, its code, its key, and where other pages lead to it."""

import html
import re

import pytest
from sqlalchemy import update

from api.console.pages.project.start import KEY_LABEL
from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject
from domain.users import Role
from store.projects.projects import set_suspended
from store.schema.tables import ALERTS
from tests.console.conftest import Visitor
from tests.console.people import ConsoleWorld
from tests.console.recording import recorded_statements
from tests.support.given import Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

MOST_QUERIES = 12
LIVE = {"HX-Request": "true"}


def start_of(project: CreatedProject) -> str:
    return f"/projects/{project.project.id}/start"


def done_on(page: str) -> list[str]:
    return re.findall(r'id="step-(\w+)" class="done"', page)


def code_of(page: str, step: str, language: str) -> str:
    part = page.partition(f'id="code-{step}"')[2].partition("</li>")[0]
    found = re.search(rf'snippet-{language}">.*?<pre[^>]*><code>(.*?)</code>', part, re.DOTALL)
    assert found is not None, (step, language)
    return html.unescape(found[1])


async def test_new_project_has_one_step_done_and_the_next_marked(
    operator: Visitor, project: CreatedProject
) -> None:
    page = (await operator.open(start_of(project))).text

    assert done_on(page) == ["key"]
    assert re.findall(r'id="step-(\w+)" class="next"', page) == ["receipt"]
    assert "1 of 7 done" in page


async def test_steps_tick_as_the_store_says(
    operator: Visitor, project: CreatedProject, story: Story
) -> None:
    seen = []
    event_id = await story.receipt()
    seen.append(done_on((await operator.open(start_of(project), **LIVE)).text)[1:])
    await story.result(event_id)
    seen.append(done_on((await operator.open(start_of(project), **LIVE)).text)[1:])
    await story.reach(LifecycleState.RECOVERED)
    seen.append(done_on((await operator.open(start_of(project), **LIVE)).text)[1:])
    async with story.database.transaction() as session:
        await session.execute(update(ALERTS).values(sent_at=story.at))
    page = (await operator.open(start_of(project), **LIVE)).text

    assert seen == [
        ["receipt"],
        ["receipt", "result"],
        ["receipt", "result", "timeout", "repair", "resolved"],
    ]
    assert len(done_on(page)) == 7
    assert "The project is set up" in page


async def test_update_is_empty_while_nothing_changes(
    operator: Visitor, project: CreatedProject, story: Story
) -> None:
    region = (await operator.open(start_of(project), **LIVE)).text
    seen = re.findall(r'name="seen" value="(\w+)"', region)[-1]

    same = await operator.open(f"{start_of(project)}?seen={seen}", **LIVE)
    await story.receipt()
    changed = await operator.open(f"{start_of(project)}?seen={seen}", **LIVE)

    assert (same.status_code, changed.status_code) == (204, 200)


async def test_code_holds_the_own_address_and_a_new_key_once(
    operator: Visitor, project: CreatedProject
) -> None:
    path = start_of(project)
    before = (await operator.open(path)).text

    made = await operator.post(f"{path}/key", page=path, language="python")
    shown = (await operator.open(made.headers["location"])).text
    later = (await operator.open(made.headers["location"])).text
    settings = (await operator.open(f"/projects/{project.project.id}")).text

    assert made.headers["location"] == f"{path}?language=python"
    (key,) = re.findall(r'data-secret="API key">(sk_test_\w+)<', shown)
    for language in ("curl", "node", "php", "laravel", "python"):
        code = code_of(shown, "receipt", language)
        assert key in code
        assert "http://makegood.example" in code
        assert "YOUR_API_KEY" in code_of(before, "receipt", language)
    assert key not in later
    assert 'value="python" checked' in later
    assert settings.count(f"<td>{KEY_LABEL}<") == 1
    assert '<span class="tag">ingest</span> </td>' in settings.partition(KEY_LABEL)[2]


async def test_new_project_begins_at_its_checklist_with_both_secrets_in_the_code(
    operator: Visitor,
) -> None:
    made = await operator.post("/projects", page="/projects", name="Berlin", mode="live")
    page = (await operator.open(made.headers["location"])).text

    assert re.fullmatch(r"/projects/prj_\w+/start", made.headers["location"])
    lines = code_of(page, "key", "curl").splitlines()
    assert lines[0] == "export MAKEGOOD_URL=http://makegood.example"
    assert lines[1].startswith("export MAKEGOOD_API_KEY=sk_live_")
    assert lines[2].startswith("export MAKEGOOD_SIGNING_SECRET=whsec_")
    assert "This is a live project" in page
    assert '"timeout_minutes": 1' in code_of(page, "timeout", "curl")


async def test_code_resolves_the_open_incident_and_makes_new_events_each_time(
    operator: Visitor, project: CreatedProject, story: Story
) -> None:
    fresh = (await operator.open(start_of(project))).text
    event_id, _ = await story.opened()
    page = (await operator.open(start_of(project))).text

    assert "evt_late_1" in code_of(fresh, "timeout", "curl")
    assert "evt_late_1" in code_of(fresh, "resolved", "curl")
    assert "evt_late_2" in code_of(page, "timeout", "curl")
    assert event_id in code_of(page, "resolved", "curl")
    assert f'href="/events/{event_id}">Open the incident' in page


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_member_who_owns_nothing_gets_no_key(
    world: ConsoleWorld, project: CreatedProject, role: Role
) -> None:
    person = await world.member("person", project.project.id, role)

    page = (await person.get(start_of(project))).text

    assert "An owner of this project can create a key." in page
    assert f"{start_of(project)}/key" not in page


async def test_page_and_its_update_take_few_queries(
    operator: Visitor, project: CreatedProject, story: Story
) -> None:
    await story.reach(LifecycleState.RECOVERED)
    paths = (start_of(project), f"/projects/{project.project.id}", "/events?provider=shopify")
    for path in (*paths, "/incidents?state=resolved"):
        for headers in ({}, LIVE):
            statements: list[str] = []
            with recorded_statements(statements):
                assert (await operator.open(path, **headers)).status_code == 200
            asked = [
                one for one in statements if one.lstrip().upper().startswith(("SELECT", "WITH"))
            ]
            assert len(asked) <= MOST_QUERIES, path + "\n" + "\n".join(asked)


async def test_empty_lists_lead_to_the_checklist_until_it_is_hidden(
    operator: Visitor, project: CreatedProject
) -> None:
    path, link = start_of(project), f'href="{start_of(project)}">Get started with shop'
    project_path = f"/projects/{project.project.id}"
    pages = ("/events", f"/events?project={project.project.id}", "/incidents")
    before = [link in (await operator.open(page)).text for page in pages]
    note = "1 of 7 first steps are done." in (await operator.open(project_path)).text

    hidden = await operator.post(f"{path}/hide", page=path)
    after = [link in (await operator.open(page)).text for page in pages]
    no_note = "first steps are done." in (await operator.open(project_path)).text
    await operator.post(f"{path}/show", page=path)
    again = link in (await operator.open("/events")).text

    assert (before, note) == ([True] * 3, True)
    assert hidden.headers["location"] == project_path
    assert (after, no_note) == ([False] * 3, False)
    assert again


async def test_hidden_checklist_is_hidden_from_its_reader_only(
    world: ConsoleWorld, project: CreatedProject
) -> None:
    viewer = await world.member("viewer", project.project.id, Role.VIEWER)
    owner = await world.member("owner", project.project.id, Role.OWNER)

    await viewer.post(f"{start_of(project)}/hide")

    link = "Get started with shop"
    assert link not in (await viewer.get("/events")).text
    assert link in (await owner.get("/events")).text


async def test_list_with_receipts_and_a_filtered_list_lead_nowhere(
    operator: Visitor, story: Story
) -> None:
    filtered = (await operator.open("/events?provider=shopify")).text
    await story.reach(LifecycleState.APPLIED)

    assert "Get started with" not in filtered
    assert "Get started with" not in (await operator.open("/events")).text


async def test_steps_say_what_the_project_lacks(
    operator: Visitor, project: CreatedProject, story: Story
) -> None:
    page = (await operator.open(start_of(project))).text
    async with story.database.transaction() as session:
        await set_suspended(session, project.project.id, suspended=True, now=story.at)
    suspended = (await operator.open(start_of(project))).text

    assert "Alerts go to ops@shop.example" in page
    assert ("There is no repair URL yet" in page) != ("Send a test call" in page)
    assert "This project is suspended" in suspended
    assert "This project is suspended" not in page
