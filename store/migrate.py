"""Migrates the store's tables to a revision, up or down, and reads their current revision.

A migration is one exclusive transaction: all of it or nothing. Called by `makegood migrate` and
`makegood up`; doctor and `/readyz` read the revision. Only `read_revision` may be called on the
event loop.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncSession

from store.db.database import dialect_of, run_alone, sqlite_path
from store.schema.search_ddl import make_search_index

if TYPE_CHECKING:
    from alembic.config import Config

HISTORY = Path(__file__).parent / "migrations"


class StoreIsNewer(Exception):
    """The tables belong to a newer version: run that one, or migrate back with it first."""

    def __init__(self, revision: str, newest: str) -> None:
        super().__init__(
            f"its tables are at {revision}, of a newer version: run that one, or have it go back"
            f" first (`makegood migrate --to {newest}`)"
        )


class RevisionUnknown(Exception):
    """This version has no such revision. The message lists its revisions."""

    def __init__(self, revision: str, known: list[str]) -> None:
        super().__init__(
            f"this version has no revision {revision[:32]!r}, only {', '.join(reversed(known))}"
        )


def migrate(url: str, *, to: str | None = None, history: Path = HISTORY) -> None:
    """Migrate the tables to revision `to`; None means the newest. Idempotent.

    Raises: StoreIsNewer; RevisionUnknown; OSError when the store cannot be reached; SQLAlchemyError
    when it refuses.
    """
    # Imported here: only migrations need Alembic, but every process imports `store`.
    from alembic import command

    known = revisions(history)
    target = known[0] if to is None else to
    if target not in known:
        raise RevisionUnknown(target, known)

    def move(connection: Connection) -> None:
        current = _revision_of(connection)
        if current is not None and current not in known:
            raise StoreIsNewer(current, known[0])
        is_back = current is not None and known.index(target) > known.index(current)
        (command.downgrade if is_back else command.upgrade)(
            alembic_config(history, connection), target
        )
        if inspect(connection).has_table("search_texts"):
            make_search_index(connection)

    asyncio.run(run_alone(url, move))


def migration_state(url: str) -> tuple[str | None, str]:
    """The current revision of the tables, None if there are none, and the newest revision.

    Raises: OSError, SQLAlchemyError.
    """
    head = revisions()[0]
    if dialect_of(url) == "sqlite" and not sqlite_path(url).exists():
        return None, head
    current: list[str | None] = []
    asyncio.run(run_alone(url, lambda connection: current.append(_revision_of(connection))))
    return current[0], head


async def read_revision(session: AsyncSession) -> str | None:
    """The current revision, in an open store. Does not wait for a running migration."""
    revision: str | None = await session.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def revisions(history: Path = HISTORY) -> list[str]:
    """Every revision of this version, the newest first."""
    from alembic.script import ScriptDirectory

    return [
        script.revision
        for script in ScriptDirectory.from_config(alembic_config(history, None)).walk_revisions()
    ]


def alembic_config(history: Path, connection: Connection | None) -> "Config":
    """The configuration of Alembic's commands: the revisions' directory and the connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(history).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _revision_of(connection: Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()
