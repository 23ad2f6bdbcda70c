"""Runs one operator's action on the store itself, through the same functions as REST; no API needs to run.

It opens the store, builds `Operations`, runs the action and closes the store again. A refusal becomes the failure of the
command. It never opens a Temporal client: what the engine must hear goes through the outbox, as always.
"""

import asyncio
import os
import platform
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from cli.output import CommandFailed, ExitCode, failure_of, reason_of
from cli.settings import read_settings
from domain.audit import CLI, Actor

if TYPE_CHECKING:
    from config.settings import Settings
    from operations.composition import Operations
    from store.crypto.encryption import Sealer
    from store.db.database import Database

T = TypeVar("T")
# A JSON object as REST answers it, with values of any JSON type.
Json = Mapping[str, Any]


def operate(action: "Callable[[Operations], Awaitable[T]]") -> T:
    """What the action gives, with the store opened as the settings say.

    Raises: CommandFailed for a refusal, and when the store cannot be used.
    """
    settings = read_settings()

    async def act(database: "Database") -> T:
        return await action(build_operations(settings, database))

    return with_store(settings, act)


def with_store(settings: "Settings", action: "Callable[[Database], Awaitable[T]]") -> T:
    """What the action gives, with the store open while it runs.

    Raises: CommandFailed for a refusal, and when the store cannot be used.
    """
    return asyncio.run(with_open_store(settings, action))


async def with_open_store(settings: "Settings", action: "Callable[[Database], Awaitable[T]]") -> T:
    """The same for a caller on the event loop."""
    from sqlalchemy.exc import DBAPIError

    from domain.errors import Refusal, TooSlow, Unavailable
    from store.crypto.root_secret import SecretUnknown

    try:
        return await _with_open_store(settings, action)
    except SecretUnknown as error:
        raise CommandFailed(str(error)) from None
    except TooSlow as refusal:
        raise failure_of(refusal) from None
    except Unavailable:
        raise CommandFailed("the store (MAKEGOOD_DATABASE_URL) cannot be reached; `makegood doctor` looks further") from None
    except Refusal as refusal:
        raise failure_of(refusal) from None
    except (OSError, DBAPIError) as error:
        raise CommandFailed(
            f"the store (MAKEGOOD_DATABASE_URL) cannot be used: {reason_of(error)}; "
            "`makegood migrate` brings its tables up to date"
        ) from None


def build_operations(settings: "Settings", database: "Database") -> "Operations":
    """The operations of REST and console, on this store.

    Raises: CommandFailed when there is no root secret.
    """
    from operations.composition import Operations

    async def judge(url: str) -> str:
        # Here, since few commands save a URL, and its HTTP library is slow to import.
        from egress.transport import judge_url

        return await judge_url(url, allow=settings.egress_allow)

    return Operations.build(database=database, sealer=read_sealer(settings), judge_repair_url=judge)


def cli_actor() -> Actor:
    """Who runs this command, for the audit log: the system's user, on this machine. Variables such as `USER` are not believed."""
    import pwd

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container, often
        name = f"uid {os.getuid()}"
    return Actor(f"{CLI}:{name}", address=platform.node() or None)


def read_sealer(settings: "Settings") -> "Sealer":
    """What seals secrets and signs the audit log.

    Raises: CommandFailed when there is no root secret.
    """
    from config.secret_files import SettingsError
    from store.crypto.encryption import Sealer

    try:
        return Sealer(settings.read_secret_key(), settings.read_previous_secret_key())
    except SettingsError as error:
        raise CommandFailed(str(error)) from None


async def find_project(operations: "Operations", name_or_id: str) -> Json:
    """The project of that id or name.

    Raises: CommandFailed when there is none.
    """
    from domain.errors import NotFound

    try:
        return await operations.projects.find_project(name_or_id)
    except NotFound:
        told = f"no project has the id or name {name_or_id!r}: `makegood project list` shows the newest"
        raise CommandFailed(told, ExitCode.NOT_FOUND) from None


async def find_project_id(operations: "Operations", name_or_id: str | None) -> str | None:
    """Its id; None for no project, which means all.

    Raises: CommandFailed when there is none of that name.
    """
    return None if name_or_id is None else str((await find_project(operations, name_or_id))["project_id"])


async def _with_open_store(settings: "Settings", action: "Callable[[Database], Awaitable[T]]") -> T:
    from store.db.database import Database

    # SQLite would make an empty file where none is.
    if settings.database_url is None and not (settings.data_dir / "makegood.db").exists():
        raise CommandFailed(
            f"there is no store in {settings.data_dir} yet: run `makegood up` once, or name the store's directory with "
            "MAKEGOOD_DATA_DIR or its address with MAKEGOOD_DATABASE_URL"
        )
    database = Database.open(settings.database_url_or_default)
    try:
        return await action(database)
    finally:
        await database.close()
