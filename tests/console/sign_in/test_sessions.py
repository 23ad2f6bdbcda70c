"""Sessions: new ids at sign-in and role changes, timeouts, and the page that lists and ends them.

Tests move the clock of the database instead of waiting.
"""

import re
from datetime import timedelta

import pytest

from domain.projects import CreatedProject
from domain.users import Role
from store.people import users
from tests.console.conftest import EMAIL, PASSWORD, Visitor
from tests.console.people import FORM_COOKIE, SESSION_COOKIE, ConsoleWorld, Person

# Both databases are covered by the tests of the store.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

HTMX = {"HX-Request": "true"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


async def is_signed_in(person: Person | Visitor) -> bool:
    """Whether this browser is signed in. The request does not restart the idle timeout."""
    return (await person.client.get("/rail", headers=HTMX)).status_code == 200


def later(world: ConsoleWorld, **span: float) -> None:
    """Move the clock of the database."""
    world.parts.database.clock.skew += timedelta(**span)


@pytest.mark.parametrize(("hours", "is_alive"), [(11.9, True), (12, False)])
async def test_session_ends_after_the_idle_timeout(
    world: ConsoleWorld, hours: float, is_alive: bool
) -> None:
    person = await world.administrator()

    later(world, hours=hours)

    assert await is_signed_in(person) is is_alive


async def test_opened_page_restarts_the_idle_timeout(world: ConsoleWorld) -> None:
    person = await world.administrator()

    later(world, hours=11)
    await person.get("/account")
    later(world, hours=11)

    assert await is_signed_in(person)


async def test_self_updating_page_does_not_restart_the_idle_timeout(world: ConsoleWorld) -> None:
    person = await world.administrator()

    later(world, hours=11)
    assert (await person.get("/incidents", **HTMX)).status_code == 200
    later(world, hours=1)

    assert not await is_signed_in(person)


async def test_active_session_ends_after_a_week(world: ConsoleWorld) -> None:
    person = await world.administrator()

    for _ in range(16):
        later(world, hours=10)
        assert (await person.get("/account")).status_code == 200
    later(world, hours=8)

    assert (await person.get("/account")).headers["location"] == "/login"


async def test_sign_in_replaces_the_session_id(world: ConsoleWorld) -> None:
    person = await world.administrator()
    before = person.token
    async with world.parts.database.transaction() as session:
        now = await world.parts.database.now(session)
        link = await users.create_login_link(session, now=now)

    await person.post_anonymously("/login/link", token=link)
    after = person.token
    person.client.cookies.set(SESSION_COOKIE, before, domain=person.client.base_url.host, path="/")

    assert after not in ("", before)
    assert not await is_signed_in(person)


async def test_planted_session_id_is_never_used(world: ConsoleWorld) -> None:
    person = await world.nobody()
    person.client.cookies.set(
        SESSION_COOKIE, "planted", domain=person.client.base_url.host, path="/"
    )
    async with world.parts.database.transaction() as session:
        link = await users.create_login_link(session, now=await world.parts.database.now(session))

    await person.post_anonymously("/login/link", token=link)

    assert person.token not in ("", "planted")


async def test_new_password_replaces_the_session_id_and_ends_other_sessions(
    world: ConsoleWorld,
) -> None:
    person = await world.administrator()
    other, before = await world.browser(person.user_id), person.token

    answer = await person.post("/login/password", email=EMAIL, password=PASSWORD)

    assert answer.status_code == 303
    assert person.token not in ("", before)
    assert "Your password is set" in (await person.get("/incidents")).text
    assert not await is_signed_in(other)


@pytest.mark.parametrize("change", ["role", "remove"])
async def test_changed_role_ends_the_sessions_of_the_member(
    world: ConsoleWorld, project: CreatedProject, change: str
) -> None:
    administrator = await world.administrator()
    member = await world.member("member", project.project.id, Role.OPERATOR)

    await administrator.post(
        f"/projects/{project.project.id}/members/{member.user_id}/{change}", role="viewer"
    )

    assert not await is_signed_in(member)
    assert await is_signed_in(administrator)


async def test_changed_own_role_replaces_the_session_id(
    world: ConsoleWorld, project: CreatedProject
) -> None:
    await world.member("first", project.project.id, Role.OWNER)
    owner = await world.member("second", project.project.id, Role.OWNER)
    before = owner.token

    await owner.post(f"/projects/{project.project.id}/members/{owner.user_id}/role", role="viewer")

    assert owner.token not in ("", before)
    assert "The role was changed." in (await owner.get("/projects")).text
    assert (await owner.post(f"/projects/{project.project.id}", name="mine")).status_code == 403


async def test_own_sessions_are_listed_with_browser_address_and_time(world: ConsoleWorld) -> None:
    person = await world.administrator()
    other = await world.nobody()
    async with world.parts.database.transaction() as session:
        link = await users.create_login_link(session, now=await world.parts.database.now(session))
    fields = {"form_token": other.client.cookies[FORM_COOKIE], "token": link}
    await other.client.post("/login/link", data=fields, headers={"User-Agent": FIREFOX})
    other = await world.browser(person.user_id)
    await other.post("/logout")

    page = (await person.get("/account")).text

    assert "Firefox on Linux" in page
    assert "<code>127.0.0.1</code>" in page
    assert page.count("This browser") == 1
    assert page.count("Sign out</button>") == 1


async def test_one_session_or_all_others_can_be_ended(world: ConsoleWorld) -> None:
    person = await world.administrator()
    second, third = await world.browser(person.user_id), await world.browser(person.user_id)
    page = (await second.get("/account")).text
    ends = re.findall(r'action="(/account/sessions/\w+/end)"', page)

    await second.post(ends[0])
    inside = [await is_signed_in(one) for one in (person, second, third)]
    await second.post("/account/sessions/end-others")

    assert len(ends) == 2
    assert sorted(inside) == [False, True, True]
    assert [await is_signed_in(one) for one in (person, second, third)] == [False, True, False]


async def test_sessions_of_other_users_cannot_be_ended(
    world: ConsoleWorld, project: CreatedProject
) -> None:
    administrator = await world.administrator()
    member = await world.member("member", project.project.id, Role.OWNER)
    second = await world.browser(administrator.user_id)
    (end,) = re.findall(
        r'action="(/account/sessions/\w+/end)"', (await administrator.get("/account")).text
    )

    await member.post(end)
    await member.post("/account/sessions/end-others")

    assert await is_signed_in(second)
