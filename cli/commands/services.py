"""The commands that run a part of the service until it is told to stop, and `migrate`.

Each composes one part from the settings and ends with its exit code; the parts do the rest.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from cli.options import JsonFlag
from cli.output import CommandFailed, ExitCode, print_record, reason_of
from cli.settings import read_settings, read_whole_settings

RevisionOption = Annotated[
    str | None,
    typer.Option(metavar="REVISION", help="Go to this revision, back too: with the newer version, before an older one starts."),
]


def register(app: typer.Typer) -> None:
    """Put the commands under the application."""
    app.command("up")(up)
    app.command("api")(api)
    app.command("worker")(worker)
    app.command("mailbox", hidden=True)(mailbox)
    app.command("migrate")(migrate)


def up() -> None:
    """Run everything on this machine: API and console, worker, Temporal, mailbox. Ctrl-C ends it; what was stored stays."""
    from cli.up.run import run_up

    raise typer.Exit(run_up(read_settings()))


def api() -> None:
    """Run one API process: the two ingest endpoints, REST and the console."""
    with _imports():
        from api.main import run_api
        from cli.up.watchdog import watched_loop
        from egress.transport import judge_url

    settings = read_whole_settings()

    async def judge(url: str) -> str:
        return await judge_url(url, allow=settings.egress_allow)

    raise typer.Exit(run_api(settings, judge_repair_url=judge, watched_loop=watched_loop))


def worker() -> None:
    """Run one worker process: it tells Temporal what is stored, runs the workflows, sends alerts and callbacks."""
    with _imports():
        from cli.up.watchdog import watched_loop
        from worker.main import run_worker

    raise typer.Exit(run_worker(read_whole_settings(), watched_loop=watched_loop))


def mailbox() -> None:
    """Run the built-in mailbox, an SMTP server on loopback that keeps every mail and forwards none."""
    from cli.up.mailbox_server import run_mailbox

    raise typer.Exit(run_mailbox(read_settings()))


def migrate(as_json: JsonFlag = False, to: RevisionOption = None) -> None:
    """Bring the store's tables up to date. `makegood up` does it by itself; in production run it before a new version starts."""
    from sqlalchemy.exc import SQLAlchemyError

    from store.migrate import RevisionUnknown, StoreIsNewer, migration_state
    from store.migrate import migrate as migrate_store

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
        raise CommandFailed(f"the store (MAKEGOOD_DATABASE_URL) cannot be opened or migrated: {reason_of(error)}") from None
    print_record({"before": before, "now": after, "changed": before != after}, as_json=as_json)


@contextmanager
def _imports() -> Iterator[None]:
    """A service's imports make no garbage worth looking for: a fifth of its start. What they made is never looked at again."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()
