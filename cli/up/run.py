"""`makegood up`: runs everything on one machine, from an empty directory to a working service.

Steps: 1. Lock the data directory, check the ports, create the root secret. 2. Start the children
(Temporal, mailbox, worker, API) under the supervisor; migrate the store meanwhile. 3. Print the
welcome text when all are ready. 4. Stop everything on SIGINT or SIGTERM.
"""

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.output import first_line_of
from cli.up.bootstrap import BootstrapResult, bootstrap_store
from cli.up.child import ChildSpec
from cli.up.child_health import (
    DEFAULT_LIMITS,
    LivenessLimits,
    api_liveness,
    mailbox_liveness,
    temporal_liveness,
    worker_liveness,
)
from cli.up.data_directory import DataDirectoryError, ensure_secret_key, locked
from cli.up.instance_file import announced
from cli.up.open_loopback import NOTE, with_open_loopback
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
    """The store cannot be opened or migrated; the message never contains the database URL."""


def run_up(settings: Settings, *, limits: LivenessLimits = DEFAULT_LIMITS) -> int:
    """Run everything until SIGINT or SIGTERM; returns the exit code."""
    started_at = time.monotonic()
    os.umask(0o077)
    settings = with_open_loopback(settings)
    try:
        with locked(settings.data_dir):
            check_ports(needed_ports(settings))
            if ensure_secret_key(settings):
                _print(
                    f"First run: wrote a new secret key to {settings.secret_key_path}; store a"
                    " copy, do not share it"
                )
            settings.read_secret_key()
            with announced(settings):
                return asyncio.run(_Up(settings, started_at).run(child_specs(settings, limits)))
    except (
        DataDirectoryError,
        PortsError,
        TemporalProgramError,
        SettingsError,
        StoreUnusable,
    ) as error:
        print(f"makegood up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def child_specs(settings: Settings, limits: LivenessLimits) -> tuple[ChildSpec, ...]:
    """The children in start order; they are stopped in reverse order.

    Raises: TemporalProgramError when Temporal must be started and there is no program for it.
    """
    specs: list[ChildSpec] = []
    if settings.temporal_address is None:
        specs.append(_temporal(settings, limits))
    environment = _child_environment(settings)
    if settings.smtp_url is None:
        specs.append(_mailbox(settings, environment, limits))
    temporal = ("temporal",) if settings.temporal_address is None else ()
    specs.append(
        ChildSpec(
            name="worker",
            command=_makegood_command("worker"),
            environment=environment,
            ready_line=WORKER_READY,
            after=(PREPARED, *temporal),
            liveness=worker_liveness(settings.database_url_or_default, limits),
            stop_seconds=3.0,
        )
    )
    host = reachable_host(settings.host)
    specs.append(
        ChildSpec(
            name="api",
            command=_makegood_command("api"),
            environment=environment,
            probe=lambda: answers_http(host, settings.port, "/livez"),
            after=(PREPARED,),
            liveness=api_liveness(host, settings.port, limits),
            stop_seconds=2.5,
        )
    )
    return tuple(specs)


def reachable_host(host: str) -> str:
    """The address at which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": LOOPBACK, "::": "::1", "": LOOPBACK}.get(host, host)  # noqa: S104 - compared, not bound


def welcome(
    settings: Settings, result: BootstrapResult, *, ready_seconds: float, run_id: str
) -> str:
    """The text that is printed when everything is ready. `run_id` makes the example's ids unique
    per run.
    """
    url = settings.public_url_or_default
    if settings.temporal_address is None:
        temporal = f"http://{LOOPBACK}:{settings.temporal_ui_port}"
    else:
        temporal = settings.temporal_ui_url or f"the cluster at {settings.temporal_address}"
    mail = f"{url}/mailbox" if settings.smtp_url is None else "your mail server (MAKEGOOD_SMTP_URL)"
    key_note = (
        ""
        if result.api_key
        else "  (MAKEGOOD_KEY is an API key: `makegood key create default --label laptop`)\n"
    )
    return (
        f"\nMakegood is ready in {ready_seconds:.1f} s\n\n"
        f"  API and console   {url}\n"
        f"  API docs          {url}/docs\n"
        f"  Temporal UI       {temporal}\n"
        f"  Mail              {mail}\n"
        f"{NOTE if settings.egress_allow_test else ''}\n"
        f"Sign in with this link; it works once:\n  {url}/login/link?token={result.login_token}\n\n"
        "Send a first receipt, then watch its incident open in the console after half a minute:\n"
        f"{key_note}{_first_call(url, result.api_key, run_id)}\n\n"
        f"{_signing_secret_note(result)}"
        "Ctrl-C stops everything; stored data stays.\n"
    )


@dataclass(frozen=True, slots=True)
class _Up:
    """One run of `makegood up`: prepares the store, and prints the welcome text when the children
    are ready.
    """

    settings: Settings
    started_at: float

    async def run(self, specs: tuple[ChildSpec, ...]) -> int:
        _print(f"Starting Makegood in {self.settings.data_dir}")
        code = await Supervisor(specs, print_line=_print).run(
            prepare=self._prepare, announce=self._announce
        )
        _print("Makegood has stopped")
        return code

    async def _prepare(self) -> None:
        # Migrates here: children that need no tables start meanwhile.
        await asyncio.to_thread(_migrate, self.settings.database_url_or_default)

    async def _announce(self) -> None:
        result = await bootstrap_store(self.settings)
        run_id = time.strftime("%Y%m%d%H%M%S", time.gmtime())
        _print(
            welcome(
                self.settings,
                result,
                ready_seconds=_seconds_since_start(self.started_at),
                run_id=run_id,
            )
        )


def _migrate(database_url: str) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    from store.migrate import StoreIsNewer, migrate

    try:
        migrate(database_url)
    except (OSError, SQLAlchemyError, StoreIsNewer) as error:
        raise StoreUnusable(
            "the database (MAKEGOOD_DATABASE_URL) cannot be opened or migrated:"
            f" {first_line_of(error)}"
        ) from None


def _temporal(settings: Settings, limits: LivenessLimits) -> ChildSpec:
    program = find_temporal_program(settings.data_dir)
    environment = temporal_environment()
    return ChildSpec(
        name="temporal",
        command=start_dev_command(program, settings),
        environment=environment,
        probe=lambda: temporal_is_healthy(program, LOOPBACK, settings.temporal_port, environment),
        liveness=temporal_liveness(LOOPBACK, settings.temporal_port, limits),
        stop_seconds=2.5,
    )


def _mailbox(
    settings: Settings, environment: Mapping[str, str], limits: LivenessLimits
) -> ChildSpec:
    return ChildSpec(
        name="mailbox",
        command=_makegood_command("mailbox"),
        environment=environment,
        probe=lambda: greets_by_smtp(LOOPBACK, settings.smtp_port),
        liveness=mailbox_liveness(LOOPBACK, settings.smtp_port, limits),
        stop_seconds=1.0,
    )


def _makegood_command(command: str) -> tuple[str, ...]:
    # -P: modules in the current directory must not replace ours.
    return sys.executable, "-P", "-m", "cli.main", command


def _child_environment(settings: Settings) -> Mapping[str, str]:
    open_ranges = ",".join(map(str, settings.egress_allow_test))
    return {
        # The lines are read in a terminal, as they are written.
        "MAKEGOOD_LOG_FORMAT": "console",
        **os.environ,
        "MAKEGOOD_EGRESS_ALLOW_TEST": open_ranges,
        "PYTHONUNBUFFERED": "1",
    }


def _first_call(url: str, api_key: str | None, run_id: str) -> str:
    authorization = (
        f"Authorization: Bearer {api_key}" if api_key else "Authorization: Bearer $MAKEGOOD_KEY"
    )
    body = (
        f'{{"provider": "stripe", "stripe_event_id": "evt_first_{run_id}", "event_type":'
        ' "invoice.paid",\n        "effect_type": "access_unlock", "internal_reference":'
        ' "order-1001",\n        "occurred_at":'
        f' "{time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}", "timeout_minutes": 0.5}}'
    )
    return (
        f"  curl -sS {shlex.quote(f'{url}/api/v1/receipt')} \\\n"
        f'    -H "{authorization}" \\\n'
        f'    -H "Idempotency-Key: first-{run_id}" \\\n'
        '    -H "Content-Type: application/json" -H "Accept: application/json" \\\n'
        f"    -d '{body}'"
    )


def _signing_secret_note(result: BootstrapResult) -> str:
    if result.signing_secret is None:
        return ""
    return (
        "Your repair endpoint checks callbacks with this signing secret, shown only now:\n"
        f"  MAKEGOOD_SIGNING_SECRET={result.signing_secret}\n\n"
    )


def _seconds_since_start(started_at: float) -> float:
    """Seconds since this process started; on Linux including the start of the interpreter."""
    try:
        started_ticks = int(
            Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]
        )
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return time.monotonic() - started_at


def _print(text: str) -> None:
    # Written to the descriptor: a closed terminal or pipe must not stop the supervisor or change
    # its exit code.
    line = memoryview(f"{text}\n".encode())
    try:
        while line:
            line = line[os.write(sys.stdout.fileno(), line) :]
    except OSError:
        return
