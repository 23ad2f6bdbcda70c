"""The revisions that this version knows, and the one that the store's tables have.

Without Alembic: every process reads the revision, and only `store.migrate` migrates. A revision's
id is the number that its file in `store/migrations/versions` begins with.
"""

import asyncio
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncSession

from store.db.database import dialect_of, run_alone, sqlite_path

HISTORY = Path(__file__).parent / "migrations"
_CURRENT = text("SELECT version_num FROM alembic_version")


def revisions(history: Path = HISTORY) -> list[str]:
    """Every revision of this version, such as "0016", the newest first."""
    files = history.glob("versions/[0-9]*_*.py")
    return sorted((file.name.partition("_")[0] for file in files), reverse=True)


def migration_state(url: str) -> tuple[str | None, str]:
    """The current revision of the tables, None if there are none, and the newest revision.

    Not on the event loop. Raises: OSError, SQLAlchemyError.
    """
    newest = revisions()[0]
    if dialect_of(url) == "sqlite" and not sqlite_path(url).exists():
        return None, newest
    current: list[str | None] = []
    asyncio.run(run_alone(url, lambda connection: current.append(current_revision(connection))))
    return current[0], newest


async def read_revision(session: AsyncSession) -> str | None:
    """The current revision, in an open store. Does not wait for a running migration."""
    revision: str | None = await session.scalar(_CURRENT)
    return revision


def current_revision(connection: Connection) -> str | None:
    """The current revision of the tables; None if there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(_CURRENT)
    return revision
