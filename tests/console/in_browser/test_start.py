"""The checklist in a browser: it ticks while its reader selects the code, and keeps the key."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.cli.api_process import running_api
from tests.console import browser
from tests.console.in_browser.installation import Installation
from tests.console.in_browser.test_touch_targets import TOO_SMALL

pytestmark = pytest.mark.asyncio(loop_scope="module")

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SELECT = """() => {
  const code = [...document.querySelectorAll("#step-receipt pre")].find((one) => one.offsetParent);
  getSelection().selectAllChildren(code);
}"""
SELECTED = "() => getSelection().toString()"
# What a reader pastes into a shell.
CODE = """() => [...document.querySelectorAll("#step-receipt pre")]
  .find((one) => one.offsetParent).textContent"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    browser.find_chromium()
    data_dir = tmp_path_factory.mktemp("start") / "data"
    with running_api(data_dir, MAKEGOOD_EGRESS_ALLOW="127.0.0.0/8") as makegood:
        yield Installation(makegood, f"http://127.0.0.1:{makegood.settings['MAKEGOOD_PORT']}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(installation: Installation) -> AsyncIterator[Page]:
    """A signed-in browser."""
    async with browser.chromium() as chromium:
        page = await chromium.new_page(viewport={"width": 1360, "height": 860})
        page.set_default_timeout(15_000)
        await installation.sign_in_by_link(page)
        yield page


@pytest.mark.timeout(180)
async def test_step_ticks_while_its_code_is_selected_and_the_key_stays(
    installation: Installation, page: Page
) -> None:
    errors = browser.console_errors_of(page)
    await page.goto(f"{installation.url}/projects")
    await page.get_by_label("Name").fill("Berlin")
    await page.get_by_role("button", name="Create project").click()
    await expect(page.get_by_role("heading", name="Get started")).to_be_visible()
    await page.get_by_label("Python").check()
    await page.get_by_role("button", name="Create a key for this code").click()
    await expect(page.get_by_label("Python")).to_be_checked()
    key = await page.locator('[data-secret="API key"]').inner_text()
    await page.evaluate(SELECT)
    before = await page.evaluate(SELECTED)
    await expect(page.locator("#step-receipt")).to_have_class("next")

    send(installation, key)
    await expect(page.locator("#step-receipt")).to_have_class("done", timeout=20_000)

    assert key in before
    assert await page.evaluate(SELECTED) == before
    assert key in await page.evaluate(CODE)
    await expect(page.locator("#step-result")).to_have_class("next")
    await expect(page.get_by_label("Python")).to_be_checked()
    assert errors == []


def send(installation: Installation, key: str) -> None:
    sent = installation.makegood(
        *("receipt", "send", "--key", key, "--event-id", "evt_first", "--reference", "order-1001"),
        *("--event-type", "invoice.paid", "--effect-type", "credit_grant", "--json"),
    )
    assert sent.code == 0, sent.err


@pytest.mark.timeout(120)
async def test_focus_stays_while_the_page_updates(installation: Installation, page: Page) -> None:
    copy = page.locator("#step-result .copy:visible")
    await copy.focus()

    async with page.expect_response(lambda answer: "/start" in answer.url):
        pass

    await expect(copy).to_be_focused()


@pytest.mark.timeout(120)
async def test_one_language_is_shown_and_chosen_by_keyboard(page: Page) -> None:
    await page.get_by_label("curl").check()
    await page.keyboard.press("ArrowRight")

    await expect(page.get_by_label("Node.js")).to_be_checked()
    shown = page.locator("#step-receipt .snippet:visible")
    await expect(shown).to_have_count(1)
    await expect(shown).to_contain_text('import { Makegood } from "makegood-client"')


@pytest.mark.timeout(120)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_phone_has_large_targets_and_does_not_scroll_sideways(
    page: Page, scheme: str
) -> None:
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    start = page.url
    project = start.partition("/start")[0]

    for address in (start, project, f"{project.partition('/projects')[0]}/instance"):
        await page.goto(address)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert await page.evaluate(OVERFLOW) <= 0, address
        assert await page.evaluate(TOO_SMALL) == [], address
    await page.goto(start)


@pytest.mark.timeout(120)
async def test_section_saves_its_own_settings_and_comes_back_to_it(
    installation: Installation, page: Page
) -> None:
    await page.set_viewport_size({"width": 1360, "height": 860})
    await page.goto(page.url.partition("/start")[0])
    await page.get_by_label("Result deadline, in minutes").fill("5")
    await page.get_by_role("button", name="Save deadlines").click()

    await expect(page.get_by_text("Settings saved.")).to_be_visible()
    assert page.url.endswith("#deadlines")
    await expect(page.get_by_label("Result deadline, in minutes")).to_have_value("5")
