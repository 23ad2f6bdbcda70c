"""Passkeys in a real browser with a virtual authenticator (CDP), and the zone that the browser has.

The API listens on a loopback address, for which `localhost` is the host of passkeys.
"""

import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, CDPSession, Locator, Page, expect

from tests.cli.api_process import running_api
from tests.cli.makegood import Makegood
from tests.console import browser
from tests.console.conftest import EMAIL, PASSWORD
from tests.console.in_browser.test_touch_targets import TOO_SMALL

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@dataclass(frozen=True, slots=True)
class Desk:
    """A browser with an authenticator, and the installation. `codes` are unused recovery codes."""

    makegood: Makegood
    url: str
    page: Page
    devtools: CDPSession
    authenticator: str
    codes: list[str]

    async def open(self, path: str) -> None:
        await self.page.goto(self.url + path)

    async def press(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def sign_out(self) -> None:
        await self.press("Sign out")
        await expect(self.page).to_have_url(f"{self.url}/login")

    async def give_password(self) -> None:
        await self.page.get_by_label("Email").fill(EMAIL)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.press("Sign in")

    async def credential(self) -> dict[str, Any]:  # JSON
        """The only passkey of the authenticator."""
        named = {"authenticatorId": self.authenticator}
        (found,) = (await self.devtools.send("WebAuthn.getCredentials", named))["credentials"]
        return dict(found)

    async def set_verified(self, is_verified: bool) -> None:
        """Whether the authenticator recognizes its user."""
        named = {"authenticatorId": self.authenticator, "isUserVerified": is_verified}
        await self.devtools.send("WebAuthn.setUserVerified", named)

    def write(self, statement: str) -> None:
        """Change the store beside the API."""
        path = Path(self.makegood.settings["MAKEGOOD_DATA_DIR"]) / "makegood.db"
        with sqlite3.connect(path, timeout=10) as connection:
            connection.execute(statement)

    def actions(self) -> list[str]:
        """The actions of the audit log, the newest first."""
        listed = self.makegood("audit", "list", "--limit", "20", "--json").json["data"]
        return [entry["action"] for entry in listed]


@pytest.fixture(scope="module")
def makegood(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Makegood]:
    browser.find_chromium()
    with running_api(tmp_path_factory.mktemp("passkeys") / "data") as makegood:
        yield makegood


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(makegood: Makegood) -> AsyncIterator[Browser]:
    async with browser.chromium() as chromium:
        yield chromium


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(makegood: Makegood, chromium: Browser) -> Desk:
    """A user with a password, who has added a passkey with the browser."""
    url = f"http://localhost:{makegood.settings['MAKEGOOD_PORT']}"
    context = await chromium.new_context(timezone_id="Asia/Tokyo")
    page = await context.new_page()
    devtools = await context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    added = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    codes: list[str] = []
    desk = Desk(makegood, url, page, devtools, added["authenticatorId"], codes)
    (link,) = re.findall(r"http\S+", makegood("user", "link").out)
    await page.goto(link.replace("127.0.0.1", "localhost"))
    await desk.press("Sign in")
    await page.get_by_label("Email").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await desk.press("Save and continue")
    await expect(page).to_have_url(f"{url}/incidents")
    await desk.open("/account")
    await desk.press("Add a passkey…")
    await expect(page.get_by_label("Name")).to_have_value("Chrome on Linux")
    await page.get_by_label("Name").fill("Work laptop")
    await desk.press("Create passkey")
    await expect(page).to_have_url(f"{url}/account")
    codes += await page.locator("code[data-secret]").all_inner_texts()
    assert len(codes) == 10
    return desk


async def test_passkey_signs_in_with_one_click_and_without_a_code(desk: Desk) -> None:
    errors = browser.console_errors_of(desk.page)
    await desk.open("/account")
    await expect(passkeys_of(desk.page)).to_contain_text("Work laptop")
    await expect(passkeys_of(desk.page)).to_contain_text("Never")
    stored = await desk.credential()
    await desk.sign_out()

    await desk.open("/projects?x=1")
    await desk.press("Sign in with a passkey")

    await expect(desk.page).to_have_url(f"{desk.url}/projects?x=1")
    assert (stored["rpId"], stored["isResidentCredential"]) == ("localhost", True)
    assert desk.actions()[0] == "signed_in"
    await desk.open("/account")
    await expect(passkeys_of(desk.page)).to_contain_text("just now")
    assert errors == []


def passkeys_of(page: Page) -> Locator:
    return page.locator("#passkeys table")


async def test_password_asks_for_the_passkey(desk: Desk) -> None:
    errors = browser.console_errors_of(desk.page)
    await desk.open("/account")
    await desk.sign_out()
    await desk.give_password()
    await expect(desk.page.get_by_role("heading", name="Confirm your sign-in")).to_be_visible()

    await desk.press("Use a passkey")

    await expect(desk.page).to_have_url(f"{desk.url}/incidents")
    assert errors == []


async def test_sensitive_action_is_confirmed_by_the_passkey(desk: Desk) -> None:
    errors = browser.console_errors_of(desk.page)
    desk.write("UPDATE sessions SET proved_at = 0")
    await desk.open("/projects")
    await desk.page.get_by_label("Name").fill("Acme Cloud")
    await desk.press("Create project")
    await expect(desk.page.get_by_role("heading", name="Confirm it's you")).to_be_visible()

    await desk.press("Use a passkey")

    await expect(desk.page.locator("code[data-secret]").first).to_be_visible()
    await expect(desk.page.get_by_role("heading", name="Acme Cloud")).to_be_visible()
    assert errors == []


async def test_prompt_that_fails_says_so_and_can_be_repeated(desk: Desk) -> None:
    await desk.open("/account")
    await desk.sign_out()
    await desk.set_verified(False)
    await desk.press("Sign in with a passkey")
    problem = desk.page.get_by_role("alert")
    await expect(problem).to_contain_text("No passkey was used")
    await expect(desk.page).to_have_url(f"{desk.url}/login")

    await desk.set_verified(True)
    await desk.press("Sign in with a passkey")

    await expect(desk.page).to_have_url(f"{desk.url}/incidents")


async def test_device_that_has_a_passkey_already_makes_no_second(desk: Desk) -> None:
    await desk.open("/account")
    await desk.press("Add a passkey…")

    await desk.press("Create passkey")

    await expect(desk.page.get_by_role("alert")).to_have_text(
        "This device already has a passkey for your account."
    )
    await desk.open("/account")
    await expect(passkeys_of(desk.page).locator("tbody tr")).to_have_count(1)


async def test_copy_of_the_passkey_is_refused_and_recorded(desk: Desk) -> None:
    """The copy begins to count where the passkey was when it was copied."""
    await desk.open("/account")
    await desk.sign_out()
    copied = await desk.credential()
    await desk.press("Sign in with a passkey")
    await expect(desk.page).to_have_url(f"{desk.url}/incidents")
    await desk.sign_out()
    original = await desk.credential()
    named = {"authenticatorId": desk.authenticator}
    removed = {**named, "credentialId": copied["credentialId"]}

    await desk.devtools.send("WebAuthn.removeCredential", removed)
    await desk.devtools.send("WebAuthn.addCredential", {**named, "credential": copied})
    await desk.press("Sign in with a passkey")

    await expect(desk.page.get_by_role("alert").first).to_contain_text("it may have been copied")
    assert desk.actions()[:2] == ["sign_in_failed", "passkey_counter_refused"]
    await desk.devtools.send("WebAuthn.removeCredential", removed)
    await desk.devtools.send("WebAuthn.addCredential", {**named, "credential": original})
    await desk.press("Sign in with a passkey")
    await expect(desk.page).to_have_url(f"{desk.url}/incidents")


async def test_other_name_of_the_host_says_where_passkeys_work(
    desk: Desk, chromium: Browser
) -> None:
    page = await chromium.new_page()
    await page.goto(f"{desk.url.replace('localhost', '127.0.0.1')}/login")

    await page.get_by_role("button", name="Sign in with a passkey").click()

    await expect(page.get_by_role("alert")).to_have_text(
        f"Passkeys work at {desk.url} only. Open the console there."
    )
    await page.close()


async def test_everything_else_works_without_javascript(desk: Desk, chromium: Browser) -> None:
    context = await chromium.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{desk.url}/login")
    await expect(page.get_by_text("Passkeys need JavaScript.", exact=True)).to_be_visible()
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("alert").first).to_contain_text("Passkeys need JavaScript, and")
    await page.get_by_label("Email").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.get_by_label("Recovery code").fill(desk.codes.pop())
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.goto(f"{desk.url}/account")

    await expect(page.get_by_label("Time zone")).to_have_value("UTC")
    await page.get_by_label("Language of dates").select_option(label="ISO 8601")
    await page.locator("#dates").get_by_role("button", name="Save").click()

    await expect(page.locator("#dates time")).to_have_text(
        re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
    )
    await context.close()
    desk.write("UPDATE users SET time_zone = NULL, date_language = NULL")


async def test_browser_offers_its_zone_and_pages_follow_once_it_is_saved(desk: Desk) -> None:
    errors = browser.console_errors_of(desk.page)
    await desk.open("/account")
    zones, now = desk.page.get_by_label("Time zone"), desk.page.locator("#dates time")
    await expect(zones).to_have_value("Asia/Tokyo")
    await expect(now).to_have_text(re.compile(" UTC$"))  # nothing is saved yet

    await desk.page.locator("#dates").get_by_role("button", name="Save").click()

    await expect(now).to_have_text(re.compile(r"\d{1,2} \w{3} \d{4}, \d\d:\d\d:\d\d JST"))
    await expect(now).to_have_attribute("title", re.compile(r", \d\d:\d\d:\d\d UTC$"))
    await desk.open("/audit")
    await expect(desk.page.locator("tbody time").first).to_contain_text("JST")
    assert errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/account", "/account/passkeys/new", "/login"])
async def test_pages_fit_a_phone(desk: Desk, path: str, scheme: str) -> None:
    await desk.page.set_viewport_size({"width": 360, "height": 740})
    await desk.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    if path == "/account/passkeys/new":
        await desk.open("/account")
        await desk.press("Add a passkey…")
    await desk.open(path)

    assert await desk.page.evaluate(SIDEWAYS) <= 0
    assert await desk.page.evaluate(TOO_SMALL) == []
    await desk.page.set_viewport_size({"width": browser.DESKTOP[0], "height": browser.DESKTOP[1]})
