"""`makegood demo`: runs five stories with a demo merchant, and prints each step that it observes.

It uses the running instance, or a temporary one. It exits 1 when an expected step does not happen.
It opens no Temporal client, and the store only to create and suspend its project.
"""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import typer

from cli.demo.instance import is_running, make_project, retire_project, temporary_instance
from cli.demo.merchant import demo_merchant, merchant_port
from cli.demo.observer import Observer
from cli.demo.provider import DemoStripe, demo_stripe
from cli.demo.stories import Stage, run_stories
from cli.output import CommandFailed, print_json
from config.settings import Settings
from domain.projects import CreatedProject

TOTAL_SECONDS = 60


def run_demo(settings: Settings, *, is_fresh: bool, as_json: bool) -> None:
    """Run the five stories and print their steps.

    Raises: CommandFailed when an expected step does not happen.
    """
    began = time.monotonic()
    observer = asyncio.run(_demo(settings, began=began, is_fresh=is_fresh, is_quiet=as_json))
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        steps = [
            {"story": step.story, "step": step.text, "at_seconds": step.at_seconds}
            for step in observer.steps
        ]
        print_json({"ok": True, "seconds": seconds, "steps": steps})
    else:
        typer.echo(f"\nAll {len(observer.steps)} steps were observed in {seconds} s.")


async def _demo(settings: Settings, *, began: float, is_fresh: bool, is_quiet: bool) -> Observer:
    try:
        async with (
            asyncio.timeout(TOTAL_SECONDS),
            _instance(settings, is_fresh=is_fresh) as (instance, stripe),
        ):
            return await _run(instance, stripe, began=began, is_quiet=is_quiet)
    except TimeoutError:
        raise CommandFailed(
            f"the demo took longer than {TOTAL_SECONDS} s and was cancelled"
        ) from None


@asynccontextmanager
async def _instance(
    settings: Settings, *, is_fresh: bool
) -> AsyncIterator[tuple[Settings, DemoStripe | None]]:
    """Yields the settings of the instance, and the Stripe that a temporary one lists.

    The sources of a running instance list the real Stripe, so none is yielded for it.
    """
    if not is_fresh and await is_running(settings.public_url_or_default):
        yield settings, None
        return
    with demo_stripe() as stripe:
        async with temporary_instance(stripe_api_url=stripe.url) as own:
            yield own, stripe


async def _run(
    settings: Settings, stripe: DemoStripe | None, *, began: float, is_quiet: bool
) -> Observer:
    is_temporary = stripe is not None
    url = settings.public_url_or_default
    created = await make_project(settings, name=f"demo-{secrets.token_hex(3)}")
    headers = {"Authorization": f"Bearer {created.api_key}", "Accept": "application/json"}
    try:
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
            observer = Observer(
                client, settings.mailbox_dir if settings.smtp_url is None else None, began, is_quiet
            )
            observer.begin_story(
                f"Makegood at {url}" + (", started for this demo" if is_temporary else "")
            )
            await _run_with_merchant(observer, url, created, stripe)
    finally:
        if not is_temporary:
            await asyncio.shield(retire_project(settings, created.project.id))
    return observer


async def _run_with_merchant(
    observer: Observer, url: str, created: CreatedProject, stripe: DemoStripe | None
) -> None:
    with tempfile.TemporaryDirectory(prefix="makegood-merchant-") as directory:
        merchant_process = demo_merchant(
            makegood_url=url,
            api_key=created.api_key,
            signing_secret=created.signing_secret,
            port=merchant_port(),
            directory=Path(directory),
        )
        async with merchant_process as merchant:
            await _save_repair_url(observer.client, url, merchant.repair_url)
            observer.record_step(
                f"test project {created.project.name} has the repair URL {merchant.repair_url}"
            )
            await run_stories(Stage(merchant, observer, stripe))


async def _save_repair_url(client: httpx.AsyncClient, url: str, repair_url: str) -> None:
    """Save the URL over REST: the running API validates it with its own settings.

    Raises: CommandFailed when it refuses.
    """
    answer = await client.patch("/api/v1/project", json={"repair_url": repair_url})
    if answer.status_code == 401:
        raise CommandFailed(
            f"the Makegood at {url} uses another store than this command: run the demo with its"
            " MAKEGOOD_DATA_DIR or MAKEGOOD_DATABASE_URL, or with --fresh"
        )
    if answer.status_code == 422:
        raise CommandFailed(
            f"the Makegood at {url} does not allow calls to this machine, where the demo merchant"
            " is: run the demo with --fresh, or restart that Makegood with"
            " MAKEGOOD_EGRESS_ALLOW=127.0.0.0/8"
        )
    if not answer.is_success:
        raise CommandFailed(
            f"the Makegood at {url} answered {answer.status_code} to PATCH /api/v1/project"
        )
