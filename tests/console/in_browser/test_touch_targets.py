"""WCAG 2.2, 2.5.8 at 360 px: links, buttons and fields are 24 px high and wide, or far apart."""

import re
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.cli.api_process import running_api
from tests.console import browser
from tests.console.in_browser.installation import Installation

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A smaller target is allowed in a sentence, or if a circle of 24 px around its centre touches no
# other target and no circle of another small one (the exceptions "inline" and "spacing").
TOO_SMALL = """() => {
  const inSentence = (one) => {
    const text = one.tagName === "A" && one.parentElement.closest("p, .hint, .lede");
    return Boolean(text) && text.textContent.trim().length > one.textContent.trim().length;
  };
  const shown = [...document.querySelectorAll("a[href], button, summary, input, select, textarea")]
    .filter((one) => one.type !== "hidden" && one.checkVisibility())
    .filter((one) => !inSentence(one));
  const targets = shown.map((one) => {
    const box = one.getBoundingClientRect();
    const small = box.width < 24 || box.height < 24;
    return { one, box, small, x: box.x + box.width / 2, y: box.y + box.height / 2 };
  }).filter(({ box }) => box.width > 0 && box.height > 0);
  const near = (a, b) => {
    if (b.small && Math.hypot(a.x - b.x, a.y - b.y) < 24) return true;
    const dx = Math.max(b.box.left - a.x, 0, a.x - b.box.right);
    const dy = Math.max(b.box.top - a.y, 0, a.y - b.box.bottom);
    return Math.hypot(dx, dy) < 12;
  };
  const apart = (a, b) => a === b || a.one.contains(b.one) || b.one.contains(a.one) || !near(a, b);
  return targets.filter((a) => a.small && !targets.every((b) => apart(a, b)))
    .map(({ one, box }) => `${one.outerHTML.slice(0, 120)} ${box.width}x${box.height}`);
}"""
PAGES = (
    *("/overview", "/incidents", "/events", "/projects", "/audit"),
    *("/account", "/account/security"),
)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    browser.find_chromium()
    data_dir = tmp_path_factory.mktemp("touch_targets") / "data"
    with running_api(data_dir, MAKEGOOD_EGRESS_ALLOW="127.0.0.0/8") as makegood:
        yield Installation(makegood, f"http://127.0.0.1:{makegood.settings['MAKEGOOD_PORT']}")


@pytest.fixture(scope="module")
def event_id(installation: Installation) -> str:
    return installation.open_incident()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(installation: Installation, event_id: str) -> AsyncIterator[Page]:
    """A phone, signed in, after the incident has opened."""
    async with browser.chromium() as chromium:
        page = await chromium.new_page(viewport={"width": 360, "height": 740})
        await installation.sign_in_by_link(page)
        yield page


@pytest.mark.timeout(120)
async def test_targets_are_large_enough_on_a_phone(
    installation: Installation, page: Page, event_id: str
) -> None:
    project_id = installation.makegood("project", "list", "--json").json["data"][0]["project_id"]

    small = {}
    for path in (*PAGES, f"/events/{event_id}", f"/projects/{project_id}"):
        await page.goto(f"{installation.url}{path}")
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        if found := await page.evaluate(TOO_SMALL):
            small[path] = found

    assert small == {}


@pytest.mark.timeout(120)
async def test_link_in_a_row_is_above_the_link_of_the_row(
    installation: Installation, page: Page
) -> None:
    await page.goto(f"{installation.url}/projects")

    await page.get_by_role("link", name="1 open").click()

    await expect(page).to_have_url(re.compile(r"/incidents\?project=prj_"))


@pytest.mark.timeout(120)
async def test_links_of_the_audit_log_are_24_px_high(
    installation: Installation, page: Page
) -> None:
    await page.goto(f"{installation.url}/audit")

    links = page.locator(".audit td a")
    heights = [(await link.bounding_box() or {"height": 0})["height"] for link in await links.all()]

    assert len(heights) > 3
    assert [height for height in heights if height < 24] == []
