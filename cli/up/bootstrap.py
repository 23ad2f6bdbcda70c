"""Bootstraps a store for `makegood up`: creates a sign-in link, and on the first run a project with
a key.

`cli.up.run` prints the result. No value is logged; key and secret cannot be shown again.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.local_operations import build_operations, cli_actor, read_sealer
from config.settings import Settings

if TYPE_CHECKING:
    from operations.composition import Operations

PROJECT_NAME = "default"
# The built-in mailbox receives it. The domain is reserved, so nobody owns the address.
ALERT_EMAIL = "you@example.com"


@dataclass(frozen=True, slots=True)
class BootstrapResult:
    """A single-use sign-in token, and the new project's key and signing secret; None when projects
    existed already.
    """

    login_token: str
    api_key: str | None
    signing_secret: str | None = None


async def bootstrap_store(settings: Settings) -> BootstrapResult:
    """Create a sign-in link on each call, and the default project when the store has no project."""
    # Imported here: `makegood up` starts its children before it needs the store.
    from operations.people.composition import People
    from store.db.database import Database

    database = Database.open(settings.database_url_or_default)
    try:
        login_token = await People.build(database, read_sealer(settings)).accounts.create_link(
            None, actor=cli_actor()
        )
        api_key, signing_secret = await _first_secrets(
            build_operations(settings, database), catches_mail=settings.smtp_url is None
        )
        return BootstrapResult(login_token, api_key, signing_secret)
    finally:
        await database.close()


async def _first_secrets(
    operations: "Operations", *, catches_mail: bool
) -> tuple[str, str] | tuple[None, None]:
    """The API key and the signing secret of the default project, if it is created now."""
    if await operations.projects.list_projects():
        return None, None
    created = await operations.projects.create_project(
        name=PROJECT_NAME,
        mode="test",
        actor=cli_actor(),
        repair_url=None,
        alert_emails=[ALERT_EMAIL] if catches_mail else [],
        scopes=["ingest"],
    )
    return created.api_key, created.signing_secret
