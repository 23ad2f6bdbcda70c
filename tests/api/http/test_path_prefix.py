"""A public URL with a path: every link, form, redirect, cookie and document has the prefix.

The proxy in front keeps the prefix or removes it. `tests/console/test_behind_proxy.py` shows the
same through a real proxy and a real browser.
"""

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import httpx
import pytest

from api.app import Application, create_app
from api.console.sign_in.return_path import safe_return_path
from api.rest.openapi import document
from config.fields import OWN_PATHS
from domain.projects import CreatedProject
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import users
from tests.api.http.test_security_headers import TEMPLATES, addresses
from tests.api.serving import Caller, parts_on
from tests.console.conftest import EMAIL, PASSWORD

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

HOST = "https://shop.example"
PREFIX = "/tools/makegood"
# What a browser follows or loads in a page.
TARGET = re.compile(r'(?:href|action|src|hx-get|spec-url)="([^"#]*)["#]')


class Proxy(httpx.AsyncBaseTransport):
    """The application below the prefix. Other paths of the host belong to other applications."""

    def __init__(self, app: Application, *, keeps_prefix: bool) -> None:
        self._transport = httpx.ASGITransport(app=app)
        self._keeps_prefix = keeps_prefix

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path.startswith(f"{PREFIX}/"), f"{request.url} left the prefix"
        if not self._keeps_prefix:
            raw_path = request.url.raw_path.removeprefix(PREFIX.encode())
            request = httpx.Request(
                request.method,
                request.url.copy_with(raw_path=raw_path),
                headers=request.headers,
                stream=request.stream,
            )
        return await self._transport.handle_async_request(request)


@pytest.fixture
async def app(database: Database, sealer: Sealer, tmp_path: Path) -> AsyncIterator[Application]:
    mailbox = tmp_path / "mailbox"
    app = create_app(parts_on(database, sealer, public_url=HOST + PREFIX, mailbox_path=mailbox))
    assert isinstance(app, Application)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture(params=[True, False], ids=["kept", "removed"])
async def browser(
    request: pytest.FixtureRequest, app: Application
) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that reaches the application through a proxy only."""
    proxy = Proxy(app, keeps_prefix=request.param)
    async with httpx.AsyncClient(transport=proxy, base_url=HOST, follow_redirects=False) as client:
        yield client


@pytest.fixture
async def signed_in(browser: httpx.AsyncClient, database: Database) -> httpx.AsyncClient:
    """The browser of the first user, who chose a password."""
    async with database.transaction() as session:
        token = await users.create_login_link(session, now=await database.now(session))
    page = await browser.get(f"{PREFIX}/login/link?token={token}")
    (form,) = forms(page.text)
    answer = await browser.post(form.action, data=form.hidden)
    assert answer.headers["location"] == f"{PREFIX}/login/password"
    (form,) = forms((await browser.get(answer.headers["location"])).text)
    data = {**form.hidden, "email": EMAIL, "password": PASSWORD}
    answer = await browser.post(form.action, data=data)
    assert answer.headers["location"] == f"{PREFIX}/incidents"
    return browser


class Form:
    """A form of a page: its address and its hidden fields."""

    def __init__(self, html: str) -> None:
        self.action = unescape(re.findall(r'action="([^"]*)"', html)[0])
        pairs = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', html)
        self.hidden = {name: unescape(value) for name, value in pairs}


def forms(html: str) -> list[Form]:
    return [Form(one) for one in re.findall(r'<form[^>]*method="post".*?</form>', html, re.DOTALL)]


async def crawl(browser: httpx.AsyncClient, start: str) -> dict[str, int]:
    """The status of every address that pages name, from `start` on. Forms are not sent."""
    seen: dict[str, int] = {}
    ahead = [start]
    while ahead:
        url = ahead.pop()
        answer = await browser.get(url)
        seen[url] = answer.status_code
        is_page = "html" in answer.headers.get("content-type", "")
        found = TARGET.findall(answer.text) if is_page else []
        if "location" in answer.headers:
            found.append(answer.headers["location"])
        forms_of_page = {form.action for form in forms(answer.text)} if is_page else set()
        for target in (unescape(one) for one in found):
            if not target or urlsplit(target).scheme in ("data", "http", "https"):
                continue
            assert target.startswith(f"{PREFIX}/"), f"{target} on {url}"
            absolute = urljoin(url, target)
            if target not in forms_of_page and absolute not in (*seen, *ahead):
                ahead.append(absolute)
    return seen


async def test_every_address_that_a_page_names_is_served(
    signed_in: httpx.AsyncClient, project: CreatedProject
) -> None:
    caller = Caller(signed_in, project.api_key)
    await sent_below_the_prefix(caller)

    seen = await crawl(signed_in, f"{PREFIX}/")
    seen |= await crawl(signed_in, f"{PREFIX}/docs")

    paths = {urlsplit(url).path.removeprefix(PREFIX) for url in seen}
    wanted = {"/incidents", "/events", "/projects", "/audit", "/mailbox", "/account", "/docs"}
    assert wanted <= paths
    assert {"/login/password", "/account/security", "/docs/errors", "/openapi.json"} <= paths
    assert len([path for path in paths if path.startswith("/static/")]) == 6
    assert len([path for path in paths if re.fullmatch(r"/events/evt_\w+", path)]) == 1
    assert {url: status for url, status in seen.items() if status not in (200, 303)} == {}


async def sent_below_the_prefix(caller: Caller) -> None:
    """Send a receipt and its failed result through the proxy."""
    headers = {
        "Authorization": f"Bearer {caller.api_key}",
        "Accept": "application/json",
        "Idempotency-Key": "one",
    }
    receipt = {
        "provider": "stripe",
        "provider_event_id": "evt_1",
        "event_type": "invoice.paid",
        "effect_type": "credit_grant",
        "internal_reference": "order-1",
        "occurred_at": "2026-11-23T11:13:55Z",
    }
    url = f"{PREFIX}/api/v1/receipt"
    accepted = await caller.client.post(url, json=receipt, headers=headers)
    assert accepted.status_code == 202, accepted.text
    result = {"event_id": accepted.json()["event_id"], "status": "failed"}
    url = f"{PREFIX}/v1/result"
    assert (await caller.client.post(url, json=result, headers=headers)).status_code == 202


async def test_forms_lead_back_below_the_prefix(signed_in: httpx.AsyncClient) -> None:
    page = await signed_in.get(f"{PREFIX}/projects")
    form = next(one for one in forms(page.text) if one.action == f"{PREFIX}/projects")

    made = await signed_in.post(form.action, data={**form.hidden, "name": "Shop", "mode": "test"})
    shown = await signed_in.get(made.headers["location"])

    assert re.fullmatch(rf"{PREFIX}/projects/prj_\w+/start", made.headers["location"])
    assert "sk_test_" in shown.text


def sign_in_form(page: str) -> Form:
    """The form for the password; the other one is for a passkey."""
    (form,) = (form for form in forms(page) if form.action == f"{PREFIX}/login")
    return form


async def test_cookies_belong_to_the_prefix(signed_in: httpx.AsyncClient) -> None:
    """Other applications on the host do not receive the session."""
    cookies = {cookie.name: (cookie.path, cookie.secure) for cookie in signed_in.cookies.jar}

    assert cookies["__Secure-makegood_session"] == (PREFIX, True)
    assert {path for path, _ in cookies.values()} == {PREFIX}


async def test_sign_in_leads_back_below_the_prefix(
    signed_in: httpx.AsyncClient, database: Database
) -> None:
    signed_in.cookies.clear()

    asked = await signed_in.get(f"{PREFIX}/events?q=order-1")
    form = sign_in_form((await signed_in.get(asked.headers["location"])).text)
    data = {**form.hidden, "email": EMAIL, "password": PASSWORD}
    landed = await signed_in.post(form.action, data=data)
    updated = await signed_in.get(f"{PREFIX}/rail", headers={"HX-Request": "true"})

    assert asked.headers["location"].startswith(f"{PREFIX}/login?back=/events")
    assert landed.headers["location"] == f"{PREFIX}/events?q=order-1"
    assert updated.status_code == 200


@pytest.mark.parametrize("back", ["/events?q=a", f"{PREFIX}/events?q=a"])
async def test_page_to_return_to_has_the_prefix_once(
    signed_in: httpx.AsyncClient, database: Database, back: str
) -> None:
    signed_in.cookies.clear()
    sign_in = f"{PREFIX}/login?{urlencode({'back': back})}"

    form = sign_in_form((await signed_in.get(sign_in)).text)
    data = {**form.hidden, "email": EMAIL, "password": PASSWORD}
    by_password = await signed_in.post(form.action, data={**data, "back": back})
    signed_in.cookies.clear()
    await signed_in.get(sign_in)
    async with database.transaction() as session:
        token = await users.create_login_link(session, now=await database.now(session))
    (form,) = forms((await signed_in.get(f"{PREFIX}/login/link?token={token}")).text)
    await signed_in.post(form.action, data=form.hidden)
    choice = await signed_in.get(f"{PREFIX}/login/password")

    assert by_password.headers["location"] == f"{PREFIX}/events?q=a"
    assert f'href="{PREFIX}/events?q=a">Not now</a>' in choice.text


@pytest.mark.parametrize(
    ("back", "path"),
    [
        (f"{PREFIX}/events", "/events"),
        (f"{PREFIX}?a=b", "/incidents"),
        (f"{PREFIX}//evil.example", "/incidents"),
        (f"{PREFIX}er/events", f"{PREFIX}er/events"),
        (f"{PREFIX}{PREFIX}/events", f"{PREFIX}/events"),
        ("/events", "/events"),
    ],
)
def test_prefix_of_a_page_to_return_to_is_removed_once(
    database_url: str, back: str, path: str
) -> None:
    assert safe_return_path({"back": back}, prefix=PREFIX) == path
    assert safe_return_path({"back": back}, prefix="") == back


async def test_update_without_a_session_is_sent_to_sign_in_below_the_prefix(
    browser: httpx.AsyncClient,
) -> None:
    shown = {"HX-Request": "true", "HX-Current-URL": f"{HOST}{PREFIX}/events/evt_1"}

    answer = await browser.get(f"{PREFIX}/events/evt_1", headers=shown)

    assert answer.headers["hx-redirect"] == f"{PREFIX}/login?back=/events/evt_1"


async def test_openapi_names_the_server(browser: httpx.AsyncClient) -> None:
    served = (await browser.get(f"{PREFIX}/openapi.json")).json()

    assert served["servers"] == [{"url": HOST + PREFIX}]
    assert served == document(HOST + PREFIX)
    assert "servers" not in document(HOST)


async def test_error_links_to_its_page(browser: httpx.AsyncClient) -> None:
    problem = (await browser.get(f"{PREFIX}/api/v1/events")).json()

    assert problem["type"] == f"{HOST}{PREFIX}/docs/errors/unauthorized"
    assert (await browser.get(problem["type"])).status_code == 200


async def test_unknown_address_below_the_prefix_has_a_page(browser: httpx.AsyncClient) -> None:
    answer = await browser.get(f"{PREFIX}/nothing", headers={"Accept": "text/html"})

    assert answer.status_code == 404
    assert f'href="{PREFIX}/incidents"' in answer.text


async def test_port_without_prefix_stays_served(app: Application) -> None:
    """Health checks of containers call the port directly."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        alive = await client.get("/livez")
        longer = await client.get(f"{PREFIX}er/livez")

    assert (alive.status_code, longer.status_code) == (200, 404)


def test_every_link_of_a_template_begins_with_the_prefix(database_url: str) -> None:
    target = re.compile(r'(?:href|action|formaction|src|hx-get|hx-post)="([^"]*)"')
    # The run and the event are pages of other servers.
    allowed = ("{{ base }}", "{{ static(", "{{ run_url }}", "{{ provider_page.url }}", "#")

    wrong = {
        (path.name, link)
        for path in TEMPLATES.glob("*.html")
        for link in target.findall(path.read_text(encoding="utf-8"))
        if not link.startswith(allowed)
    }

    assert wrong == set()


async def test_own_paths_cannot_be_a_prefix(app: Application) -> None:
    """`config.fields` refuses a public URL whose path begins like one of these."""
    first_steps = {path.split("/")[1] for _, path in addresses(app)} - {""}

    assert first_steps == OWN_PATHS
