"""Runs an operation directly on the store, with the same functions as REST. No API process is
needed.

It opens the store, builds `Operations`, runs the action and closes the store. A refusal becomes a
`CommandFailed`. It never opens a Temporal client: signals to Temporal go through the outbox.
"""

import asyncio
import os
import platform
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from cli.output import CommandFailed, ExitCode, command_failure, first_line_of
from cli.settings import read_settings
from domain.audit import CLI, Actor
from domain.errors import EvidenceKeyLost, NotFound, Refusal, TooSlow, Unavailable

if TYPE_CHECKING:
    from config.settings import Settings
    from domain.alerts import AlertAnswer, AlertTrial
    from domain.ids import ProjectId
    from domain.projects import Project
    from domain.retries import ExchangeOutcome
    from operations.composition import Operations
    from operations.repair_url.trial import TrialRequest
    from store.crypto.encryption import Sealer
    from store.db.database import Database

T = TypeVar("T")


def operate(action: "Callable[[Operations], Awaitable[T]]") -> T:
    """Run the action on the configured store and return its result.

    Raises: CommandFailed for a refusal, and when the store cannot be used.
    """
    settings = read_settings()

    async def act(database: "Database") -> T:
        return await action(build_operations(settings, database))

    return with_store(settings, act)


def operate_on_project(
    name_or_id: str, action: "Callable[[Operations, Project], Awaitable[T]]"
) -> T:
    """`operate` with the project of this id or name.

    Raises: CommandFailed, also if there is no such project.
    """

    async def act(operations: "Operations") -> T:
        return await action(operations, await find_project(operations, name_or_id))

    return operate(act)


def with_store(settings: "Settings", action: "Callable[[Database], Awaitable[T]]") -> T:
    """Open the store, run the action and return its result.

    Raises: CommandFailed for a refusal, and when the store cannot be used.
    """
    return asyncio.run(with_open_store(settings, action))


async def with_open_store(settings: "Settings", action: "Callable[[Database], Awaitable[T]]") -> T:
    """`with_store` for callers on an event loop."""
    from sqlalchemy.exc import DBAPIError

    from store.crypto.root_secret import SecretUnknown

    try:
        return await _with_open_store(settings, action)
    except SecretUnknown as error:
        raise CommandFailed(str(error)) from None
    except (TooSlow, EvidenceKeyLost) as refusal:
        raise command_failure(refusal) from None
    except Unavailable:
        raise CommandFailed(
            "the database (MAKEGOOD_DATABASE_URL) cannot be reached: run `makegood doctor`"
        ) from None
    except Refusal as refusal:
        raise command_failure(refusal) from None
    except (OSError, DBAPIError) as error:
        raise CommandFailed(
            f"the database (MAKEGOOD_DATABASE_URL) cannot be used: {first_line_of(error)}; "
            "if its tables are missing or old, run `makegood migrate`"
        ) from None


def build_operations(settings: "Settings", database: "Database") -> "Operations":
    """The operations that REST and the console call, on this store.

    Raises: CommandFailed when there is no root secret.
    """
    from egress.provider_api import ProviderUrls
    from operations.composition import Operations
    from operations.sources.check import ProviderCheck

    async def judge(url: str, *, livemode: bool) -> str:
        # Imported here: few commands save a URL, and the HTTP library is slow to import.
        from egress.transport import judge_url

        return await judge_url(url, allow=settings.egress_of(livemode=livemode))

    async def send_trial(trial: "AlertTrial") -> "AlertAnswer":
        # Imported here, likewise.
        from cli.alerts.trial_sender import trial_sender

        return await trial_sender(settings)(trial)

    async def call_repair_url(request: "TrialRequest") -> "ExchangeOutcome":
        # Imported here, likewise.
        from cli.repair_url.caller import repair_url_caller

        return await repair_url_caller(settings)(request)

    urls = {"stripe": settings.stripe_api_url, "shopify": settings.shopify_api_url}
    return Operations.build(
        database=database,
        sealer=read_sealer(settings),
        judge_repair_url=judge,
        provider_check=ProviderCheck(
            urls=ProviderUrls.given(**urls),
            allow_live=settings.egress_of(livemode=True),
            allow_test=settings.egress_of(livemode=False),
        ),
        send_trial=send_trial,
        call_repair_url=call_repair_url,
    )


def cli_actor() -> Actor:
    """The audit-log actor: the operating system's user on this machine. `USER` is not trusted."""
    import pwd  # POSIX only

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # common in containers
        name = f"uid {os.getuid()}"
    return Actor(f"{CLI}:{name}", address=platform.node() or None)


def read_sealer(settings: "Settings") -> "Sealer":
    """The sealer, which encrypts secrets and signs the audit log.

    Raises: CommandFailed when there is no root secret.
    """
    from config.secret_files import SettingsError
    from store.crypto.encryption import Sealer

    try:
        return Sealer(settings.read_secret_key(), settings.read_previous_secret_key())
    except SettingsError as error:
        raise CommandFailed(str(error)) from None


async def find_project(operations: "Operations", name_or_id: str) -> "Project":
    """The project with this id or name.

    Raises: CommandFailed when there is none.
    """
    try:
        return await operations.projects.find_project(name_or_id)
    except NotFound:
        message = (
            f"no project has the id or name {name_or_id!r}: `makegood project list` prints the"
            " newest"
        )
        raise CommandFailed(message, ExitCode.NOT_FOUND) from None


async def find_project_id(operations: "Operations", name_or_id: str | None) -> "ProjectId | None":
    """The project's id; None when no project is given, which means all.

    Raises: CommandFailed when it does not exist.
    """
    return None if name_or_id is None else (await find_project(operations, name_or_id)).id


async def _with_open_store(settings: "Settings", action: "Callable[[Database], Awaitable[T]]") -> T:
    from store.db.database import Database

    # SQLite would create an empty file.
    if settings.database_url is None and not (settings.data_dir / "makegood.db").exists():
        raise CommandFailed(
            f"there is no store in {settings.data_dir} yet: run `makegood up` once, or set "
            "MAKEGOOD_DATA_DIR to its directory or MAKEGOOD_DATABASE_URL to its address"
        )
    database = Database.open(settings.database_url_or_default)
    try:
        return await action(database)
    finally:
        await database.close()
