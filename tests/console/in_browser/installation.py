"""An API process without a worker, a user with a password, and one open incident."""

import re
from dataclasses import dataclass

from playwright.async_api import Page, expect

from tests.cli.makegood import Makegood
from tests.console.conftest import EMAIL, PASSWORD

REFERENCE = "order-10482"


@dataclass(frozen=True, slots=True)
class Installation:
    """A running API and its public URL, which has no trailing slash."""

    makegood: Makegood
    url: str

    def open_incident(self) -> str:
        """Create a project, send a receipt and a failed result. Returns the event id.

        Everything goes through the public URL, as an app sends it.
        """
        made = self.makegood(
            *("project", "create", "Acme Cloud", "--mode", "test", "--json"),
            *("--repair-url", "http://127.0.0.1:9/repair"),
        ).json
        key = ("--key", made["api_key"])
        sent = self.makegood(
            *("receipt", "send", *key, "--event-id", "evt_1", "--reference", REFERENCE),
            *("--event-type", "invoice.paid", "--effect-type", "credit_grant", "--json"),
        ).json
        event_id = str(sent["event_id"])
        failed = ("--status", "failed", "--error-code", "seat_limit")
        answer = self.makegood("result", "send", *key, "--event-id", event_id, *failed, "--json")
        assert answer.code == 0, answer.err
        return event_id

    async def sign_in_by_link(self, page: Page) -> None:
        """Sign in with a printed link, and choose a password."""
        (link,) = re.findall(r"http\S+", self.makegood("user", "link").out)
        assert link.startswith(f"{self.url}/login/link?token=")
        await page.goto(link)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_label("Email").fill(EMAIL)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Save and continue").click()
        await expect(page).to_have_url(f"{self.url}/incidents")

    async def sign_in_by_password(self, page: Page) -> None:
        """Sign in on the sign-in page that the browser shows."""
        await page.get_by_label("Email").fill(EMAIL)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
