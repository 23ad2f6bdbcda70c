"""The commands that run a service until it is stopped (`up`, `api`, `worker`, `mailbox`), and
`migrate`.

Each builds one service from the settings and exits with its exit code.
"""

import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from cli.options import JsonFlag
from cli.output import CommandFailed, ExitCode, first_line_of, print_record
from cli.settings import read_own_settings, read_settings, read_whole_settings

RevisionOption = Annotated[
    str | None,
    typer.Option(
        metavar="REVISION",
        help=(
            "Migrate to this revision, also back: run the newer version before an older one starts."
        ),
    ),
]


def register(app: typer.Typer) -> None:
    """Put the commands under the application."""
    app.command("up")(up)
    app.command("api")(api)
    app.command("worker")(worker)
    app.command("mailbox", hidden=True)(mailbox)
    app.command("migrate")(migrate)


def up(
    no_browser: Annotated[
        bool,
        typer.Option(
            "--no-browser",
            help="Do not open the console in the browser. Without a terminal and a display it"
            " never opens.",
        ),
    ] = False,
) -> None:
    """Run everything on this machine: API and console, worker, Temporal, mailbox. Ctrl-C stops it;
    stored data stays.
    """
    from cli.up.run import run_up

    _exit(run_up(read_own_settings(), with_browser=not no_browser))


def api() -> None:
    """Run one API process: ingest, REST and the console."""
    with _imports_without_gc():
        from api.main import OutsideCalls, run_api
        from cli.alerts.trial_sender import trial_sender
        from cli.doctor.run import examiner
        from cli.repair_url.caller import repair_url_caller
        from cli.up.watchdog import watched_loop
        from egress.transport import judge_url

    settings = read_whole_settings()

    async def judge(url: str, *, livemode: bool) -> str:
        return await judge_url(url, allow=settings.egress_of(livemode=livemode))

    outside = OutsideCalls(
        judge_repair_url=judge,
        send_trial=trial_sender(settings),
        call_repair_url=repair_url_caller(settings),
        examine=examiner(settings),
        watched_loop=watched_loop,
    )
    _exit(run_api(settings, outside))


def worker() -> None:
    """Run one worker process: dispatches stored events to Temporal, runs workflows, sends alerts
    and callbacks.
    """
    with _imports_without_gc():
        from cli.up.watchdog import watched_loop
        from worker.main import run_worker

    _exit(run_worker(read_whole_settings(), watched_loop=watched_loop))


def mailbox() -> None:
    """Run the built-in mailbox: an SMTP server on loopback that stores every mail and forwards
    none.
    """
    from cli.up.mailbox_server import run_mailbox

    raise typer.Exit(run_mailbox(read_own_settings()))


def migrate(as_json: JsonFlag = False, to: RevisionOption = None) -> None:
    """Migrate the store's tables. `makegood up` does it itself; in production run it before a new
    version starts.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from store.migrate import RevisionUnknown, StoreIsNewer
    from store.migrate import migrate as migrate_store
    from store.revisions import migration_state

    settings = read_settings()
    if settings.database_url is None:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    url = settings.database_url_or_default
    try:
        before, _ = migration_state(url)
        migrate_store(url, to=to)
        after, _ = migration_state(url)
    except RevisionUnknown as error:
        raise CommandFailed(str(error), ExitCode.USAGE) from None
    except (OSError, SQLAlchemyError, StoreIsNewer) as error:
        raise CommandFailed(
            "the database (MAKEGOOD_DATABASE_URL) cannot be opened or migrated:"
            f" {first_line_of(error)}"
        ) from None
    print_record({"before": before, "now": after, "changed": before != after}, as_json=as_json)


def _exit(code: int) -> NoReturn:
    """Exit with the code, which a second signal during the exit must not change."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise typer.Exit(code)


@contextmanager
def _imports_without_gc() -> Iterator[None]:
    """Disable garbage collection during the imports, a fifth of the start time, and freeze the
    result.
    """
    gc.disable()
    yield
    gc.freeze()
    gc.enable()
