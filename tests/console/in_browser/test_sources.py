"""A source from its set-up to its report, in a real browser: by keyboard, at 360 px, in the dark.

Stripe's deliveries are real ones: signed, to the source's address.
"""

import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from cli.commands.stripe_events import body_of, stripe_event
from cli.commands.trigger import post_event
from tests.cli.api_process import running_api
from tests.console import browser
from tests.console.in_browser.installation import Installation
from tests.console.in_browser.test_touch_targets import TOO_SMALL

SECRET = "whsec_of-the-destination-at-stripe"
SIDEWAYS = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
WAIT_MS = 15_000


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    browser.find_chromium()
    with running_api(tmp_path / "data", MAKEGOOD_EGRESS_ALLOW="127.0.0.0/8") as makegood:
        yield Installation(makegood, f"http://127.0.0.1:{makegood.settings['MAKEGOOD_PORT']}")


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with browser.chromium() as chromium:
        opened = await chromium.new_page(
            viewport={"width": browser.DESKTOP[0], "height": browser.DESKTOP[1]}
        )
        opened.set_default_timeout(WAIT_MS)
        yield opened


@pytest.mark.timeout(180)
async def test_source_is_set_up_and_shows_what_it_saw(
    installation: Installation, page: Page
) -> None:
    errors = browser.console_errors_of(page)
    await installation.sign_in_by_link(page)
    installation.open_incident()
    await add_by_keyboard(page, installation)
    address = await page.locator(".steps .to-copy code").inner_text()
    assert re.fullmatch(rf"{installation.url}/hooks/src_[0-9a-f]{{32}}", address)
    await save_secret(page)

    await deliver(address)
    await page.reload()

    await expect(page.get_by_text("Working", exact=True)).to_be_visible()
    await expect(page.locator("svg rect.bar-awaited")).to_have_count(1)
    await page.get_by_text("Show as a table").focus()
    await page.keyboard.press("Enter")
    await page.locator(".days tbody a").first.click()
    await expect(page.locator("#report dd").first).to_have_text("3")
    await expect(page.get_by_text("EUR 147.00")).to_be_visible()
    await look_at_every_page(page, installation)
    assert errors == []


async def add_by_keyboard(page: Page, installation: Installation) -> None:
    """Go from the project to its sources, and add one, without a pointer."""
    await page.goto(f"{installation.url}/projects")
    await page.get_by_role("link", name="Acme Cloud").focus()
    await page.keyboard.press("Enter")
    for link in ("Sources", "Stripe webhook"):
        await page.get_by_role("main").get_by_role("link", name=link, exact=True).focus()
        await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Stripe webhook")).to_be_visible()
    await page.get_by_label("Expected events").fill(
        "invoice.paid credit_grant 15 /data/object/metadata/reference"
    )
    await page.get_by_label("Name").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Source added.")).to_be_visible()


async def save_secret(page: Page) -> None:
    await page.get_by_label("Signing secret").fill(SECRET)
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Settings saved.")).to_be_visible()


async def deliver(address: str) -> None:
    """Three events, as Stripe delivers them. They are no older than the source."""
    at = int(time.time()) + 1
    for number in range(3):
        event = stripe_event("invoice.paid", reference=f"order-{number}", at=at)
        body = body_of(event)
        assert post_event(address, secret=SECRET, body=body, at=int(time.time())) == 200


async def look_at_every_page(page: Page, installation: Installation) -> None:
    """No page is wider than a phone, and no target too small."""
    source = page.url.partition("?")[0].partition("#")[0]
    listed = source.rpartition("/")[0]
    await page.goto(f"{installation.url}/events?state=expected")
    event = await page.locator("a.row-link").first.get_attribute("href")
    pages = {
        "sources": listed,
        "source-new": f"{listed}/new?kind=stripe_api",
        "source": source,
        "source-event": f"{installation.url}{event}",
    }
    for name, address in pages.items():
        await page.goto(address)
        await browser.save_screenshots(page, name)
        await page.set_viewport_size({"width": 360, "height": 740})
        assert await page.evaluate(SIDEWAYS) <= 0, name
        assert await page.evaluate(TOO_SMALL) == [], name
        await page.set_viewport_size({"width": browser.DESKTOP[0], "height": browser.DESKTOP[1]})
