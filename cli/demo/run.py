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
from dataclasses import dataclass
from pathlib import Path

import httpx
import typer

from cli.demo.instance import (
    DemoInstance,
    find_instance,
    make_project,
    retire_project,
    temporary_instance,
)
from cli.demo.merchant import demo_merchant, merchant_port
from cli.demo.observer import Observer, Step
from cli.demo.provider import demo_stripe
from cli.demo.stories import Stage, run_stories
from cli.output import CommandFailed, print_json
from config.settings import Settings
from domain.projects import CreatedProject

TOTAL_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Demonstration:
    """The observed steps, and how long they took. `events_url` is where the console shows what they
    made; None for a temporary instance.
    """

    steps: tuple[Step, ...]
    seconds: float
    events_url: str | None


def run_demo(settings: Settings, *, is_fresh: bool, as_json: bool) -> None:
    """Run the five stories and print their steps.

    Raises: CommandFailed when an expected step does not happen.
    """
    demonstration = asyncio.run(_demo(settings, is_fresh=is_fresh, is_quiet=as_json))
    seconds, url = demonstration.seconds, demonstration.events_url
    if as_json:
        steps = [
            {"story": step.story, "step": step.text, "at_seconds": step.at_seconds}
            for step in demonstration.steps
        ]
        print_json({"ok": True, "seconds": seconds, "events_url": url, "steps": steps})
        return
    typer.echo(f"\nAll {len(demonstration.steps)} steps were observed in {seconds} s.")
    if url is not None:
        typer.echo(f"What they made is in the console: {url}")


async def _demo(settings: Settings, *, is_fresh: bool, is_quiet: bool) -> Demonstration:
    # An instance that is still starting does not use up the time of the demo.
    running = None if is_fresh else await find_instance(settings)
    began = time.monotonic()
    try:
        async with asyncio.timeout(TOTAL_SECONDS), _instance(running) as instance:
            return await _run(instance, began=began, is_quiet=is_quiet)
    except TimeoutError:
        raise CommandFailed(
            f"the demo took longer than {TOTAL_SECONDS} s and was cancelled"
        ) from None


@asynccontextmanager
async def _instance(running: DemoInstance | None) -> AsyncIterator[DemoInstance]:
    """The running instance, or a temporary one during the block."""
    if running is not None:
        yield running
        return
    with demo_stripe() as stripe:
        async with temporary_instance(stripe) as own:
            yield own


async def _run(instance: DemoInstance, *, began: float, is_quiet: bool) -> Demonstration:
    created = await make_project(instance, name=f"demo-{secrets.token_hex(3)}")
    headers = {"Authorization": f"Bearer {created.api_key}", "Accept": "application/json"}
    try:
        async with httpx.AsyncClient(
            base_url=instance.url, headers=headers, trust_env=False
        ) as client:
            observer = Observer(client, instance.mailbox, began, is_quiet)
            observer.begin_story(
                f"Makegood at {instance.url}"
                + (", started for this demo" if instance.is_temporary else "")
            )
            await _run_with_merchant(observer, instance, created)
    finally:
        if not instance.is_temporary:
            await asyncio.shield(retire_project(instance, created.project.id))
    console = instance.settings.public_url_or_default
    events_url = f"{console}/events?project={created.project.id}"
    return Demonstration(
        steps=tuple(observer.steps),
        seconds=round(time.monotonic() - began, 1),
        events_url=None if instance.is_temporary else events_url,
    )


async def _run_with_merchant(
    observer: Observer, instance: DemoInstance, created: CreatedProject
) -> None:
    with tempfile.TemporaryDirectory(prefix="makegood-merchant-") as directory:
        merchant_process = demo_merchant(
            makegood_url=instance.url,
            api_key=created.api_key,
            signing_secret=created.signing_secret,
            port=merchant_port(),
            directory=Path(directory),
        )
        async with merchant_process as merchant:
            await _save_repair_url(observer.client, instance.url, merchant.repair_url)
            observer.record_step(
                f"test project {created.project.name} has the repair URL {merchant.repair_url}"
            )
            await run_stories(Stage(merchant, observer, instance.stripe))


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
