"""Starts the measured processes: Temporal's dev server, API, worker and a mail server.

Each has a free port and keeps its data in a temporary directory. They are started as in production
and by `makegood up`.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from cli.up.temporal_binary import find_temporal_program, start_dev_command
from config.settings import Settings
from domain.ids import ProjectId
from tests.support.postgres import running_postgres
from tests.support.processes import ROOT, Program, free_ports, python, running
from tests.support.waiting import wait_until

SECRET_KEY = "the root secret of this measurement alone"
START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Installation:
    """A migrated store with one project, the environment of its processes, and an API key."""

    environment: dict[str, str]
    database_url: str
    project_id: ProjectId
    api_key: str

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.environment['MAKEGOOD_PORT']}"


def install(
    directory: Path,
    *,
    temporal: str,
    database_url: str | None = None,
    smtp_port: int | None = None,
    mode: str = "test",
) -> Installation:
    """Create a store in `directory`, or at `database_url`.

    Rate limits are on and never reached. Mails go to `smtp_port`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port, no_mail_port = free_ports(2)
    url = database_url or f"sqlite:///{directory / 'makegood.db'}"
    environment = {
        "MAKEGOOD_DATA_DIR": str(directory),
        "MAKEGOOD_DATABASE_URL": url,
        "MAKEGOOD_SECRET_KEY": SECRET_KEY,
        "MAKEGOOD_LOG_LEVEL": "warning",
        "MAKEGOOD_PORT": str(port),
        "MAKEGOOD_RATE_LIMIT": "1000000",
        "MAKEGOOD_RATE_BURST": "1000000",
        "MAKEGOOD_SMTP_URL": f"smtp://127.0.0.1:{smtp_port or no_mail_port}?starttls=never",
        "TEMPORAL_ADDRESS": temporal,
    }
    run_command(environment, "migrate", "--json")
    alerts = ["--alert-email", "ops@shop.example"] if smtp_port else []
    scopes = ["--scope", "ingest", "--scope", "read"]
    made = run_command(
        environment, "project", "create", "bench", "--mode", mode, *scopes, *alerts, "--json"
    )
    return Installation(environment, url, ProjectId(str(made["project_id"])), str(made["api_key"]))


@contextmanager
def installed(dialect: str, *, temporal: str, mode: str = "test") -> Iterator[Installation]:
    """An installation as `install` makes it, on a durable store of its own for so long."""
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="makegood-bench-")
        directory, url = Path(stack.enter_context(temporary)), None
        if dialect == "postgresql":
            postgres = stack.enter_context(running_postgres(durable=True))
            url = postgres.url(postgres.create("bench"))
        yield install(directory / dialect, temporal=temporal, database_url=url, mode=mode)


def run_command(environment: dict[str, str], *arguments: str) -> dict[str, object]:
    """Run a `makegood` command and return the JSON that it prints."""
    ended = subprocess.run(
        python("-m", "cli.main", *arguments),
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    printed: dict[str, object] = json.loads(ended.stdout) if ended.stdout.strip() else {}
    return printed


@contextmanager
def temporal_server(directory: Path) -> Iterator[str]:
    """Run Temporal's dev server as `makegood up` does, without its UI; yields its address."""
    port, ui_port = free_ports(2)
    directory.mkdir(parents=True, exist_ok=True)
    settings = Settings(data_dir=directory, temporal_port=port, temporal_ui_port=ui_port)
    program = find_temporal_program(directory)
    quiet = ("--headless", "--log-level", "error")
    with running(*start_dev_command(program, settings), *quiet) as server:
        health = (program, "operator", "cluster", "health", "--address", f"127.0.0.1:{port}")

        def is_healthy() -> bool:
            assert server.process.poll() is None, server.output
            return subprocess.run(health, capture_output=True).returncode == 0

        wait_until(is_healthy, seconds=START_SECONDS, what="Temporal's health")
        yield f"127.0.0.1:{port}"


@contextmanager
def worker(installation: Installation) -> Iterator[Program]:
    """Run a worker process; yields when it is ready."""
    environment = installation.environment | {"MAKEGOOD_LOG_LEVEL": "info"}
    with running(*python("-m", "cli.main", "worker"), environment=environment) as program:
        program.wait_for("worker_ready", seconds=START_SECONDS)
        yield program


@contextmanager
def api(installation: Installation, *before: str) -> Iterator[Program]:
    """Run an API process; yields when it answers.

    `before` is a command to run it by, such as strace.
    """
    with running(
        *before, *python("-m", "cli.main", "api"), environment=installation.environment
    ) as program:
        wait_for_answer(f"{installation.api_url}/livez", program)
        yield program


def wait_for_answer(url: str, program: Program) -> None:
    """Return once the program answers at the URL."""

    def is_up() -> bool:
        assert program.process.poll() is None, program.output
        try:
            return httpx.get(url, timeout=1).status_code < 500
        except httpx.HTTPError:
            return False

    wait_until(is_up, seconds=START_SECONDS, what=url)


@dataclass(frozen=True, slots=True)
class MailServer:
    """A running `bench.mail_server`, and the file in which it records each accepted mail."""

    port: int
    path: Path

    def accepted(self) -> dict[str, datetime]:
        """When the first mail of each incident was accepted."""
        first: dict[str, datetime] = {}
        for line in self.path.read_text(encoding="ascii").splitlines():
            at, incident_id = line.split()
            first.setdefault(incident_id, datetime.fromtimestamp(float(at), UTC))
        return first


@contextmanager
def mail_server(directory: Path) -> Iterator[MailServer]:
    """Run an SMTP server in a process of its own."""
    (port,) = free_ports(1)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "mails"
    path.touch()
    with running(*python("-m", "bench.mail_server", str(port), str(path))) as program:
        program.wait_for("mail_server_ready", seconds=START_SECONDS)
        yield MailServer(port, path)


def run_measurement(module: str, *arguments: str) -> dict[str, float]:
    """Run a program of this folder and return the JSON line that it prints last."""
    ended = subprocess.run(
        python("-m", module, *arguments), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    # A process that used Temporal's client may crash while the interpreter exits, after it printed.
    assert ended.stdout.strip() or ended.returncode == 0, f"{module} ended with {ended.returncode}"
    figures: dict[str, float] = json.loads(ended.stdout.strip().splitlines()[-1])
    return figures
