"""The Makegood instance of `makegood demo`: the running one, or a new one in a temporary directory.

A new instance is `makegood up` on free ports. It may call loopback, where the demo merchant
listens.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import httpx

from cli.demo.processes import DemoProcess, free_ports, run_process
from cli.demo.provider import DemoStripe
from cli.local_operations import build_operations, cli_actor, with_open_store
from cli.output import CommandFailed
from cli.up.instance_file import read_instance
from config.settings import Settings
from domain.projects import CreatedProject, Mode, Scope
from store.db.database import Database

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 30
POLL_SECONDS = 0.1
ALERT_EMAIL = "operator@example.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoInstance:
    """The Makegood that the demo runs on.

    `url` is where this machine reaches its API. `mailbox` has its mails; None when they go to a
    real mail server. `stripe` is what the sources of a temporary instance list; None for others,
    which list the real Stripe.
    """

    settings: Settings
    url: str
    mailbox: Path | None
    stripe: DemoStripe | None = None

    @property
    def is_temporary(self) -> bool:
        """Whether it was started for the demo."""
        return self.stripe is not None


async def find_instance(
    settings: Settings, *, ready_seconds: float = READY_SECONDS
) -> DemoInstance | None:
    """The running instance: that of the data directory, else one that answers at the public URL.

    One that is still starting has `ready_seconds` to become ready.

    Raises: CommandFailed when `makegood up` runs here and does not become ready.
    """
    running = read_instance(settings.data_dir)
    if running is not None:
        # Its public URL may be a proxy's, which this machine does not reach.
        url = settings.model_copy(update={"public_url": None}).public_url_or_default
        sends_mail = settings.smtp_url is not None or "MAKEGOOD_SMTP_URL" in running.secrets
        if not await _is_ready_in_time(url, ready_seconds, lambda: None):
            raise CommandFailed(
                f"the Makegood that runs in {settings.data_dir} was not ready within"
                f" {ready_seconds:g} s: run `makegood doctor`, or run the demo with --fresh"
            )
        mailbox = None if sends_mail else settings.mailbox_dir
        return DemoInstance(settings=settings, url=url, mailbox=mailbox)
    url = settings.public_url_or_default
    mailbox = settings.mailbox_dir if settings.smtp_url is None else None
    if not await _is_running(url):
        return None
    return DemoInstance(settings=settings, url=url, mailbox=mailbox)


async def _is_running(url: str) -> bool:
    """Whether a Makegood API answers at the URL."""
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=3) as client:
            answer = await client.get("/livez")
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and "request-id" in answer.headers


@asynccontextmanager
async def temporary_instance(stripe: DemoStripe) -> AsyncIterator[DemoInstance]:
    """Run a new instance during the block. Its sources list the events of this Stripe.

    Raises: CommandFailed when it does not become ready.
    """
    api, temporal, temporal_ui, smtp = free_ports(4)
    with tempfile.TemporaryDirectory(prefix="makegood-demo-") as directory:
        data_dir = Path(directory) / "data"
        given = {
            "DATA_DIR": str(data_dir),
            "HOST": "127.0.0.1",
            "EGRESS_ALLOW": "127.0.0.0/8",
            "PORT": str(api),
        }
        given |= {
            "TEMPORAL_PORT": str(temporal),
            "TEMPORAL_UI_PORT": str(temporal_ui),
            "SMTP_PORT": str(smtp),
            "STRIPE_API_URL": stripe.url,
        }
        environment = {
            **_clean_environment(),
            **{f"MAKEGOOD_{name}": value for name, value in given.items()},
        }
        settings = Settings(
            data_dir=data_dir,
            host="127.0.0.1",
            port=api,
            smtp_port=smtp,
            egress_allow=(ip_network("127.0.0.0/8"),),
            database_url=None,
            secret_key=None,
            smtp_url=None,
            public_url=None,
        )
        command = (sys.executable, "-m", "cli.main", "up")
        log = Path(directory) / "up.log"
        async with run_process(
            "makegood up", *command, environment=environment, directory=ROOT, log=log
        ) as up:
            url = settings.public_url_or_default
            await _wait_until_ready(url, up)
            yield DemoInstance(
                settings=settings, url=url, mailbox=settings.mailbox_dir, stripe=stripe
            )


async def make_project(instance: DemoInstance, *, name: str) -> CreatedProject:
    """Create a test project in the instance's store, with a key of all scopes.

    Raises: CommandFailed when the store cannot be reached from here.
    """

    async def make(database: Database) -> CreatedProject:
        return await build_operations(instance.settings, database).projects.create_project(
            name=name,
            mode=Mode.TEST,
            actor=cli_actor(),
            # No demo mail goes to a real mail server.
            alert_emails=[ALERT_EMAIL] if instance.mailbox is not None else [],
            timeout_minutes=0.5,
            scopes=list(Scope),
        )

    return await with_open_store(instance.settings, make)


async def retire_project(instance: DemoInstance, project_id: str) -> None:
    """Suspend the project: its key is refused, and doctor no longer checks its repair URL."""

    async def retire(database: Database) -> None:
        await build_operations(instance.settings, database).projects.set_suspended(
            project_id, suspended=True, actor=cli_actor()
        )

    await with_open_store(instance.settings, retire)


async def _wait_until_ready(url: str, up: DemoProcess) -> None:
    if not await _is_ready_in_time(url, READY_SECONDS, up.check_alive):
        last_lines = up.log.read_text(errors="replace").splitlines()[-15:]
        raise CommandFailed(
            f"Makegood was not ready within {READY_SECONDS} s; its last lines:\n"
            + "\n".join(last_lines)
        )


async def _is_ready_in_time(url: str, seconds: float, check_alive: Callable[[], None]) -> bool:
    try:
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncClient(base_url=url, trust_env=False) as client,
        ):
            while True:
                check_alive()
                try:
                    if (await client.get("/readyz")).status_code == 200:
                        return True
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        return False


def _clean_environment() -> dict[str, str]:
    """This environment without MAKEGOOD_* and TEMPORAL_* variables, which could select another
    instance.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAKEGOOD_", "TEMPORAL_"))
    }
