"""A source whose Temporal Schedule could not be changed has the time when that is tried again."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

IS_NOT_SCHEDULED = sa.text("schedule_retry_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("sources", sa.Column("schedule_retry_at", sa.BigInteger(), nullable=True))
    op.create_index(
        "sources_not_scheduled",
        "sources",
        ["schedule_retry_at"],
        sqlite_where=IS_NOT_SCHEDULED,
        postgresql_where=IS_NOT_SCHEDULED,
    )


def downgrade() -> None:
    op.drop_index("sources_not_scheduled", "sources")
    op.drop_column("sources", "schedule_retry_at")
