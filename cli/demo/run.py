"""`makegood demo`: plays the whole story with a demo merchant and prints each step as it is observed from outside.

On the Makegood that runs here, or on one of its own that is gone afterwards. It ends with 1 when a step does not happen. It opens
no Temporal client; the store only to make a project, as `makegood project create` does.
"""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import JsonFlag
from cli.output import CommandFailed, print_json
from cli.settings import read_settings

if TYPE_CHECKING:
    import httpx

    from cli.demo.observer import Watch
    from config.settings import Settings

ALL_SECONDS = 60


def register(app: typer.Typer) -> None:
    """Put the command under the application."""
    app.command("demo")(demo)


def demo(
    fresh: Annotated[bool, typer.Option("--fresh", help="Start one of its own, even when a Makegood is running here.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Play the whole story with a demo merchant in under a minute: payment, incident, e-mail, repair, proof."""
    began = time.monotonic()
    watch = asyncio.run(_demo(read_settings(), began=began, is_fresh=fresh, is_quiet=as_json))
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        steps = [{"story": step.story, "step": step.text, "at_seconds": step.at_seconds} for step in watch.steps]
        print_json({"ok": True, "seconds": seconds, "steps": steps})
    else:
        typer.echo(f"\nAll of it was observed, {len(watch.steps)} steps in {seconds} s.")


async def _demo(settings: "Settings", *, began: float, is_fresh: bool, is_quiet: bool) -> "Watch":
    try:
        async with asyncio.timeout(ALL_SECONDS), _instance(settings, is_fresh=is_fresh) as (playing, is_own):
            return await _play(playing, began=began, is_own=is_own, is_quiet=is_quiet)
    except TimeoutError:
        raise CommandFailed(f"the demo took longer than {ALL_SECONDS} s and was ended") from None


@asynccontextmanager
async def _instance(settings: "Settings", *, is_fresh: bool) -> "AsyncIterator[tuple[Settings, bool]]":
    """The settings of the Makegood to play on, and whether it is the demo's own."""
    from cli.demo.instance import is_running, own_instance

    if not is_fresh and await is_running(settings.public_url_or_default):
        yield settings, False
        return
    async with own_instance() as own:
        yield own, True


async def _play(settings: "Settings", *, began: float, is_own: bool, is_quiet: bool) -> "Watch":
    import httpx

    from cli.demo.instance import make_project, retire_project
    from cli.demo.observer import Watch

    url = settings.public_url_or_default
    project = await make_project(settings, name=f"demo-{secrets.token_hex(3)}")
    headers = {"Authorization": f"Bearer {project['api_key']}", "Accept": "application/json"}
    try:
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
            watch = Watch(client, settings.mailbox_dir if settings.smtp_url is None else None, began, is_quiet)
            watch.begin(f"Makegood at {url}" + (", started for this demo" if is_own else ""))
            await _play_with_merchant(watch, url, project)
    finally:
        if not is_own:
            await asyncio.shield(retire_project(settings, project["project_id"]))
    return watch


# The project's values are JSON, of any type.
async def _play_with_merchant(watch: "Watch", url: str, project: Mapping[str, Any]) -> None:
    from cli.demo.merchant import demo_merchant, merchant_port
    from cli.demo.stories import Stage, play_all

    with tempfile.TemporaryDirectory(prefix="makegood-merchant-") as directory:
        merchant_is = demo_merchant(
            makegood_url=url,
            api_key=project["api_key"],
            signing_secret=project["signing_secret"],
            port=merchant_port(),
            directory=Path(directory),
        )
        async with merchant_is as merchant:
            await _save_repair_url(watch.client, url, merchant.repair_url)
            watch.saw(f"test project {project['name']} repairs at {merchant.repair_url}")
            await play_all(Stage(merchant, watch))


async def _save_repair_url(client: "httpx.AsyncClient", url: str, repair_url: str) -> None:
    """Tell the running API itself, since it is what judges: its environment may be another than ours.

    Raises: CommandFailed when it refuses.
    """
    answer = await client.patch("/api/v1/project", json={"repair_url": repair_url})
    if answer.status_code == 401:
        raise CommandFailed(
            f"the Makegood at {url} has another store than this command: run the demo with its MAKEGOOD_DATA_DIR or "
            "MAKEGOOD_DATABASE_URL, or with --fresh"
        )
    if answer.status_code == 422:
        raise CommandFailed(
            f"the Makegood at {url} does not allow calls to this machine, where the demo merchant is: run the demo with --fresh, "
            "or restart that Makegood with MAKEGOOD_EGRESS_ALLOW=127.0.0.0/8"
        )
    if not answer.is_success:
        raise CommandFailed(f"the Makegood at {url} answered {answer.status_code} to PATCH /api/v1/project")
