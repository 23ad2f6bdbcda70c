"""What `makegood up` does in the store once everything runs: a sign-in link, and on the very first run a project with a key.

Called by `cli.up.run`, which prints what comes back; nothing of it is logged, and the key can be shown this once only.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.settings import Settings

if TYPE_CHECKING:
    from operations.composition import Operations

PROJECT_NAME = "default"
# Caught by the built-in mailbox, and reserved, so that it can never be anyone's.
ALERT_EMAIL = "you@example.com"


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """A token that signs in once; the key of the project that was made, None when there were projects already."""

    login_token: str
    api_key: str | None


async def take_first_steps(settings: Settings) -> FirstSteps:
    """Make what a newcomer needs next. Each call makes a new sign-in link; the project is made once."""
    # Here, since `makegood up` starts its children before it needs the store's libraries.
    from cli.local_operations import build_operations, cli_actor, read_sealer
    from operations.people.composition import People
    from store.db.database import Database

    database = Database.open(settings.database_url_or_default)
    try:
        login_token = await People.build(database, read_sealer(settings)).accounts.create_link(None, actor=cli_actor())
        api_key = await _first_api_key(build_operations(settings, database), catches_mail=settings.smtp_url is None)
        return FirstSteps(login_token=login_token, api_key=api_key)
    finally:
        await database.close()


async def _first_api_key(operations: "Operations", *, catches_mail: bool) -> str | None:
    from cli.local_operations import cli_actor

    if (await operations.projects.list_projects())["data"]:
        return None
    made = await operations.projects.create_project(
        name=PROJECT_NAME,
        mode="test",
        actor=cli_actor(),
        repair_url=None,
        alert_emails=[ALERT_EMAIL] if catches_mail else [],
        scopes=["ingest"],
    )
    return str(made["api_key"])
