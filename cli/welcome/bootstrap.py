"""Bootstraps a store for `makegood up`: creates a sign-in link, and on the first run a project with
a key.

`cli.welcome.banner` prints the result. No value is logged; key and secret cannot be shown again.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.local_operations import build_operations, cli_actor, read_sealer
from config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.projects import CreatedProject, Project
    from operations.composition import Operations

PROJECT_NAME = "default"
# The built-in mailbox receives it. The domain is reserved, so nobody owns the address.
ALERT_EMAIL = "you@example.com"


@dataclass(frozen=True, slots=True)
class BootstrapResult:
    """A single-use sign-in token, and a test project for a first call.

    Key and signing secret are None when the project existed already; `project_name` is None when
    there are projects, but no test project that works.
    """

    login_token: str
    project_name: str | None
    api_key: str | None = None
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
        operations = build_operations(settings, database)
        existing = await operations.projects.list_projects(with_destinations=False)
        if existing:
            return BootstrapResult(login_token, _name_of_test_project(existing))
        created = await _first_project(operations, catches_mail=settings.smtp_url is None)
        return BootstrapResult(login_token, PROJECT_NAME, created.api_key, created.signing_secret)
    finally:
        await database.close()


def _name_of_test_project(projects: "Sequence[Project]") -> str | None:
    names = [
        project.name for project in projects if not project.livemode and not project.is_suspended
    ]
    return PROJECT_NAME if PROJECT_NAME in names else next(iter(names), None)


async def _first_project(operations: "Operations", *, catches_mail: bool) -> "CreatedProject":
    return await operations.projects.create_project(
        name=PROJECT_NAME,
        mode="test",
        actor=cli_actor(),
        repair_url=None,
        alert_emails=[ALERT_EMAIL] if catches_mail else [],
        scopes=["ingest"],
    )
