"""The API reference in a real browser: Redoc shows every operation, with this server's files only.

The page's policy is proved by its violations, which the browser reports as errors.
"""

import base64
import re
from collections.abc import AsyncIterator
from hashlib import sha384

import httpx
import pytest
from playwright.async_api import Page, expect

from api.app import create_app
from api.rest.openapi import document
from api.rest.reference_page import (
    FOREIGN_LOGO,
    REDOC,
    REDOC_INTEGRITY,
    STATIC,
    read_reference_page,
)
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.api.serving import parts_on, serving
from tests.console import browser

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

WAIT_MS = 30_000
COUNT_VIOLATIONS = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (violation) => {
        window.violations.push(violation.violatedDirective + " " + violation.blockedURI);
    });
"""


@pytest.fixture
async def client(database: Database, sealer: Sealer) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(create_app(parts_on(database, sealer))) as client:
        yield client


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with browser.chromium() as started:
        page = await started.new_page(viewport={"width": 1360, "height": 860})
        await page.add_init_script(COUNT_VIOLATIONS)
        yield page


async def test_reference_shows_every_operation_and_asks_no_other_server(
    client: httpx.AsyncClient, page: Page
) -> None:
    errors, asked = browser.console_errors_of(page), []
    page.on("request", lambda request: asked.append(request.url))

    await page.goto(f"{client.base_url}/docs")
    summaries = [
        operation["summary"] for item in document()["paths"].values() for operation in item.values()
    ]
    await expect(page.get_by_role("heading", name=summaries[-1])).to_be_visible(timeout=WAIT_MS)
    shown = await page.inner_text("body")

    assert [summary for summary in summaries if summary not in shown] == []
    assert [path for path in document()["paths"] if path not in shown] == []
    assert [address for address in asked if not _is_own(address, str(client.base_url))] == []
    assert len(asked) >= 3
    assert await page.evaluate("window.violations") == []
    assert errors == []


async def test_search_of_the_reference_runs_under_the_policy(
    client: httpx.AsyncClient, page: Page
) -> None:
    errors = browser.console_errors_of(page)
    await page.goto(f"{client.base_url}/docs")

    await page.get_by_placeholder("Search").fill("timeline")

    found = page.locator("[data-role='search:results']")
    await expect(found).to_contain_text("timeline", ignore_case=True, timeout=WAIT_MS)
    assert errors == []


async def test_script_is_cached_forever_and_its_name_has_its_hash(
    client: httpx.AsyncClient,
) -> None:
    [address] = re.findall(r'<script src="([^"]+)"', (await client.get("/docs")).text)

    script = await client.get(address)
    other = await client.get("/docs/static/redoc-0000000000000000.js")

    assert script.status_code == 200
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (other.status_code, other.headers["cache-control"]) == (404, "no-store")


def test_vendored_script_is_the_published_one_but_for_its_foreign_logo(database_url: str) -> None:
    published = (STATIC / REDOC).read_bytes()
    served = read_reference_page().script

    assert "sha384-" + base64.b64encode(sha384(published).digest()).decode() == REDOC_INTEGRITY
    assert published.count(FOREIGN_LOGO) == 1
    assert FOREIGN_LOGO not in served
    assert len(published) - len(served) == len(FOREIGN_LOGO) - len("data:,")


def test_licence_lies_beside_the_script(database_url: str) -> None:
    licence = (STATIC / "redoc-LICENSE.txt").read_text(encoding="utf-8")

    assert "The MIT License" in licence
    assert 'Version: "2.5.4"' in licence


def _is_own(address: str, base: str) -> bool:
    return address.startswith((base, f"blob:{base}", "data:"))
