"""Sign-in by link and by password. Nothing works without a session or a form token."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from api.console.composition import ConsoleDependencies
from store.db.database import Database
from tests.console.conftest import EMAIL, PASSWORD, Visitor, visiting

# Each page, and where it leads a visitor without a session.
PAGES = {
    "/": "/login",
    "/incidents": "/login",
    "/events": "/login?back=/events",
    "/events/evt_x": "/login?back=/events/evt_x",
    "/projects": "/login?back=/projects",
    "/projects/prj_x": "/login?back=/projects/prj_x",
    "/audit": "/login?back=/audit",
    "/mailbox": "/login?back=/mailbox",
    "/login/password": "/login",
    "/rail": "/login",
}


@pytest.mark.parametrize("path", PAGES)
async def test_nothing_is_shown_before_signing_in(visitor: Visitor, path: str) -> None:
    answer = await visitor.open(path)

    assert (answer.status_code, answer.headers["location"]) == (303, PAGES[path])


async def test_a_page_that_updates_itself_is_sent_to_sign_in(visitor: Visitor) -> None:
    answer = await visitor.open("/incidents", **{"HX-Request": "true"})

    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login")


async def test_opening_the_link_does_not_use_it_up(visitor: Visitor, login_token: str) -> None:
    for _ in range(3):
        await visitor.open(f"/login/link?token={login_token}")

    answer = await visitor.post("/login/link", page=f"/login/link?token={login_token}")

    assert (answer.status_code, answer.headers["location"]) == (303, "/login/password")


async def test_a_link_works_once(operator: Visitor, login_token: str) -> None:
    page = (await operator.open(f"/login/link?token={login_token}")).text
    answer = await operator.redeem(login_token)

    assert answer.status_code == 422
    assert "has expired or was already used" in answer.text
    assert "This link is no longer valid" in page
    assert "<form" not in page


async def test_the_password_signs_in_after_signing_out(operator: Visitor) -> None:
    chosen = await operator.post(
        "/login/password", page="/login/password", email=EMAIL, password=PASSWORD
    )
    left = await operator.post("/logout", page="/incidents")
    outside = await operator.open("/incidents")
    back = await operator.post("/login", page="/login", email=EMAIL, password=PASSWORD)

    assert [answer.status_code for answer in (chosen, left, outside, back)] == [303] * 4
    assert outside.headers["location"] == "/login"
    assert (await operator.open("/incidents")).status_code == 200


@pytest.mark.parametrize(
    ("email", "password"), [(EMAIL, "wrong"), ("nobody@shop.example", PASSWORD), ("", "")]
)
async def test_wrong_credentials_get_one_message(
    operator: Visitor, email: str, password: str
) -> None:
    await operator.post("/login/password", page="/login/password", email=EMAIL, password=PASSWORD)
    await operator.post("/logout", page="/incidents")

    answer = await operator.post("/login", page="/login", email=email, password=password)

    assert answer.status_code == 422
    assert "Email or password is incorrect" in answer.text


@pytest.mark.parametrize(
    ("email", "password"), [(EMAIL, "short"), ("nobody", PASSWORD), (EMAIL, "x" * 257)]
)
async def test_an_invalid_password_or_address_is_not_saved(
    operator: Visitor, email: str, password: str
) -> None:
    answer = await operator.post(
        "/login/password", page="/login/password", email=email, password=password
    )

    assert answer.status_code == 422
    assert 'role="alert"' in answer.text


async def test_a_session_closed_elsewhere_is_over_everywhere(operator: Visitor) -> None:
    cookies = httpx.Cookies(operator.client.cookies)
    await operator.post("/logout", page="/incidents")
    operator.client.cookies = cookies

    assert (await operator.open("/incidents")).headers["location"] == "/login"


@pytest.mark.parametrize("token", ["", "0" * 64, "ä"])
async def test_a_form_without_its_token_changes_nothing(operator: Visitor, token: str) -> None:
    answer = await operator.client.post(
        "/projects", data={"form_token": token, "name": "stolen", "mode": "test"}
    )

    assert answer.status_code == 403
    assert "stolen" not in (await operator.open("/projects")).text


async def test_a_form_before_sign_in_needs_its_cookie(visitor: Visitor, login_token: str) -> None:
    answer = await visitor.client.post(
        "/login/link", data={"form_token": "mine", "token": login_token}
    )

    assert answer.status_code == 403


async def test_cookies_are_hidden_from_scripts_and_other_sites(
    visitor: Visitor, login_token: str
) -> None:
    answer = await visitor.post("/login/link", page=f"/login/link?token={login_token}")

    session = next(
        value for value in answer.headers.get_list("set-cookie") if "makegood_session=" in value
    )
    assert "httponly" in session.lower()
    assert "samesite=lax" in session.lower()
    assert "secure" not in session.lower()


async def test_every_answer_carries_the_strict_policy(operator: Visitor) -> None:
    for path in ("/login", "/incidents", "/events/evt_none", "/"):
        answer = await operator.open(path)
        policy = answer.headers["content-security-policy"]

        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"


async def test_over_https_the_cookies_are_bound_to_this_host(
    parts: ConsoleDependencies, login_token: str
) -> None:
    async with visiting(replace(parts, public_url="https://makegood.example")) as visitor:
        answer = await visitor.post("/login/link", page=f"/login/link?token={login_token}")
        inside = await visitor.open("/incidents")

    session = next(
        value for value in answer.headers.get_list("set-cookie") if "makegood_session=" in value
    )
    assert session.startswith("__Host-makegood_session=")
    assert "secure" in session.lower()
    assert "domain=" not in session.lower()
    assert inside.status_code == 200


async def test_unreachable_database_has_an_error_page(
    parts: ConsoleDependencies, tmp_path: Path
) -> None:
    nowhere = Database.open(f"sqlite:///{tmp_path / 'no' / 'such' / 'makegood.db'}")
    async with visiting(replace(parts, database=nowhere)) as visitor:
        visitor.client.cookies.set("makegood_session", "some token")

        answer = await visitor.open("/incidents")
        act = await visitor.client.post("/projects", data={"name": "new"})
        update = await visitor.open("/incidents", **{"HX-Request": "true"})
    await nowhere.close()

    assert answer.status_code == act.status_code == update.status_code == 503
    assert "The database is not responding" in answer.text
    # In the frame, without names and counts; only a page tries again by itself.
    assert ['<nav aria-label="Main">' in one.text for one in (answer, act, update)] == [
        *(True, True, False)
    ]
    assert ['http-equiv="refresh"' in one.text for one in (answer, act, update)] == [
        *(True, False, False)
    ]
