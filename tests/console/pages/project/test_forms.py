"""The forms of a project's page: its sections, the test call, suspension."""

import html
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from activities.callback.transport import OutgoingRequest, exchange
from api.console.composition import ConsoleDependencies
from api.console.pages.projects import SECTIONS
from api.console.sign_in.cookies import ConsoleKeys, Notice, Secret
from domain.projects import CreatedProject, ProjectChanges
from domain.retries import ExchangeOutcome
from domain.users import Role
from operations.composition import Operations
from operations.repair_url.trial import TrialRequest
from store.db.database import Database
from store.projects.projects import change_project, read_project
from tests.activities.alerts.http.receiver import LOOPBACK, Receiver, receiving
from tests.conftest import SECRET_KEY
from tests.console.conftest import Visitor, accept_any_url
from tests.console.people import ConsoleWorld

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


COMPARED = (
    *("repair_url", "alert_emails", "acknowledge_minutes", "timeout_minutes", "late_result"),
    *("early_results", "providers", "snapshots", "name"),
    *("silent_after_minutes", "silent_event_types"),
)


@pytest.fixture
async def endpoint() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def parts(parts: ConsoleDependencies) -> ConsoleDependencies:
    """The console, whose test calls may go to loopback."""

    async def call(request: TrialRequest) -> ExchangeOutcome:
        sent = OutgoingRequest(request.url, request.headers, request.body, request.livemode)
        return await exchange(sent, allow=LOOPBACK, timeout_seconds=5)

    operations = Operations.build(
        database=parts.database,
        sealer=parts.sealer,
        judge_repair_url=accept_any_url,
        call_repair_url=call,
    )
    return replace(parts, operations=operations)


async def save_url(database: Database, project: CreatedProject, url: str | None) -> None:
    async with database.transaction() as session:
        await change_project(session, project.project.id, changes=ProjectChanges(repair_url=url))


def shown(page: str) -> dict[str, str]:
    pairs = re.findall(r'<code data-secret="([^"]+)">([^<]+)</code>', page)
    return {name: html.unescape(text) for name, text in pairs}


async def test_sections_are_in_the_order_of_use(operator: Visitor, project: CreatedProject) -> None:
    page = (await operator.open(f"/projects/{project.project.id}")).text

    ids = re.findall(r'<section class="settings" id="([\w-]+)"', page)
    assert ids == [
        *("keys", "signing", "repair-url", "destinations", "alert-settings", "deadlines"),
        *("repair-rules", "holds", "silence", "names", "members", "retention", "general"),
        *("suspension", "delete"),
    ]
    linked = re.findall(r'<li><a href="#([\w-]+)">', page)
    assert [one for one in ids if one in linked] == linked
    forms = re.findall(r'name="section" value="([\w-]+)"', page)
    assert sorted(forms) == sorted(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
async def test_each_form_changes_only_its_own_settings(
    operator: Visitor, project: CreatedProject, database: Database, section: str
) -> None:
    given = {
        "repair-url": {"repair_url": "https://other.example/repair"},
        "alert-settings": {"alert_emails": "b@shop.example", "acknowledge_minutes": "60"},
        "deadlines": {
            "timeout_minutes": "5",
            "late_result": "note",
            "early_results": "hold",
        },
        "silence": {"silent_after_minutes": "90", "silent_event_types": "invoice.paid 60"},
        "names": {"providers": "paddle", "event_types": "", "effect_types": ""},
        "retention": {"snapshots": "on"},
        "general": {"name": "Berlin"},
    }[section]
    path = f"/projects/{project.project.id}"
    async with database.reading() as session:
        before = await read_project(session, project.project.id)

    saved = await operator.post(path, page=path, section=section, **given)

    async with database.reading() as session:
        after = await read_project(session, project.project.id)
    changed = {name for name in COMPARED if getattr(before, name) != getattr(after, name)}
    assert saved.headers["location"] == f"{path}#{section}"
    assert changed == {name for name, value in given.items() if value}


async def test_unchecked_box_turns_snapshots_off_in_its_own_form_alone(
    operator: Visitor, project: CreatedProject, database: Database
) -> None:
    path, kept = f"/projects/{project.project.id}", []
    for section, fields in (
        ("retention", {"snapshots": "on"}),
        ("general", {"name": "Berlin"}),
        ("retention", {}),
    ):
        await operator.post(path, page=path, section=section, **fields)
        async with database.reading() as session:
            kept.append((await read_project(session, project.project.id)).snapshots)

    assert kept == [True, True, False]


async def test_invalid_section_leads_to_no_anchor(
    operator: Visitor, project: CreatedProject
) -> None:
    path = f"/projects/{project.project.id}"

    saved = await operator.post(path, page=path, section='"><script>', name="Berlin")

    assert saved.headers["location"] == path


async def test_test_call_shows_status_time_body_and_answer(
    operator: Visitor, project: CreatedProject, database: Database, endpoint: Receiver
) -> None:
    await save_url(database, project, f"{endpoint.url}/repair")
    endpoint.statuses, endpoint.content = [202, 401], b"<b>thanks</b>"
    path = f"/projects/{project.project.id}"

    answer = await operator.post(f"{path}/repair-url/test", page=path)
    good = (await operator.open(answer.headers["location"])).text
    await operator.post(f"{path}/repair-url/test", page=path)
    bad = (await operator.open(path)).text
    later = (await operator.open(path)).text

    assert answer.headers["location"] == f"{path}#repair-url"
    assert re.search(r"The endpoint accepted the call\. It answered 202 after [\d,]+ ms\.", good)
    assert shown(good)["Answer"] == "<b>thanks</b>"
    assert shown(good)["Body sent"] == endpoint.got[0].body.decode()
    assert json.loads(shown(good)["Body sent"])["test"] is True
    assert "did not accept the signature" in bad
    assert 'class="notice bad"' in bad
    assert shown(later) == {}


async def test_longest_answer_fits_into_the_cookie_during_a_rotation(
    operator: Visitor, project: CreatedProject, database: Database, endpoint: Receiver
) -> None:
    """A browser drops a cookie of more than 4,096 bytes, and with it the whole notice."""
    await save_url(database, project, f"{endpoint.url}/repair")
    endpoint.content = "😀".encode() * 500
    path = f"/projects/{project.project.id}"
    await operator.post(f"{path}/repair-url/test", page=path)
    page = (await operator.open(path)).text
    notice = Notice("good", "x" * 200, ())

    body, answer = shown(page)["Body sent"], shown(page)["Answer"]

    keys = ConsoleKeys(SECRET_KEY, "another root secret, also long enough")
    whole = replace(notice, secrets=(Secret("Body sent", body), Secret("Answer", answer)))
    assert len(keys.seal(whole, session_token="token")) < 4_000
    assert len(answer.encode()) == 400


async def test_project_without_a_repair_url_has_no_test_call(
    operator: Visitor, project: CreatedProject, database: Database, world: ConsoleWorld
) -> None:
    await save_url(database, project, None)
    path = f"/projects/{project.project.id}"
    owner = await world.member("olga", project.project.id, Role.OWNER)

    page = (await operator.open(path)).text
    refused = await owner.post(f"{path}/repair-url/test")
    notice = (await owner.get(refused.headers["location"])).text

    assert "Send a test call" not in page
    assert "This project has no repair URL. Save one, then test it." in notice


async def test_administrator_suspends_and_resumes_and_owners_see_it(
    operator: Visitor, project: CreatedProject, world: ConsoleWorld
) -> None:
    path = f"/projects/{project.project.id}"
    owner = await world.member("olga", project.project.id, Role.OWNER)
    states = []
    for act in ("suspend", "resume"):
        done = await operator.post(f"{path}/{act}", page=path)
        assert done.headers["location"] == f"{path}#suspension"
        page, theirs = (await operator.open(path)).text, (await owner.get(path)).text
        states.append((">Suspended<" in page, f"{path}/resume" in page, "is suspended." in theirs))
        assert f"{path}/suspend" not in theirs
        assert "An administrator of this installation can change that." in theirs

    assert states == [(True, True, True), (False, False, False)]
