"""`makegood up`: runs everything on one machine, from an empty directory to a working service.

Steps: 1. Lock the data directory, check the ports, create the root secret. 2. Start the children
(Temporal, mailbox, worker, API) under the supervisor; migrate the store meanwhile. 3. Print the
banner when all are ready, and open the browser. 4. Stop everything on SIGINT or SIGTERM.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.logs.writing import DIRECTORY_NAME, ChildLogs
from cli.output import first_line_of
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
from cli.up.open_loopback import with_open_loopback
from cli.up.ports import PortsError, check_ports, needed_ports
from cli.up.probes import (
    LOOPBACK,
    answers_http,
    greets_by_smtp,
    reachable_host,
    temporal_is_healthy,
)
from cli.up.reports import Reports
from cli.up.supervisor import PREPARED, Supervisor
from cli.up.temporal_binary import (
    TemporalProgramError,
    find_temporal_program,
    start_dev_command,
    temporal_environment,
)
from cli.welcome.banner import Welcome
from cli.welcome.bootstrap import bootstrap_store
from cli.welcome.browser import may_open_browser, open_browser
from config.secret_files import SettingsError
from config.settings import Settings

WORKER_READY = "worker_ready"


class StoreUnusable(Exception):
    """The store cannot be opened or migrated; the message never contains the database URL."""


def run_up(
    settings: Settings, *, limits: LivenessLimits = DEFAULT_LIMITS, with_browser: bool = True
) -> int:
    """Run everything until SIGINT or SIGTERM; returns the exit code.

    `with_browser` opens the sign-in link, where somebody would see it.
    """
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
            specs = child_specs(settings, limits)
            opens_browser = (
                with_browser
                and settings.open_browser
                and may_open_browser(os.environ, is_terminal=sys.stdout.isatty())
            )
            with announced(settings), _reports(settings, specs) as reports:
                return asyncio.run(_Up(settings, started_at, opens_browser, reports).run(specs))
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


@dataclass(frozen=True, slots=True)
class _Up:
    """One run of `makegood up`: prepares the store, and prints the banner when the children are
    ready.
    """

    settings: Settings
    started_at: float
    opens_browser: bool
    reports: Reports

    async def run(self, specs: tuple[ChildSpec, ...]) -> int:
        _print(f"Starting Makegood in {self.settings.data_dir}")
        code = await Supervisor(specs, self.reports).run(
            prepare=self._prepare, announce=self._announce
        )
        _print("Makegood has stopped")
        return code

    async def _prepare(self) -> None:
        # Migrates here: children that need no tables start meanwhile.
        await asyncio.to_thread(_migrate, self.settings.database_url_or_default)

    async def _announce(self) -> None:
        welcome = Welcome(
            settings=self.settings,
            result=await bootstrap_store(self.settings),
            ready_seconds=_seconds_since_start(self.started_at),
            run_id=time.strftime("%Y%m%d%H%M%S", time.gmtime()),
            opens_browser=self.opens_browser,
        )
        _print(welcome.text())
        if self.opens_browser:
            await open_browser(welcome.login_url)


@contextlib.contextmanager
def _reports(settings: Settings, specs: tuple[ChildSpec, ...]) -> Iterator[Reports]:
    """The outputs of this run, with a log file for each child."""
    names = [spec.name for spec in specs]
    directory = settings.data_dir / DIRECTORY_NAME
    try:
        logs = ChildLogs(directory, names, on_problem=_print)
    except OSError as error:
        raise DataDirectoryError(
            f"the logs cannot be written to {directory} ({error.strerror}): make it a directory"
            " that you can write, or remove it"
        ) from None
    with contextlib.closing(logs):
        yield Reports(
            print_line=_print,
            logs=logs,
            is_terminal=sys.stdout.isatty(),
            width=max(map(len, names)),
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
