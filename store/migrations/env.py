"""Alembic's entry:

runs the migrations on the connection that `store.migrate` hands over, inside its transaction.
"""

from alembic import context
from sqlalchemy import Connection
from sqlmodel import SQLModel


def run() -> None:
    connection = context.config.attributes["connection"]
    if not isinstance(connection, Connection):
        raise RuntimeError("migrations run through `makegood migrate` alone")
    # Batches: SQLite alters a table by making it anew.
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
