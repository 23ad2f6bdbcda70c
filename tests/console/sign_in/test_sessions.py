"""Sessions: a new id at each sign-in and change of rights, an end by idleness and age, and the page that lists and ends them.

No test waits: the store's clock is moved on.
"""

import re
from datetime import timedelta

import pytest

from domain.projects import CreatedProject
from domain.users import Role
from store.people import users
from tests.console.conftest import EMAIL, PASSWORD, Visitor
from tests.console.people import FORM_COOKIE, SESSION_COOKIE, Person, Town

# What the store does on either engine has its tests there.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

HTMX = {"HX-Request": "true"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


async def is_inside(person: Person | Visitor) -> bool:
    """Whether this browser is signed in; asked as a page that updates itself, which is no sign of life."""
    return (await person.client.get("/rail", headers=HTMX)).status_code == 200


def later(town: Town, **span: float) -> None:
    """Let time pass in the store."""
    town.parts.database.clock.skew += timedelta(**span)


@pytest.mark.parametrize(("hours", "is_alive"), [(11.9, True), (12, False)])
async def test_session_ends_when_nobody_is_there(town: Town, hours: float, is_alive: bool) -> None:
    person = await town.administrator()

    later(town, hours=hours)

    assert await is_inside(person) is is_alive


async def test_opened_page_begins_the_idle_time_anew(town: Town) -> None:
    person = await town.administrator()

    later(town, hours=11)
    await person.get("/account")
    later(town, hours=11)

    assert await is_inside(person)


async def test_page_that_updates_itself_is_no_sign_of_life(town: Town) -> None:
    person = await town.administrator()

    later(town, hours=11)
    assert (await person.get("/incidents", **HTMX)).status_code == 200
    later(town, hours=1)

    assert not await is_inside(person)


async def test_session_ends_after_a_week_however_busy(town: Town) -> None:
    person = await town.administrator()

    for _ in range(16):
        later(town, hours=10)
        assert (await person.get("/account")).status_code == 200
    later(town, hours=8)

    assert (await person.get("/account")).headers["location"] == "/login"


async def test_sign_in_has_a_new_id_and_the_one_before_is_over(town: Town) -> None:
    person = await town.administrator()
    before = person.token
    async with town.parts.database.transaction() as session:
        now = await town.parts.database.now(session)
        link = await users.create_login_link(session, now=now)

    await person.post_anonymously("/login/link", token=link)
    after = person.token
    person.client.cookies.set(SESSION_COOKIE, before, domain=person.client.base_url.host, path="/")

    assert after not in ("", before)
    assert not await is_inside(person)


async def test_planted_id_is_never_taken_over(town: Town) -> None:
    person = await town.nobody()
    person.client.cookies.set(SESSION_COOKIE, "planted", domain=person.client.base_url.host, path="/")
    async with town.parts.database.transaction() as session:
        link = await users.create_login_link(session, now=await town.parts.database.now(session))

    await person.post_anonymously("/login/link", token=link)

    assert person.token not in ("", "planted")


async def test_new_password_has_a_new_id_and_ends_every_other_session(town: Town) -> None:
    person = await town.administrator()
    other, before = await town.browser(person.user_id), person.token

    answer = await person.post("/login/password", email=EMAIL, password=PASSWORD)

    assert answer.status_code == 303
    assert person.token not in ("", before)
    assert "Your password is set" in (await person.get("/incidents")).text
    assert not await is_inside(other)


@pytest.mark.parametrize("change", ["role", "remove"])
async def test_change_of_somebodys_rights_ends_his_sessions(town: Town, project: CreatedProject, change: str) -> None:
    administrator = await town.administrator()
    member = await town.member("member", project.project.id, Role.OPERATOR)

    await administrator.post(f"/projects/{project.project.id}/members/{member.user_id}/{change}", role="viewer")

    assert not await is_inside(member)
    assert await is_inside(administrator)


async def test_change_of_ones_own_rights_goes_on_under_a_new_id(town: Town, project: CreatedProject) -> None:
    await town.member("first", project.project.id, Role.OWNER)
    owner = await town.member("second", project.project.id, Role.OWNER)
    before = owner.token

    await owner.post(f"/projects/{project.project.id}/members/{owner.user_id}/role", role="viewer")

    assert owner.token not in ("", before)
    assert "The role was changed." in (await owner.get("/projects")).text
    assert (await owner.post(f"/projects/{project.project.id}", name="mine")).status_code == 403


async def test_ones_sessions_are_listed_with_where_and_when(town: Town) -> None:
    person = await town.administrator()
    other = await town.nobody()
    async with town.parts.database.transaction() as session:
        link = await users.create_login_link(session, now=await town.parts.database.now(session))
    fields = {"form_token": other.client.cookies[FORM_COOKIE], "token": link}
    await other.client.post("/login/link", data=fields, headers={"User-Agent": FIREFOX})
    stranger = await town.browser(person.user_id)
    await stranger.post("/logout")

    page = (await person.get("/account")).text

    assert "Firefox on Linux" in page
    assert "<code>127.0.0.1</code>" in page
    assert page.count("This browser") == 1
    assert page.count("Sign out</button>") == 1


async def test_one_session_or_all_others_can_be_ended(town: Town) -> None:
    person = await town.administrator()
    second, third = await town.browser(person.user_id), await town.browser(person.user_id)
    page = (await second.get("/account")).text
    ends = re.findall(r'action="(/account/sessions/\w+/end)"', page)

    await second.post(ends[0])
    inside = [await is_inside(one) for one in (person, second, third)]
    await second.post("/account/sessions/end-others")

    assert len(ends) == 2
    assert sorted(inside) == [False, True, True]
    assert [await is_inside(one) for one in (person, second, third)] == [False, True, False]


async def test_nobody_ends_the_session_of_another(town: Town, project: CreatedProject) -> None:
    administrator = await town.administrator()
    member = await town.member("member", project.project.id, Role.OWNER)
    second = await town.browser(administrator.user_id)
    (end,) = re.findall(r'action="(/account/sessions/\w+/end)"', (await administrator.get("/account")).text)

    await member.post(end)
    await member.post("/account/sessions/end-others")

    assert await is_inside(second)
