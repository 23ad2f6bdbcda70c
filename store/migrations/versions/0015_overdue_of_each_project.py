"""The overdue receipts of each project are found through an index; a deleted project is marked once
all of it is erased.

On PostgreSQL the index blocks writes to `receipts` while it is made, about a second for a million
receipts that wait.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0013"
branch_labels = None
depends_on = None

IS_WAITING = sa.text("state = 'waiting'")
IS_LEFT = sa.text("deleted_at IS NOT NULL AND erased_at IS NULL")


def upgrade() -> None:
    columns = ["project_id", "deadline_at", "event_id"]
    op.create_index(
        "receipts_overdue",
        "receipts",
        columns,
        sqlite_where=IS_WAITING,
        postgresql_where=IS_WAITING,
    )
    op.add_column("projects", sa.Column("erased_at", sa.BigInteger(), nullable=True))
    op.create_index(
        "projects_left", "projects", ["id"], sqlite_where=IS_LEFT, postgresql_where=IS_LEFT
    )


def downgrade() -> None:
    """Deleted projects are all looked at again."""
    op.drop_index("projects_left", table_name="projects")
    with op.batch_alter_table("projects") as projects:
        projects.drop_column("erased_at")
    op.drop_index("receipts_overdue", table_name="receipts")
