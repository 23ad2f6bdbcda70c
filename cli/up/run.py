"""`makegood up`: everything on this machine, from an empty directory to a working service, until it is told to stop.

It makes the secrets and applies the migrations, describes the children (Temporal, mailbox, worker, API) to the
supervisor, and tells the operator where to go once all are ready. It serves nothing itself. Called by `cli.main`.
"""

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.output import reason_of
from cli.up.bootstrap import FirstSteps, take_first_steps
from cli.up.child import ChildSpec
from cli.up.child_health import USUAL, Patience, watch_api, watch_mailbox, watch_temporal, watch_worker
from cli.up.data_directory import DataDirectoryError, ensure_secret_key, held
from cli.up.ports import PortsError, check_ports, needed_ports
from cli.up.probes import answers_http, greets_by_smtp, temporal_is_healthy
from cli.up.supervisor import PREPARED, Supervisor
from cli.up.temporal_binary import (
    TemporalProgramError,
    find_temporal_program,
    start_dev_command,
    temporal_environment,
)
from config.secret_files import SettingsError
from config.settings import Settings

LOOPBACK = "127.0.0.1"
WORKER_READY = "worker_ready"


class StoreUnusable(Exception):
    """The store cannot be opened or migrated; the message names its setting, never its address."""


def run_up(settings: Settings, *, patience: Patience = USUAL) -> int:
    """Run everything until SIGINT or SIGTERM; the exit code. `patience` is for children that live and do not work."""
    started_at = time.monotonic()
    os.umask(0o077)
    try:
        with held(settings.data_dir):
            check_ports(needed_ports(settings))
            if ensure_secret_key(settings):
                _say(f"First run: wrote a new secret key to {settings.secret_key_path}; keep a copy, do not share it")
            settings.read_secret_key()
            return asyncio.run(_Up(settings, started_at).run(child_specs(settings, patience)))
    except (DataDirectoryError, PortsError, TemporalProgramError, SettingsError, StoreUnusable) as error:
        print(f"makegood up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def child_specs(settings: Settings, patience: Patience) -> tuple[ChildSpec, ...]:
    """The children in the order in which they start; they are ended in the reverse order.

    Raises: TemporalProgramError when Temporal must be started and no program is at hand.
    """
    specs: list[ChildSpec] = []
    if settings.temporal_address is None:
        specs.append(_temporal(settings, patience))
    environment = _our_environment()
    if settings.smtp_url is None:
        specs.append(_mailbox(settings, environment, patience))
    temporal = ("temporal",) if settings.temporal_address is None else ()
    specs.append(
        ChildSpec(
            name="worker",
            command=_ours("worker"),
            environment=environment,
            ready_line=WORKER_READY,
            after=(PREPARED, *temporal),
            watch=watch_worker(settings.database_url_or_default, patience),
            stop_seconds=3.0,
        )
    )
    host = reachable_host(settings.host)
    specs.append(
        ChildSpec(
            name="api",
            command=_ours("api"),
            environment=environment,
            probe=lambda: answers_http(host, settings.port, "/livez"),
            after=(PREPARED,),
            watch=watch_api(host, settings.port, patience),
            stop_seconds=2.5,
        )
    )
    return tuple(specs)


def reachable_host(host: str) -> str:
    """Where this machine reaches what listens on `host`."""
    return {"0.0.0.0": LOOPBACK, "::": "::1", "": LOOPBACK}.get(host, host)  # noqa: S104 - compared, not bound


def welcome(settings: Settings, steps: FirstSteps, *, ready_seconds: float, run_id: str) -> str:
    """What the operator reads once everything is ready; `run_id` makes the printed call a new receipt in each run."""
    url = settings.public_url_or_default
    if settings.temporal_address is None:
        temporal = f"http://{LOOPBACK}:{settings.temporal_ui_port}"
    else:
        temporal = settings.temporal_ui_url or f"the cluster at {settings.temporal_address}"
    mail = f"{url}/mailbox" if settings.smtp_url is None else "your mail server (MAKEGOOD_SMTP_URL)"
    key_note = "" if steps.api_key else "  (MAKEGOOD_KEY is an API key: `makegood key create default --label laptop`)\n"
    return (
        f"\nMakegood is ready in {ready_seconds:.1f} s\n\n"
        f"  API and console   {url}\n"
        f"  API docs          {url}/docs\n"
        f"  Temporal UI       {temporal}\n"
        f"  Mail              {mail}\n\n"
        f"Sign in with this link; it works once:\n  {url}/login/link?token={steps.login_token}\n\n"
        f"Send a first receipt, then watch its incident open in the console after half a minute:\n"
        f"{key_note}{_first_call(url, steps.api_key, run_id)}\n\n"
        "Ctrl-C stops everything; what was stored stays.\n"
    )


@dataclass(frozen=True, slots=True)
class _Up:
    """One run: the settings, and what happens before and after the children are ready."""

    settings: Settings
    started_at: float

    async def run(self, specs: tuple[ChildSpec, ...]) -> int:
        _say(f"Starting Makegood in {self.settings.data_dir}")
        code = await Supervisor(specs, say=_say).run(prepare=self._prepare, announce=self._announce)
        _say("Makegood has stopped")
        return code

    async def _prepare(self) -> None:
        # Here, since the children that need no tables start while the store's libraries are imported.
        await asyncio.to_thread(_migrate, self.settings.database_url_or_default)

    async def _announce(self) -> None:
        steps = await take_first_steps(self.settings)
        run_id = time.strftime("%Y%m%d%H%M%S", time.gmtime())
        _say(welcome(self.settings, steps, ready_seconds=_seconds_since_start(self.started_at), run_id=run_id))


def _migrate(database_url: str) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    from store.migrate import StoreIsNewer, migrate

    try:
        migrate(database_url)
    except (OSError, SQLAlchemyError, StoreIsNewer) as error:
        raise StoreUnusable(f"the store (MAKEGOOD_DATABASE_URL) cannot be opened or migrated: {reason_of(error)}") from None


def _temporal(settings: Settings, patience: Patience) -> ChildSpec:
    program = find_temporal_program(settings.data_dir)
    environment = temporal_environment()
    return ChildSpec(
        name="temporal",
        command=start_dev_command(program, settings),
        environment=environment,
        probe=lambda: temporal_is_healthy(program, LOOPBACK, settings.temporal_port, environment),
        watch=watch_temporal(LOOPBACK, settings.temporal_port, patience),
        stop_seconds=2.5,
    )


def _mailbox(settings: Settings, environment: Mapping[str, str], patience: Patience) -> ChildSpec:
    return ChildSpec(
        name="mailbox",
        command=_ours("mailbox"),
        environment=environment,
        probe=lambda: greets_by_smtp(LOOPBACK, settings.smtp_port),
        watch=watch_mailbox(LOOPBACK, settings.smtp_port, patience),
        stop_seconds=1.0,
    )


def _ours(command: str) -> tuple[str, ...]:
    # -P: whoever runs this in a directory with a `config/settings.py` of its own still gets ours.
    return sys.executable, "-P", "-m", "cli.main", command


def _our_environment() -> Mapping[str, str]:
    # People read these lines in a terminal, as they are written.
    return {"MAKEGOOD_LOG_FORMAT": "console", **os.environ, "PYTHONUNBUFFERED": "1"}


def _first_call(url: str, api_key: str | None, run_id: str) -> str:
    authorization = f"Authorization: Bearer {api_key}" if api_key else "Authorization: Bearer $MAKEGOOD_KEY"
    body = (
        f'{{"provider": "stripe", "stripe_event_id": "evt_first_{run_id}", "event_type": "invoice.paid",\n'
        '        "effect_type": "access_unlock", "internal_reference": "order-1001",\n'
        f'        "occurred_at": "{time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}", "timeout_minutes": 0.5}}'
    )
    return (
        f"  curl -sS {shlex.quote(f'{url}/api/v1/receipt')} \\\n"
        f'    -H "{authorization}" \\\n'
        f'    -H "Idempotency-Key: first-{run_id}" \\\n'
        '    -H "Content-Type: application/json" -H "Accept: application/json" \\\n'
        f"    -d '{body}'"
    )


def _seconds_since_start(started_at: float) -> float:
    """How long this process has lived; the interpreter's own start is counted where the system tells it."""
    try:
        started_ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return time.monotonic() - started_at


def _say(text: str) -> None:
    # Straight to the descriptor: a closed terminal or pipe must neither stop the supervisor nor change its exit code.
    line = memoryview(f"{text}\n".encode())
    try:
        while line:
            line = line[os.write(sys.stdout.fileno(), line) :]
    except OSError:
        return
