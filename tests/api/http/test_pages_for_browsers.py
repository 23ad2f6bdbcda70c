"""A browser gets a page for an error outside the console's routes; a program a problem document."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import sessions, users
from tests.api.serving import parts_on

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

# What Chromium and Firefox send for an address that a person opens.
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PROGRAMS = ["application/json", "application/problem+json", "*/*", "text/html;q=0, */*"]


@pytest.fixture
def app(database: Database, sealer: Sealer) -> FastAPI:
    return create_app(parts_on(database, sealer))


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://makegood.example") as client:
        yield client


@pytest.mark.parametrize("path", ["/nonsense", "/incidents/a/b", "/events/", "/docs/errors/no"])
async def test_unknown_address_has_a_page_for_a_browser(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path, headers={"Accept": BROWSER})

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>Not found</h1>" in answer.text
    assert "There is no page at this address." in answer.text
    assert 'href="/incidents"' in answer.text
    assert answer.headers["request-id"].startswith("req_")
    assert "unsafe" not in answer.headers["content-security-policy"]


async def test_unknown_address_keeps_the_navigation_of_a_signed_in_user(
    client: httpx.AsyncClient, database: Database
) -> None:
    async with database.transaction() as session:
        now = await database.now(session)
        link = await users.create_login_link(session, now=now)
        user = await users.redeem_login_link(session, token=link, now=now)
        assert user is not None
        token = await sessions.open_session(session, user_id=user.user_id, now=now)
    anonymous = await client.get("/nonsense", headers={"Accept": BROWSER})
    client.cookies.set("makegood_session", token)

    page = await client.get("/nonsense", headers={"Accept": BROWSER})
    program = await client.get("/nonsense", headers={"Accept": "application/json"})

    assert page.status_code == 404
    assert "<h1>Not found</h1>" in page.text
    assert '<nav aria-label="Main">' in page.text
    assert '<nav aria-label="Main">' not in anonymous.text
    assert program.json()["code"] == "not_found"


@pytest.mark.parametrize("accept", PROGRAMS)
async def test_unknown_address_has_a_problem_for_a_program(
    client: httpx.AsyncClient, accept: str
) -> None:
    answer = await client.get("/nonsense", headers={"Accept": accept})

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/api/v1/nonsense", "/v1/nonsense", "/api/v1/events"])
async def test_api_answers_a_browser_with_a_problem(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers={"Accept": BROWSER})

    assert answer.json()["code"] in ("not_found", "unauthorized")


async def test_address_of_a_form_has_a_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/logout", headers={"Accept": BROWSER})

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert "<h1>This address has no page</h1>" in answer.text


async def test_form_that_is_too_large_has_a_page(client: httpx.AsyncClient) -> None:
    form = {"email": "a" * 70_000}

    answer = await client.post("/login", data=form, headers={"Accept": BROWSER})

    assert (answer.status_code, answer.headers["content-type"]) == (413, "text/html; charset=utf-8")
    assert "<h1>The request failed</h1>" in answer.text


async def test_bug_has_a_page_with_its_request_id(app: FastAPI, client: httpx.AsyncClient) -> None:
    async def fail() -> None:
        raise RuntimeError("a bug")

    app.add_api_route("/broken", fail)

    page = await client.get("/broken", headers={"Accept": BROWSER})
    problem = await client.get("/broken", headers={"Accept": "application/json"})

    assert (page.status_code, problem.status_code) == (500, 500)
    assert "<h1>Something went wrong</h1>" in page.text
    assert page.headers["request-id"] in page.text
    assert problem.json()["code"] == "internal_error"
