"""The list of incidents in a browser: one line of 44 px, by keyboard, refreshed, on a phone."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.cli.api_process import running_api
from tests.console import browser
from tests.console.in_browser.installation import REFERENCE, Installation

pytestmark = pytest.mark.asyncio(loop_scope="module")

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    browser.find_chromium()
    data_dir = tmp_path_factory.mktemp("incident_list") / "data"
    with running_api(data_dir, MAKEGOOD_EGRESS_ALLOW="127.0.0.0/8") as makegood:
        yield Installation(makegood, f"http://127.0.0.1:{makegood.settings['MAKEGOOD_PORT']}")


@pytest.fixture(scope="module")
def event_id(installation: Installation) -> str:
    return installation.open_incident()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(installation: Installation, event_id: str) -> AsyncIterator[Page]:
    """A signed-in browser, after the incident has opened."""
    async with browser.chromium() as chromium:
        page = await chromium.new_page(viewport={"width": 1440, "height": 900})
        await installation.sign_in_by_link(page)
        yield page


@pytest.mark.timeout(120)
async def test_row_is_one_line_and_is_chosen_and_opened_by_keyboard(
    installation: Installation, page: Page, event_id: str
) -> None:
    errors = browser.console_errors_of(page)
    await page.set_viewport_size({"width": 1440, "height": 900})
    await page.goto(f"{installation.url}/incidents?view=flat")
    row, picked = page.locator("tbody tr"), page.locator("tbody input[type=checkbox]")
    box = await row.bounding_box()
    assert box is not None
    assert round(box["height"]) in (44, 45)  # with the line below it

    await page.keyboard.press("/")
    await expect(page.get_by_label("Search")).to_be_focused()
    await page.keyboard.press("Escape")
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("j")
    await page.keyboard.press("x")
    await expect(picked).to_be_checked()
    # The list refreshes itself, and keeps what was chosen.
    async with page.expect_response(lambda answer: "/incidents" in answer.url):
        pass
    await expect(picked).to_be_checked()
    await page.keyboard.press("Enter")

    await expect(page).to_have_url(f"{installation.url}/events/{event_id}?list=view%3Dflat")
    assert errors == []


@pytest.mark.timeout(120)
async def test_search_completes_its_last_word(installation: Installation, page: Page) -> None:
    await page.goto(f"{installation.url}/incidents?view=flat")
    await page.get_by_label("Search").press_sequentially("order is:o")

    values = "all => all.map(one => one.value)"
    offered = await page.eval_on_selector_all("#search-tokens option", values)

    assert "order is:open" in offered


@pytest.mark.timeout(120)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_phone_shows_reference_effect_and_mode_without_scrolling_sideways(
    installation: Installation, page: Page, scheme: str
) -> None:
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await page.goto(f"{installation.url}/incidents?view=flat")

    assert await page.evaluate(OVERFLOW) <= 0
    await expect(page.get_by_role("link", name=REFERENCE)).to_be_visible()
    await expect(page.get_by_text("Credits not granted")).to_be_visible()
    await expect(page.locator(".tag-test").first).to_be_visible()
    first = await page.locator("tbody tr").bounding_box()
    assert first is not None
    # Before: 490 of 740 px.
    assert first["y"] < 420
