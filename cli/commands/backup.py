"""`makegood backup` and `restore`: copy a running store into one file, and into an empty store.

They use the store only and open no Temporal client: the next worker starts the workflows of the
open receipts. The file does not contain the secret key, which must be stored separately.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.local_operations import cli_actor, read_sealer, with_store
from cli.options import JsonFlag
from cli.output import CommandFailed, ExitCode, first_line_of, print_record
from cli.settings import read_settings, read_whole_settings

if TYPE_CHECKING:
    from config.settings import Settings
    from store.crypto.encryption import Sealer
    from store.db.database import Database
    from store.maintenance.backup_file import BackupReader

NewFileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The backup file to write; its directory must exist.")
]
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="A file that `makegood backup` wrote.")
]
ForceFlag = Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")]
PROGRESS_INTERVAL_SECONDS = 0.2


def register(app: typer.Typer) -> None:
    """Put the commands under the application."""
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(file: NewFileArgument, force: ForceFlag = False, as_json: JsonFlag = False) -> None:
    """Copy the whole store, SQLite or PostgreSQL, into FILE while it is in use. Store the secret
    key separately.
    """
    from store.maintenance.backup import back_up
    from store.maintenance.backup_file import BackupWriter, written_whole
    from store.revisions import revisions

    if file.exists() and not force:
        raise CommandFailed(
            f"{file} exists: choose another file, or replace it with --force", ExitCode.USAGE
        )
    settings = read_whole_settings()
    started_at, revision, sealer = time.monotonic(), revisions()[0], read_sealer(settings)
    with _failures_as_command_failed(), written_whole(file) as opened:

        async def act(database: "Database") -> dict[str, int]:
            writer = BackupWriter(opened)
            with _progress("backed up") as progress:
                await back_up(
                    database,
                    writer,
                    sealer=sealer,
                    actor=cli_actor(),
                    made_by=installed_version("makegood"),
                    revision=revision,
                    progress=progress,
                )
            return writer.rows

        rows = with_store(settings, act)
    _print_summary(file, revision, rows, started_at, as_json=as_json)


def restore(file: FileArgument, as_json: JsonFlag = False) -> None:
    """Restore FILE into an empty store, SQLite or PostgreSQL, before any process starts. All or
    nothing.
    """
    from store.maintenance.backup_file import BackupReader
    from store.revisions import revisions

    if not file.is_file():
        raise CommandFailed(f"there is no file {file}", ExitCode.NOT_FOUND)
    settings = read_settings()
    sealer = _sealer_for_restore(settings)
    started_at = time.monotonic()
    with _failures_as_command_failed(), BackupReader.open(file) as opened:
        rows = _restore_file(settings, opened, sealer, revision=revisions()[0])
    _print_summary(file, opened.header.revision, rows, started_at, as_json=as_json)


def _restore_file(
    settings: "Settings", opened: "BackupReader", sealer: "Sealer", *, revision: str
) -> dict[str, int]:
    from store.maintenance.backup import check_fits, fitting_key, refuse_unless_empty
    from store.maintenance.backup import restore as restore_rows

    key = fitting_key(opened, sealer)

    async def refuse(database: "Database") -> None:
        async with database.reading() as session:
            await refuse_unless_empty(session, await database.now(session))

    async def act(database: "Database") -> dict[str, int]:
        with _progress("restored") as progress:
            return await restore_rows(
                database, opened, sealer=sealer, actor=cli_actor(), progress=progress
            )

    check_fits(opened, key=key, revision=revision)
    has_tables = _has_tables(settings, revision=revision)
    if has_tables:
        with_store(settings, refuse)
    # Read the whole file once before anything is stored.
    with _progress("checked") as progress:
        checked = 0
        for batch in opened.batches(key):
            progress(checked := checked + len(batch.rows))
    if not has_tables:
        _make_tables(settings)
    return with_store(settings, act)


def _has_tables(settings: "Settings", *, revision: str) -> bool:
    from store.revisions import migration_state

    current, _ = migration_state(settings.database_url_or_default)
    if current not in {None, revision}:
        raise CommandFailed(
            f"the store's tables are at revision {current}, this version needs {revision}: restore"
            " into a new, empty store"
        )
    return current is not None


def _make_tables(settings: "Settings") -> None:
    from store.migrate import migrate

    if settings.database_url is None:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    migrate(settings.database_url_or_default)


def _sealer_for_restore(settings: "Settings") -> "Sealer":
    from config.secret_files import SettingsError
    from store.crypto.encryption import Sealer

    try:
        return Sealer(settings.read_secret_key(), settings.read_previous_secret_key())
    except SettingsError:
        raise CommandFailed(
            "restore needs the secret key of the instance that made the backup: set"
            f" MAKEGOOD_SECRET_KEY, or put its file at {settings.secret_key_path}"
        ) from None


@contextmanager
def _failures_as_command_failed() -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    from store.maintenance.backup_file import BackupError

    try:
        yield
    except BackupError as error:
        raise CommandFailed(str(error)) from None
    except (OSError, SQLAlchemyError) as error:
        raise CommandFailed(
            "the database (MAKEGOOD_DATABASE_URL) cannot be opened or migrated:"
            f" {first_line_of(error)}"
        ) from None


class _Progress:
    """Prints the number of rows so far on one terminal line; nothing when stderr is no terminal."""

    def __init__(self, done: str) -> None:
        self._done = done
        self._is_shown = sys.stderr.isatty()
        self._printed_at = time.monotonic()

    def __call__(self, rows: int) -> None:
        if self._is_shown and time.monotonic() - self._printed_at > PROGRESS_INTERVAL_SECONDS:
            self._printed_at = time.monotonic()
            print(f"\r{rows:,} rows {self._done}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._is_shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


@contextmanager
def _progress(done: str) -> Iterator[_Progress]:
    progress = _Progress(done)
    try:
        yield progress
    finally:
        progress.end()


def _print_summary(
    file: Path, revision: str, rows: Mapping[str, int], started_at: float, *, as_json: bool
) -> None:
    print_record(
        {
            "file": str(file),
            "revision": revision,
            "tables": dict(rows),
            "bytes": file.stat().st_size,
            "seconds": round(time.monotonic() - started_at, 2),
        },
        as_json=as_json,
    )
