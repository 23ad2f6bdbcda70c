"""The console in a real browser on a running instance, from first sign-in to a repaired incident.

Self-updating pages are not reloaded. Screenshots are saved under `artefacts/console/`. The picture
of the README is updated if MAKEGOOD_KEEP_PICTURES=1.
"""

import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.console import browser
from tests.console.conftest import EMAIL, PASSWORD
from tests.console.receiver import Receiver, receiving
from tests.support.processes import free_ports, python, running
from tests.support.waiting import wait_until_async

WAIT_MS = 15_000
REFERENCE = "order-10482"


@dataclass(frozen=True, slots=True)
class Instance:
    """A running installation: its address, a sign-in link and the repair endpoint."""

    url: str
    login_url: str
    receiver: Receiver


@dataclass(frozen=True, slots=True)
class Project:
    """A project created in the console, and its API key."""

    url: str
    api_key: str

    async def post(self, instance: Instance, what: str, **body: object) -> dict[str, object]:
        """Send a receipt or a result, as an app does."""
        headers = {
            "Authorization": f"Bearer {self.api_key}",
            "Idempotency-Key": os.urandom(8).hex(),
            "Accept": "application/json",
        }
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{instance.url}/api/v1/{what}", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        answer_body: dict[str, object] = answer.json()
        return answer_body

    async def receive(self, instance: Instance, **changes: object) -> str:
        """Send a receipt. Returns its event id."""
        receipt = {
            "provider": "stripe",
            "provider_event_id": f"evt_{os.urandom(8).hex()}",
            "event_type": "checkout.session.completed",
            "effect_type": "access_unlock",
            "internal_reference": REFERENCE,
            "occurred_at": datetime.now(UTC).isoformat(),
        }
        return str((await self.post(instance, "receipt", **(receipt | changes)))["event_id"])


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """`makegood up` in its own directory, with repair URLs on loopback allowed."""
    browser.find_chromium()
    port, temporal, temporal_ui, smtp = free_ports(4)
    environment = {
        "MAKEGOOD_DATA_DIR": str(tmp_path / "data"),
        "MAKEGOOD_PORT": str(port),
        "MAKEGOOD_TEMPORAL_PORT": str(temporal),
        "MAKEGOOD_TEMPORAL_UI_PORT": str(temporal_ui),
        "MAKEGOOD_SMTP_PORT": str(smtp),
        "MAKEGOOD_EGRESS_ALLOW": "127.0.0.0/8",
    }
    with (
        receiving() as receiver,
        running(*python("-m", "cli.main", "up"), environment=environment) as program,
    ):
        program.wait_for("/login/link?token=", seconds=60)
        login_url = re.findall(r"http\S+/login/link\?token=\S+", program.output)[0]
        yield Instance(f"http://127.0.0.1:{port}", login_url, receiver)


@pytest.fixture
async def page(instance: Instance) -> AsyncIterator[Page]:
    """A page of a new browser. Script and policy errors fail the test."""
    async with browser.chromium() as chromium:
        width, height = browser.DESKTOP
        context: BrowserContext = await chromium.new_context(
            viewport={"width": width, "height": height}
        )
        context.set_default_timeout(WAIT_MS)
        page = await context.new_page()
        errors = browser.console_errors_of(page)
        yield page
        assert errors == []


@pytest.mark.timeout(180)
async def test_an_incident_is_seen_repaired_and_resolved_in_the_console(
    instance: Instance, page: Page
) -> None:
    await sign_in(instance, page)
    project = await make_project(instance, page)
    event_id = await see_incident_open(instance, project, page)
    await read_alert(instance, page)
    replay_id = await reprocess(instance, page, event_id)
    await see_recovery(instance, project, page, event_id, replay_id)
    await resolve_another_manually(instance, project, page)
    await sign_out_and_in(instance, page)
    await read_audit_log(instance, page)


async def sign_in(instance: Instance, page: Page) -> None:
    await page.goto(instance.url)
    await expect(page).to_have_url(re.compile("/login$"))
    await browser.save_screenshots(page, "1-sign-in")
    await page.goto(instance.login_url)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_label("Email").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Save and continue").click()
    await expect(page.get_by_role("heading", name="No open incidents")).to_be_visible()
    await page.get_by_role("link", name="Receipts").click()
    await expect(page.get_by_role("heading", name="No receipts yet")).to_be_visible()
    await browser.save_screenshots(page, "2-empty")


async def make_project(instance: Instance, page: Page) -> Project:
    await page.get_by_role("link", name="Projects").first.click()
    await page.get_by_label("Name", exact=True).fill("Acme Cloud")
    await page.get_by_label("Repair URL").fill(instance.receiver.url)
    await page.get_by_label("Alert addresses").fill("oncall@acme.example")
    await page.get_by_role("button", name="Create project").click()
    api_key = await page.locator('[data-secret="API key"]').inner_text()
    await browser.save_screenshots(page, "3-project")
    await page.reload()
    await expect(page.locator("[data-secret]")).to_have_count(0)
    return Project(page.url, api_key)


async def see_incident_open(instance: Instance, project: Project, page: Page) -> str:
    """Open the list before sending the receipt: the incident appears without a reload."""
    await page.goto(f"{instance.url}/incidents?view=flat")
    event_id = await project.receive(instance, timeout_minutes=0.02)
    await project.receive(instance, internal_reference="workspace-771", effect_type="seat_update")
    failed = await project.receive(
        instance, internal_reference="invoice-2026-1187", event_type="invoice.paid"
    )
    error = {
        "error_code": "entitlement_write_failed",
        "error_message": "could not obtain lock on row",
    }
    await project.post(instance, "result", event_id=failed, status="failed", **error)
    row = page.get_by_role("link", name=REFERENCE, exact=True)
    await expect(row).to_be_visible(timeout=WAIT_MS)
    await expect(page.get_by_role("link", name="Incidents 2 open")).to_be_visible(timeout=WAIT_MS)
    await browser.save_screenshots(page, "4-incidents")
    await row.click()
    await expect(page.get_by_role("heading", name="No result before the deadline")).to_be_visible()
    await expect(page.get_by_text("Alert sent")).to_be_visible(timeout=WAIT_MS)
    await browser.save_screenshots(page, "5-incident")
    return event_id


async def read_alert(instance: Instance, page: Page) -> None:
    await page.get_by_role("link", name="Mailbox").click()
    await page.get_by_role("link", name=re.compile(REFERENCE)).first.click()
    await expect(page.get_by_text("oncall@acme.example")).to_be_visible()
    await expect(page.locator("pre.mail-text")).to_contain_text(REFERENCE)
    await expect(page.frame_locator("iframe").locator("body")).to_contain_text(REFERENCE)
    await browser.save_screenshots(page, "6-mail")


async def reprocess(instance: Instance, page: Page, event_id: str) -> str:
    """Reprocess while a reason is half typed on the page. The typed text survives the updates."""
    await page.goto(f"{instance.url}/events/{event_id}")
    await page.get_by_text("Reprocess…").click()
    await page.get_by_role("button", name="Reprocess", exact=True).click()
    await expect(page.get_by_text("Repair requested. The")).to_be_visible()
    await page.get_by_text("Resolve manually…").click()
    await page.get_by_label("Reason").fill("half a tho")
    calls = instance.receiver.calls
    await wait_until_async(lambda: bool(calls), seconds=15, what="the repair call")
    await expect(page.get_by_text("Repair call 1: HTTP 200")).to_be_visible(timeout=WAIT_MS)
    await expect(page.get_by_text("Waiting for the app to report success")).to_be_visible(
        timeout=WAIT_MS
    )
    await expect(page.get_by_label("Reason")).to_have_value("half a tho")
    await expect(page.get_by_label("Reason")).to_be_focused()
    await browser.save_screenshots(page, "7-repairing")
    assert calls[0].body["event_id"] == event_id
    assert calls[0].headers["x-sendpromptly-attempt"] == "1"
    return str(calls[0].body["replay_id"])


async def see_recovery(
    instance: Instance, project: Project, page: Page, event_id: str, replay_id: str
) -> None:
    await project.post(instance, "result", event_id=event_id, status="success", replay_id=replay_id)
    await expect(page.get_by_role("heading", name="Resolved (repaired)", exact=True)).to_be_visible(
        timeout=WAIT_MS
    )
    await expect(page.get_by_text("Success reported")).to_be_visible()
    await expect(page.locator(".event-head .chip")).to_have_text("Resolved (repaired)")
    await page.reload()
    await update_readme_picture(page)
    await browser.save_screenshots(page, "8-recovered")


async def resolve_another_manually(instance: Instance, project: Project, page: Page) -> None:
    await page.goto(f"{instance.url}/incidents?q=invoice-2026-1187")
    await page.get_by_role("link", name="invoice-2026-1187", exact=True).click()
    await page.get_by_role("button", name="Acknowledge", exact=True).click()
    await page.get_by_text("Resolve manually…").click()
    await page.get_by_label("Reason").fill("Refunded in Stripe, ticket 4711")
    await page.get_by_role("button", name="Resolve", exact=True).click()
    await expect(
        page.get_by_text("Resolved manually by you: “Refunded in Stripe, ticket 4711”")
    ).to_be_visible()
    await page.goto(f"{instance.url}/incidents?state=resolved")
    await expect(page.get_by_role("link", name="invoice-2026-1187", exact=True)).to_be_visible()
    await expect(page.get_by_role("link", name=REFERENCE, exact=True)).to_be_visible()
    await browser.save_screenshots(page, "9-resolved")


async def sign_out_and_in(instance: Instance, page: Page) -> None:
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_label("Email").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Incidents", exact=True)).to_be_visible()


async def read_audit_log(instance: Instance, page: Page) -> None:
    await page.get_by_role("link", name="Audit log").click()
    await expect(page.get_by_role("cell", name="Reprocess requested")).to_be_visible()
    await browser.save_screenshots(page, "10-audit-log")
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Export").click()
    assert (await download.value).suggested_filename == "makegood-audit.jsonl"


async def update_readme_picture(page: Page) -> None:
    """Update the picture of the README if requested."""
    path = await browser.save_screenshot(page, "readme")
    if os.environ.get("MAKEGOOD_KEEP_PICTURES") == "1":
        browser.PICTURE.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, browser.PICTURE)
