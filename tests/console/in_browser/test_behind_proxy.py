"""A public URL with a path, through a real nginx and in a real browser.

nginx keeps the prefix or removes it. Any request outside the prefix gets nginx's 404.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.cli.api_process import running_api
from tests.console import browser
from tests.console.in_browser.installation import REFERENCE, Installation
from tests.support.nginx import find_nginx, running_nginx
from tests.support.processes import free_ports

PREFIX = "/tools/makegood"
WAIT_MS = 15_000


@pytest.fixture(
    params=[
        pytest.param(True, id="kept"),
        # `tests/api/http/test_path_prefix.py` has both, without nginx and a browser.
        pytest.param(False, id="removed", marks=pytest.mark.long),
    ]
)
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    browser.find_chromium()
    find_nginx()
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}{PREFIX}"
    settings = {"MAKEGOOD_PUBLIC_URL": url, "MAKEGOOD_EGRESS_ALLOW": "127.0.0.0/8"}
    with running_api(tmp_path / "data", **settings) as makegood:
        api_port = int(makegood.settings["MAKEGOOD_PORT"])
        with running_nginx(port=port, api_port=api_port, prefix=PREFIX, keeps_prefix=request.param):
            yield Installation(makegood, url)


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with browser.chromium() as started:
        yield started


@pytest.mark.timeout(180)
async def test_console_works_under_a_path_prefix(
    installation: Installation, chromium: Browser
) -> None:
    context = await chromium.new_context()
    context.set_default_timeout(WAIT_MS)
    requested: list[str] = []
    context.on("request", lambda request: requested.append(request.url))
    page = await context.new_page()
    errors = browser.console_errors_of(page)

    await page.goto(installation.url)
    await expect(page).to_have_url(f"{installation.url}/login")
    await installation.sign_in_by_link(page)
    event_id = installation.open_incident()
    await follow_the_list_to_the_event(installation, page, event_id)
    await act_on_the_incident(installation, page, event_id)
    await return_to_the_event_after_signing_in(installation, page, event_id)
    await read_the_reference(installation, page)

    cookies = {cookie["name"]: cookie["path"] for cookie in await context.cookies()}
    assert cookies["makegood_session"] == PREFIX
    assert set(cookies.values()) == {PREFIX}
    inside = (f"{installation.url}/", "data:", "blob:")
    left = [url for url in requested if not url.startswith(inside) and url != installation.url]
    assert left == []
    assert errors == []


async def follow_the_list_to_the_event(
    installation: Installation, page: Page, event_id: str
) -> None:
    # The list updates itself: the page is not loaded again.
    await page.get_by_role("link", name=REFERENCE).click()
    # It names the list, for the links to the incidents before and after.
    await expect(page).to_have_url(f"{installation.url}/events/{event_id}?list=")


async def act_on_the_incident(installation: Installation, page: Page, event_id: str) -> None:
    await page.get_by_role("button", name="Acknowledge", exact=True).click()
    await expect(page.get_by_text("Acknowledged. Other members")).to_be_visible()
    # No worker runs, so nothing would call the repair endpoint.
    await expect(page.get_by_text("No worker is running. A repair starts")).to_be_visible()
    await page.get_by_text("Reprocess…").click()
    await page.get_by_role("button", name="Reprocess", exact=True).click()
    await expect(page).to_have_url(f"{installation.url}/events/{event_id}?list=")
    await expect(page.get_by_text("The repair endpoint is not being called")).to_be_visible()
    await expect(page.get_by_text("Calling the repair endpoint", exact=True)).to_have_count(0)


async def return_to_the_event_after_signing_in(
    installation: Installation, page: Page, event_id: str
) -> None:
    await page.get_by_role("button", name="Sign out").click()
    await expect(page).to_have_url(f"{installation.url}/login")
    # The link of an alert.
    await page.goto(f"{installation.url}/events/{event_id}")
    await installation.sign_in_by_password(page)
    await expect(page).to_have_url(f"{installation.url}/events/{event_id}")


async def read_the_reference(installation: Installation, page: Page) -> None:
    await page.goto(f"{installation.url}/docs")
    await expect(page.get_by_role("heading", name="Send a receipt")).to_be_visible()
    await expect(page.get_by_text(f"{installation.url}/api/v1/receipt").first).to_be_attached()
    await page.get_by_role("link", name="Error codes").click()
    await page.get_by_role("link", name="receipt_conflict").click()
    await expect(page).to_have_url(f"{installation.url}/docs/errors/receipt_conflict")
