"""After signing in, a visitor lands on the page that they asked for, whatever factors it takes."""

import re
from html import escape, unescape

import pyotp
import pytest
from sqlalchemy import text

from api.console.composition import ConsoleDependencies
from domain.ids import UserId
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import second_factor as factors
from store.people import users
from tests.console.conftest import EMAIL, PASSWORD, Visitor
from tests.console.oidc_browsers import OidcBrowsers
from tests.support.given import Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PUBLIC_URL = "http://makegood.example"
LIST = "/incidents?state=all&q=order+77&project=prj_1"


async def signed_out(member: Visitor) -> Visitor:
    """A visitor with an account and a password, who is not signed in."""
    member.client.cookies.clear()
    return member


async def sign_in(visitor: Visitor, page: str) -> str:
    """Sign in on this sign-in page. Returns where it leads."""
    form = hidden_fields((await visitor.open(page)).text)
    fields = {**form, "email": EMAIL, "password": PASSWORD}
    answer = await visitor.client.post("/login", data=fields)
    assert answer.status_code == 303
    return answer.headers["location"]


def hidden_fields(page: str) -> dict[str, str]:
    """The hidden fields of a page, as a browser reads them."""
    pairs = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page)
    return {name: unescape(value) for name, value in pairs}


async def test_link_of_an_alert_leads_to_its_event_after_the_password(
    member: Visitor, story: Story
) -> None:
    event_id, _ = await story.opened()
    visitor = await signed_out(member)

    login = (await visitor.open(f"/events/{event_id}")).headers["location"]
    landed = await visitor.open(await sign_in(visitor, login))

    assert (landed.status_code, landed.url.path) == (200, f"/events/{event_id}")


async def test_filters_of_a_list_survive_signing_in(member: Visitor) -> None:
    visitor = await signed_out(member)

    login = (await visitor.open(LIST)).headers["location"]

    assert await sign_in(visitor, login) == LIST


async def test_a_wrong_password_keeps_the_page(member: Visitor) -> None:
    visitor = await signed_out(member)
    page = "/login?back=/events"

    wrong = await visitor.post("/login", page=page, email=EMAIL, password="not the password")
    form = hidden_fields(wrong.text)
    right = await visitor.client.post("/login", data={**form, "email": EMAIL, "password": PASSWORD})

    assert (wrong.status_code, right.headers["location"]) == (422, "/events")


async def test_the_second_factor_keeps_the_page(
    member: Visitor, database: Database, sealer: Sealer
) -> None:
    secret = await turn_on_totp(database, sealer)
    visitor = await signed_out(member)

    assert await sign_in(visitor, "/login?back=/events/evt_1") == "/login/code"
    code = pyotp.TOTP(secret).at(await soon(database))
    answer = await visitor.post("/login/code", page="/login/code", code=code)

    assert answer.headers["location"] == "/events/evt_1"


async def test_the_identity_provider_keeps_the_page(browsers: OidcBrowsers) -> None:
    page = (await browsers.visitor.open("/login?back=/events/evt_1")).text
    (begin,) = re.findall(r'href="(/login/oidc[^"]*)"', page)

    answer = await browsers.sign_in(unescape(begin))

    assert answer.headers["location"] == "/events/evt_1"


async def test_a_one_time_link_keeps_the_page(member: Visitor, database: Database) -> None:
    visitor = await signed_out(member)
    async with database.transaction() as session:
        now = await database.now(session)
        token = await users.create_login_link(session, now=now)

    login = (await visitor.open(LIST)).headers["location"]
    await visitor.open(login)
    used = await visitor.redeem("used")
    entered = await visitor.post("/login/link", page=f"/login/link?token={token}")
    choice = (await visitor.open("/login/password")).text
    saved = await visitor.post(
        "/login/password", page="/login/password", email=EMAIL, password=PASSWORD
    )
    again = await visitor.open("/login/password")

    assert hidden_fields(used.text)["back"] == LIST
    assert entered.headers["location"] == "/login/password"
    assert f'<a href="{escape(LIST)}">Not now</a>' in choice
    assert saved.headers["location"] == LIST
    assert '<a href="/incidents">Not now</a>' in again.text


@pytest.mark.parametrize("how", ["the sign-in page without a page", "the password"])
async def test_the_page_of_an_earlier_sign_in_is_forgotten(member: Visitor, how: str) -> None:
    visitor = await signed_out(member)
    await visitor.open("/login?back=/events")

    kept = "makegood_return_page" in visitor.client.cookies
    if how == "the password":
        assert await sign_in(visitor, "/login?back=/events") == "/events"
    else:
        await visitor.open("/login")

    assert (kept, "makegood_return_page" in visitor.client.cookies) == (True, False)


async def test_a_page_that_updates_itself_comes_back_after_a_session_has_ended(
    member: Visitor,
) -> None:
    visitor = await signed_out(member)

    answer = await visitor.open(
        "/rail?section=events",
        **{"HX-Request": "true", "HX-Current-URL": f"{PUBLIC_URL}/events/evt_1?older=c"},
    )

    assert answer.status_code == 401
    assert await sign_in(visitor, answer.headers["hx-redirect"]) == "/events/evt_1?older=c"


async def test_the_page_of_a_form_comes_back_after_a_session_has_ended(member: Visitor) -> None:
    visitor = await signed_out(member)

    answer = await visitor.client.post(
        "/incidents/inc_1/reprocess", headers={"Referer": f"{PUBLIC_URL}/events/evt_1"}
    )

    assert await sign_in(visitor, answer.headers["location"]) == "/events/evt_1"


@pytest.mark.parametrize(
    "back",
    [
        "//evil.example/events",
        "/\\evil.example",
        "https://evil.example/events",
        "/events\r\nSet-Cookie: a=b",
        "/events?q=" + "a" * 4_000,
        "",
    ],
    ids=["host", "backslash", "scheme", "header", "long", "empty"],
)
async def test_a_foreign_or_broken_page_is_not_followed(member: Visitor, back: str) -> None:
    visitor = await signed_out(member)
    form = {"email": EMAIL, "password": PASSWORD, "back": back}

    answer = await visitor.post("/login", page="/login", **form)

    assert answer.headers["location"] == "/incidents"


async def test_the_page_of_another_site_is_not_taken(
    member: Visitor, parts: ConsoleDependencies
) -> None:
    visitor = await signed_out(member)
    assert parts.public_url == PUBLIC_URL

    answer = await visitor.client.post(
        "/incidents/inc_1/reprocess", headers={"Referer": "https://evil.example/events/evt_1"}
    )

    assert answer.headers["location"] == "/login"


async def turn_on_totp(database: Database, sealer: Sealer) -> str:
    """Set up the authenticator app of the only user. Returns its secret."""
    async with database.transaction() as session:
        now = await database.now(session)
        user_id = UserId(str(await session.scalar(text("SELECT id FROM users"))))
        secret = await factors.begin_totp(session, sealer, user_id, now=now)
        assert secret
        code = pyotp.TOTP(secret).at(now)
        assert await factors.confirm_totp(session, sealer, user_id, code=code, now=now)
    return secret


async def soon(database: Database) -> int:
    """The next period of codes, because each code works once."""
    async with database.reading() as session:
        return int((await database.now(session)).timestamp()) + 30
