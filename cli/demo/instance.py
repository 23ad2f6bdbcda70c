"""The Makegood instance of `makegood demo`: the running one, or a new one in a temporary directory.

A new instance is `makegood up` on free ports. It may call loopback, where the demo merchant
listens.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import httpx

from cli.demo.processes import DemoProcess, free_ports, run_process
from cli.local_operations import build_operations, cli_actor, with_open_store
from cli.output import CommandFailed
from config.settings import Settings
from domain.projects import CreatedProject, Mode, Scope
from store.db.database import Database

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 30
POLL_SECONDS = 0.1
ALERT_EMAIL = "operator@example.com"


async def is_running(url: str) -> bool:
    """Whether a Makegood API answers at the URL."""
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=3) as client:
            answer = await client.get("/livez")
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and "request-id" in answer.headers


@asynccontextmanager
async def temporary_instance(*, stripe_api_url: str) -> AsyncIterator[Settings]:
    """Run a new instance during the block; yields its settings. Its sources list events there.

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
            "STRIPE_API_URL": stripe_api_url,
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
            await _wait_until_ready(settings.public_url_or_default, up)
            yield settings


async def make_project(settings: Settings, *, name: str) -> CreatedProject:
    """Create a test project in the instance's store, with a key of all scopes.

    Raises: CommandFailed when the store cannot be reached from here.
    """

    async def make(database: Database) -> CreatedProject:
        return await build_operations(settings, database).projects.create_project(
            name=name,
            mode=Mode.TEST,
            actor=cli_actor(),
            # No demo mail goes to a real mail server.
            alert_emails=[ALERT_EMAIL] if settings.smtp_url is None else [],
            timeout_minutes=0.5,
            scopes=list(Scope),
        )

    return await with_open_store(settings, make)


async def retire_project(settings: Settings, project_id: str) -> None:
    """Suspend the project: its key is refused, and doctor no longer checks its repair URL."""

    async def retire(database: Database) -> None:
        await build_operations(settings, database).projects.set_suspended(
            project_id, suspended=True, actor=cli_actor()
        )

    await with_open_store(settings, retire)


async def _wait_until_ready(url: str, up: DemoProcess) -> None:
    try:
        async with (
            asyncio.timeout(READY_SECONDS),
            httpx.AsyncClient(base_url=url, trust_env=False) as client,
        ):
            while True:
                up.check_alive()
                try:
                    if (await client.get("/readyz")).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        last_lines = up.log.read_text(errors="replace").splitlines()[-15:]
        raise CommandFailed(
            f"Makegood was not ready within {READY_SECONDS} s; its last lines:\n"
            + "\n".join(last_lines)
        ) from None


def _clean_environment() -> dict[str, str]:
    """This environment without MAKEGOOD_* and TEMPORAL_* variables, which could select another
    instance.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAKEGOOD_", "TEMPORAL_"))
    }
