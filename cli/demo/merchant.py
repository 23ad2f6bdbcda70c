"""Runs the demo merchant as a process. Sets its faults and reads its state over HTTP."""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cli.demo.instance import POLL_SECONDS, ROOT
from cli.demo.processes import DemoProcess, free_ports, run_process
from cli.output import CommandFailed

CLIENT = ROOT / "sdks" / "python"
READY_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Merchant:
    """A running demo merchant."""

    url: str
    stripe_secret: str
    process: DemoProcess
    _client: httpx.AsyncClient

    @property
    def repair_url(self) -> str:
        """The URL of the merchant's repair endpoint."""
        return f"{self.url}/makegood/repair"

    @property
    def webhook_url(self) -> str:
        """The URL of the merchant's endpoint for Stripe's webhooks."""
        return f"{self.url}/stripe/webhook"

    async def set_faults(self, **switches: object) -> None:
        """Set the fault switches for requests from now on."""
        (await self._client.post("/control", json=switches)).raise_for_status()

    # Any: JSON values.
    async def rows(self, table: str, **fields: object) -> list[Mapping[str, Any]]:
        """The rows of one table of its state that match these fields."""
        state = (await self._client.get("/state")).raise_for_status().json()
        return [
            row for row in state[table] if all(row[name] == value for name, value in fields.items())
        ]


@asynccontextmanager
async def demo_merchant(
    *, makegood_url: str, api_key: str, signing_secret: str, port: int, directory: Path
) -> AsyncIterator[Merchant]:
    """Run the merchant during the block.

    Raises: CommandFailed when it does not start, or when this installation does not contain it.
    """
    if not (CLIENT / "makegood_client.py").exists():
        raise CommandFailed(
            "the demo merchant needs sdks/python: run the demo from a checkout of the repository"
        )
    stripe_secret = f"whsec_{secrets.token_hex(16)}"
    path = os.pathsep.join(part for part in (str(CLIENT), os.environ.get("PYTHONPATH", "")) if part)
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "MAKEGOOD_URL": makegood_url,
        "MAKEGOOD_API_KEY": api_key,
        "MAKEGOOD_SIGNING_SECRET": signing_secret,
        "STRIPE_WEBHOOK_SECRET": stripe_secret,
        "MERCHANT_DB": str(directory / "merchant.db"),
        "MERCHANT_PORT": str(port),
    }
    url = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-m", "examples.merchant")
    async with (
        run_process(
            "merchant",
            *command,
            environment=environment,
            directory=ROOT,
            log=directory / "merchant.log",
        ) as process,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        merchant = Merchant(url, stripe_secret, process, client)
        await _wait_until_ready(merchant, client)
        yield merchant


def merchant_port() -> int:
    """A free port; its repair URL must be known before it starts."""
    return free_ports(1)[0]


async def _wait_until_ready(merchant: Merchant, client: httpx.AsyncClient) -> None:
    try:
        async with asyncio.timeout(READY_SECONDS):
            while True:
                merchant.process.check_alive()
                try:
                    if (await client.get("/control")).is_success:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise CommandFailed(f"the demo merchant was not ready within {READY_SECONDS} s") from None
