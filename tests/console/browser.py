"""A headless Chromium found on this machine, driven by Playwright; what its console complains about fails the test."""

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
    """The path of a Chromium; the test is skipped when there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine: none of " + ", ".join(NAMES))
    return found


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser without a window, closed afterwards."""
    path = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(SWITCHES))
        try:
            yield browser
        finally:
            await browser.close()


def complaints_of(page: Page) -> list[str]:
    """What scripts and policies complain about on this page, from now on; a refused form's own status is no complaint."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    return complaints


async def keep_picture(page: Page, name: str) -> Path:
    """A screenshot under `artefacts/`, which is not committed."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    path = ARTEFACTS / f"{name}.png"
    await page.screenshot(path=path, full_page=True)
    return path


async def keep_schemes(page: Page, name: str) -> None:
    """Screenshots in light, in dark, and as narrow as a phone."""
    await keep_picture(page, f"{name}-light")
    await page.emulate_media(color_scheme="dark")
    await keep_picture(page, f"{name}-dark")
    await page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    await keep_picture(page, f"{name}-phone-dark")
    await page.emulate_media(color_scheme="light")
    await keep_picture(page, f"{name}-phone")
    await page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
