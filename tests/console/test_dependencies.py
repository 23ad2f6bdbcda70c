"""Each request reads its session and the roles of its user once, and parses its form once."""

import re
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from domain.projects import CreatedProject
from domain.users import Role
from store.db.database import Database
from store.people import members, users
from tests.console.conftest import EMAIL, PASSWORD, Visitor
from tests.console.people import ConsoleWorld
from tests.console.recording import recorded_forms, recorded_statements
from tests.console.sign_in.test_step_up import asks_for_proof, send, submit_proof
from tests.console.test_access import NOTHING_THERE, ROWS, Objects, ask
from tests.console.test_access import objects as objects

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

OF_SESSIONS = re.compile(r"SELECT\b.*\bsessions\b", re.DOTALL)
OF_ROLES = re.compile(r"SELECT\b.*\bFROM members\s+WHERE members\.user_id = \?", re.DOTALL)
# The page of an invitation is public, and shows who is signed in.
PUBLIC_WITH_VIEWER = "/join"
# The page lists the sessions of the user.
LISTS_SESSIONS = "/account"


@dataclass(frozen=True, slots=True)
class Cost:
    """How often one request read its session and its roles, and parsed its form."""

    sessions: int
    roles: int
    forms: int


async def measure(request: Awaitable[httpx.Response]) -> tuple[httpx.Response, Cost]:
    statements: list[str] = []
    forms: list[str] = []
    with recorded_statements(statements), recorded_forms(forms):
        answer = await request
    cost = Cost(
        sessions=sum(OF_SESSIONS.match(sql) is not None for sql in statements),
        roles=sum(OF_ROLES.match(sql) is not None for sql in statements),
        forms=len(forms),
    )
    return answer, cost


def expected(method: str, path: str, needs: str) -> Cost:
    is_framed = (method, path) in NOTHING_THERE  # the page of the error has the user's frame
    viewers = int(needs != "anyone" or path == PUBLIC_WITH_VIEWER or is_framed)
    listed = int(path == LISTS_SESSIONS)
    # The token in the link is the authority: nothing of the form is read.
    forms = int(method == "POST" and not path.startswith("/alerts/"))
    return Cost(sessions=viewers + listed, roles=viewers, forms=forms)


async def test_every_address_reads_its_session_once_and_parses_its_form_once(
    world: ConsoleWorld, objects: Objects
) -> None:
    administrator = await world.administrator()

    wrong = {}
    for method, path, needs in ROWS:
        browser = await world.browser(administrator.user_id)
        request = ask(browser, method, objects.path(path), needs, **objects.fields(path))
        _, cost = await measure(request)
        if cost != expected(method, path, needs):
            wrong[method, path] = cost

    assert not wrong


async def test_a_proof_of_identity_costs_no_second_session_or_form(
    member: Visitor, project: CreatedProject, database: Database
) -> None:
    database.clock.skew = timedelta(minutes=11)
    path = f"/projects/{project.project.id}/keys"
    page = await member.open("/account/security")
    token = re.search(r'name="form_token" value="(\w+)"', page.text)
    assert token is not None

    asked, first = await measure(
        member.client.post(path, data={"form_token": token[1], "label": "mine"})
    )
    wrong, second = await measure(submit_proof(member, asked, "a wrong guess"))
    right, third = await measure(submit_proof(member, wrong, PASSWORD))
    proven, fourth = await measure(
        member.client.post(path, data={"form_token": token[1], "label": "another"})
    )

    assert [asks_for_proof(answer) for answer in (asked, wrong, right)] == [True, True, False]
    assert (right.status_code, proven.status_code) == (303, 303)
    assert [first, second, third, fourth] == [Cost(sessions=1, roles=1, forms=1)] * 4


async def test_proof_of_a_change_of_the_own_role_is_valid_in_the_new_session(
    world: ConsoleWorld, member: Visitor, project: CreatedProject, database: Database
) -> None:
    project_id = project.project.id
    await world.member("first", project_id, Role.OWNER)
    async with database.transaction() as session:
        found = await users.find_user_id(session, EMAIL)
        assert found is not None
        now = await database.now(session)
        await members.grant(session, project_id=project_id, user_id=found, role=Role.OWNER, now=now)
    before = await world.browser(found)
    member.client.cookies.set("makegood_session", before.token, domain="makegood.example")
    database.clock.skew = timedelta(minutes=11)

    asked = await send(member, f"/projects/{project_id}/members/{found}/role", role="viewer")
    changed = await submit_proof(member, asked, PASSWORD)
    created = await send(member, "/projects", name="new", mode="test")

    assert (changed.status_code, changed.headers["location"]) == (303, "/projects")
    assert member.client.cookies["makegood_session"] != before.token
    assert not asks_for_proof(created)
    assert created.status_code == 303
