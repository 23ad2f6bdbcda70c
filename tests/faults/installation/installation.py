"""An installation in the production shape for a run: two API and two worker processes on one store.

Temporal, a mail server and a repair endpoint belong to it. Everything is on loopback. The store has
its own directory, which can be a small file system for the fault `disk_full`.
"""

import asyncio
import json
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import asyncpg
import httpx

from cli.up.temporal_binary import find_temporal_program, start_dev_command, temporal_environment
from config.settings import Settings
from tests.faults.installation.history import History
from tests.faults.installation.orders import Merchant
from tests.faults.installation.processes import Service, SupervisedProcess
from tests.faults.installation.sinks import MailServer, RepairEndpoint
from tests.faults.rules.planted import WITHOUT_UNIQUE_KEYS
from tests.support.postgres import new_cluster
from tests.support.processes import ROOT, free_ports, python

SECRET_KEY = "a root secret for the fault harness, long enough"
SCHEDULE_SECONDS = (0, 2, 4, 8, 16, 16)
CALLBACK_SECONDS = 5

StoreKind = Literal["sqlite", "postgresql"]


@dataclass(slots=True)
class Installation:
    """The running processes by name, the servers around them, and their addresses.

    `before_work` runs when the project exists, and no API or worker yet.
    """

    directory: Path
    store_directory: Path
    store: StoreKind
    history: History
    database_url: str
    mail: MailServer
    endpoint: RepairEndpoint
    environment: Mapping[str, str]
    temporal_address: str
    apis: tuple[str, ...]
    processes: dict[str, SupervisedProcess] = field(default_factory=dict)
    merchant: Merchant = field(init=False)
    signing_secret: str = ""
    planted: str | None = None
    clock_off: Mapping[str, str] = field(default_factory=dict)
    before_work: Callable[["Installation"], Awaitable[None]] | None = None
    waiting_outbox_rows: int = 0  # of the other tenants, leased so that no worker takes them

    async def start(self) -> None:
        """Start everything, and create a project whose key has every scope."""
        if self.store == "postgresql":
            self._add(await self._postgres())
            await self.processes["postgres"].start()
        await asyncio.to_thread(self.makegood, "migrate")
        if self.planted == "no_unique_key":
            with sqlite3.connect(self.store_directory / "makegood.db") as connection:
                connection.executescript(";".join(WITHOUT_UNIQUE_KEYS))
            connection.close()
        created = json.loads(await asyncio.to_thread(self.makegood, *self._create_project()))
        self.signing_secret = created["signing_secret"]
        # The rules about mails expect those of each incident.
        apart = ("project", "set", "shop", "--group-window-minutes", "0")
        await asyncio.to_thread(self.makegood, *apart)
        self.merchant = Merchant(self.history, self.apis, created["api_key"])
        self.endpoint.take = self.merchant.repair
        if self.before_work is not None:
            await self.before_work(self)
        self._add(self._temporal())
        for number, url in enumerate(self.apis, 1):
            self._add(
                self._makegood_process(
                    f"api-{number}", "api", {"MAKEGOOD_PORT": url.rpartition(":")[2]}
                )
            )
        for number in (1, 2):
            self._add(self._makegood_process(f"worker-{number}", "worker", {}))
        await asyncio.gather(
            *(process.start() for name, process in self.processes.items() if name != "postgres")
        )

    async def end(self) -> None:
        """End everything, the store last."""
        if hasattr(self, "merchant"):
            self.merchant.ends.set()
        await asyncio.gather(
            *(process.end() for name, process in self.processes.items() if name != "postgres")
        )
        if "postgres" in self.processes:
            await self.processes["postgres"].end()
        await self.endpoint.finish_jobs()
        if hasattr(self, "merchant"):
            await self.merchant.close()

    def makegood(self, *arguments: str) -> str:
        """Run a `makegood` command; returns its output."""
        command = python("-m", "cli.main", *arguments)
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**temporal_environment(), **self.environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def left_to_do(self) -> tuple[int, bool]:
        """The rows in the outbox, and whether a deadline is overdue or an alert unsent.

        Both as `/metrics` reports them.
        """
        async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
            page = (await http.get(f"{self.apis[0]}/metrics")).raise_for_status().text
        metrics = dict(
            line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#")
        )
        others = float(metrics["makegood_deadline_lag_seconds"]) + float(
            metrics["makegood_alerts_unsent"]
        )
        return int(float(metrics["makegood_outbox_rows"])) - self.waiting_outbox_rows, others > 0

    def _create_project(self) -> tuple[str, ...]:
        scopes = [
            word for scope in ("ingest", "read", "operate", "admin") for word in ("--scope", scope)
        ]
        arguments = (
            "--mode",
            "test",
            "--repair-url",
            self.endpoint.url,
            "--alert-email",
            "ops@shop.example",
        )
        return ("project", "create", "shop", *arguments, *scopes, "--json")

    def _add(self, service: Service) -> None:
        self.processes[service.name] = SupervisedProcess(service, self.directory)

    def _makegood_process(self, name: str, role: str, changes: Mapping[str, str]) -> Service:
        module = (
            ("-m", "cli.main")
            if self.planted is None
            else ("-m", "tests.faults.rules.planted", self.planted)
        )
        environment = {**temporal_environment(), **self.environment, **changes}
        if name in self.clock_off:
            environment |= {
                "LD_PRELOAD": self.clock_off[name],
                "FAKETIME": "+120s",
                "DONT_FAKE_MONOTONIC": "1",
            }
        word = "worker_ready" if role == "worker" else "Uvicorn running"

        async def is_ready(log: str) -> bool:
            return word in log

        return Service(name, python(*module, role), environment, is_ready)

    def _temporal(self) -> Service:
        port = int(self.temporal_address.rpartition(":")[2])
        settings = Settings(
            data_dir=self.directory, temporal_port=port, temporal_ui_port=free_ports(1)[0]
        )
        command = start_dev_command(find_temporal_program(self.directory), settings)

        async def is_ready(log: str) -> bool:
            return await _listens(port)

        return Service("temporal", command, temporal_environment(), is_ready)

    async def _postgres(self) -> Service:
        port = int(self.database_url.rpartition(":")[2].partition("/")[0])
        command, user = await asyncio.to_thread(new_cluster, self.store_directory / "pgdata", port)

        async def is_ready(log: str) -> bool:
            with suppress(OSError, asyncpg.PostgresError):
                connection = await asyncpg.connect(
                    self.database_url.replace("/makegood", "/postgres"), timeout=3
                )
                with suppress(asyncpg.DuplicateDatabaseError):
                    await connection.execute("CREATE DATABASE makegood")
                await connection.close()
                return True
            return False

        return Service("postgres", command, {}, is_ready, user)


@asynccontextmanager
async def installation(
    directory: Path,
    store: StoreKind,
    history: History,
    *,
    store_directory: Path,
    planted: str | None = None,
    clock_off: Mapping[str, str] | None = None,
    before_work: Callable[[Installation], Awaitable[None]] | None = None,
    **settings: str,
) -> AsyncIterator[Installation]:
    """An installation that runs while the block runs. `settings` are added to its environment."""
    ports = free_ports(4)
    database_url = f"sqlite:///{store_directory / 'makegood.db'}"
    if store == "postgresql":
        database_url = f"postgresql://postgres@127.0.0.1:{ports[3]}/makegood"
    mail = MailServer(history)
    endpoint = RepairEndpoint(history, _called_too_early)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(mail.serving())
        await stack.enter_async_context(endpoint.serving())
        environment = {
            "MAKEGOOD_DATA_DIR": str(directory),
            "MAKEGOOD_DATABASE_URL": database_url,
            "MAKEGOOD_SECRET_KEY": SECRET_KEY,
            "MAKEGOOD_SMTP_URL": mail.url,
            "MAKEGOOD_EGRESS_ALLOW": "127.0.0.0/8",
            "MAKEGOOD_CALLBACK_SCHEDULE_SECONDS": ",".join(map(str, SCHEDULE_SECONDS)),
            "MAKEGOOD_CALLBACK_TIMEOUT_SECONDS": str(CALLBACK_SECONDS),
            "TEMPORAL_ADDRESS": f"127.0.0.1:{ports[2]}",
            **settings,
        }
        built = Installation(
            directory=directory,
            store_directory=store_directory,
            store=store,
            history=history,
            database_url=database_url,
            mail=mail,
            endpoint=endpoint,
            environment=environment,
            temporal_address=f"127.0.0.1:{ports[2]}",
            apis=tuple(f"http://127.0.0.1:{port}" for port in ports[:2]),
            planted=planted,
            clock_off=clock_off or {},
            before_work=before_work,
        )
        try:
            await built.start()
            yield built
        finally:
            await built.end()


async def _called_too_early(body: str) -> None:
    raise AssertionError(f"called before there was a project: {body}")


async def _listens(port: int) -> bool:
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False
