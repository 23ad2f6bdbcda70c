"""`makegood backup` and `restore`: the whole store into one file while it is at work, and back into an empty one.

They work on the store alone and open no Temporal client: what the next worker finds in the store, it tells Temporal. The secret
key is not in the file: it must be kept, and brought, apart.
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
from cli.output import CommandFailed, ExitCode, print_record, reason_of
from cli.settings import read_settings, read_whole_settings

if TYPE_CHECKING:
    from config.settings import Settings
    from store.crypto.encryption import Sealer
    from store.db.database import Database
    from store.maintenance.backup_file import BackupReader

NewFileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The backup's file; its directory must exist.")]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A file that `makegood backup` made.")]
ForceFlag = Annotated[bool, typer.Option("--force", help="Replace FILE when it exists.")]
TOLD_EVERY_SECONDS = 0.2


def register(app: typer.Typer) -> None:
    """Put the commands under the application."""
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(file: NewFileArgument, force: ForceFlag = False, as_json: JsonFlag = False) -> None:
    """Copy the whole store, SQLite or PostgreSQL, into FILE while everything runs. Keep the secret key apart: it is not in it."""
    from store.maintenance.backup import back_up
    from store.maintenance.backup_file import BackupWriter, written_whole
    from store.migrate import revisions

    if file.exists() and not force:
        raise CommandFailed(f"{file} exists: name another file, or give --force to replace it", ExitCode.USAGE)
    settings = read_whole_settings()
    started_at, revision, sealer = time.monotonic(), revisions()[0], read_sealer(settings)
    with _told_failures(), written_whole(file) as opened:

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
    """Bring a backup's FILE into an empty store, SQLite or PostgreSQL, before anything is started. All of it, or nothing."""
    from store.maintenance.backup_file import BackupReader
    from store.migrate import revisions

    if not file.is_file():
        raise CommandFailed(f"there is no file {file}", ExitCode.NOT_FOUND)
    settings = read_settings()
    sealer = _same_sealer(settings)
    started_at = time.monotonic()
    with _told_failures(), BackupReader.open(file) as opened:
        rows = _restored(settings, opened, sealer, revision=revisions()[0])
    _print_summary(file, opened.header.revision, rows, started_at, as_json=as_json)


def _restored(settings: "Settings", opened: "BackupReader", sealer: "Sealer", *, revision: str) -> dict[str, int]:
    from store.maintenance.backup import check_fits, fitting_key, refuse_unless_empty
    from store.maintenance.backup import restore as restore_rows

    key = fitting_key(opened, sealer)

    async def refuse(database: "Database") -> None:
        async with database.reading() as session:
            await refuse_unless_empty(session, await database.now(session))

    async def act(database: "Database") -> dict[str, int]:
        with _progress("restored") as progress:
            return await restore_rows(database, opened, sealer=sealer, actor=cli_actor(), progress=progress)

    check_fits(opened, key=key, revision=revision)
    has_tables = _has_tables(settings, revision=revision)
    if has_tables:
        with_store(settings, refuse)
    # The whole file once, before anything is stored.
    with _progress("checked") as progress:
        checked = 0
        for batch in opened.batches(key):
            progress(checked := checked + len(batch.rows))
    if not has_tables:
        _make_tables(settings)
    return with_store(settings, act)


def _has_tables(settings: "Settings", *, revision: str) -> bool:
    from store.migrate import migration_state

    current, _ = migration_state(settings.database_url_or_default)
    if current not in {None, revision}:
        raise CommandFailed(
            f"the store's tables are at {current}, those of this version at {revision}: restore into a new, empty store"
        )
    return current is not None


def _make_tables(settings: "Settings") -> None:
    from store.migrate import migrate

    if settings.database_url is None:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    migrate(settings.database_url_or_default)


def _same_sealer(settings: "Settings") -> "Sealer":
    from config.secret_files import SettingsError
    from store.crypto.encryption import Sealer

    try:
        return Sealer(settings.read_secret_key(), settings.read_previous_secret_key())
    except SettingsError:
        raise CommandFailed(
            "the secret key of the instance that made the backup is needed: set MAKEGOOD_SECRET_KEY, or put its file at "
            f"{settings.secret_key_path}"
        ) from None


@contextmanager
def _told_failures() -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    from store.maintenance.backup_file import BackupError

    try:
        yield
    except BackupError as error:
        raise CommandFailed(str(error)) from None
    except (OSError, SQLAlchemyError) as error:
        raise CommandFailed(f"the store (MAKEGOOD_DATABASE_URL) cannot be opened or migrated: {reason_of(error)}") from None


class _Progress:
    """Rows so far, on one line of a terminal; nothing where there is none."""

    def __init__(self, done: str) -> None:
        self._done = done
        self._is_shown = sys.stderr.isatty()
        self._told_at = time.monotonic()

    def __call__(self, rows: int) -> None:
        if self._is_shown and time.monotonic() - self._told_at > TOLD_EVERY_SECONDS:
            self._told_at = time.monotonic()
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


def _print_summary(file: Path, revision: str, rows: Mapping[str, int], started_at: float, *, as_json: bool) -> None:
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
