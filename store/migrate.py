"""Migrates the store's tables to a revision, up or down, with Alembic.

A migration is one exclusive transaction: all of it or nothing. Called by `makegood migrate` and
`makegood up`, never on the event loop. What only reads the revision calls `store.revisions`.
"""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect

from store.db.database import run_alone
from store.revisions import HISTORY, current_revision, revisions
from store.schema.search_ddl import make_search_index


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
    known = revisions(history)
    target = known[0] if to is None else to
    if target not in known:
        raise RevisionUnknown(target, known)

    def move(connection: Connection) -> None:
        current = current_revision(connection)
        if current is not None and current not in known:
            raise StoreIsNewer(current, known[0])
        is_back = current is not None and known.index(target) > known.index(current)
        (command.downgrade if is_back else command.upgrade)(
            alembic_config(history, connection), target
        )
        if inspect(connection).has_table("search_texts"):
            make_search_index(connection)

    asyncio.run(run_alone(url, move))


def alembic_config(history: Path, connection: Connection | None) -> Config:
    """The configuration of Alembic's commands: the revisions' directory and the connection."""
    config = Config()
    config.set_main_option("script_location", str(history).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
