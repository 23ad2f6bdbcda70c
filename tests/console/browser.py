"""A headless Chromium of this machine, driven by Playwright.

Errors in its console fail the test.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

ROOT = Path(__file__).parent.parent.parent
ARTEFACTS = ROOT / "artefacts" / "console"
PICTURE = ROOT / "docs" / "pictures" / "console.png"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = (1360, 860)
PHONE = (390, 844)


def find_chromium() -> str:
    """The path of a Chromium. Skips the test without one."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine: none of " + ", ".join(NAMES))
    return found


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A headless browser, closed at the end."""
    path = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(SWITCHES))
        try:
            yield browser
        finally:
            await browser.close()


def console_errors_of(page: Page) -> list[str]:
    """Script and policy errors of this page from now on. The list grows."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console", lambda message: errors.append(message.text) if message.type == "error" else None
    )
    return errors


async def save_screenshot(page: Page, name: str) -> Path:
    """Save a screenshot under `artefacts/`, which is not committed."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    path = ARTEFACTS / f"{name}.png"
    await page.screenshot(path=path, full_page=True)
    return path


async def save_screenshots(page: Page, name: str) -> None:
    """Save screenshots in light and dark, on desktop and phone."""
    await save_screenshot(page, f"{name}-light")
    await page.emulate_media(color_scheme="dark")
    await save_screenshot(page, f"{name}-dark")
    await page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    await save_screenshot(page, f"{name}-phone-dark")
    await page.emulate_media(color_scheme="light")
    await save_screenshot(page, f"{name}-phone")
    await page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
