"""Acknowledgements that end, assignees and snoozes of incidents; the minutes of an acknowledgement.

An earlier version neither reads nor writes the new columns. What it acknowledges has no end. On
PostgreSQL the indexes block writes while they read the incidents once; no row is in them then.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0021"
branch_labels = None
depends_on = None

COLUMNS: dict[str, Any] = {  # Any: a type of a column
    "acknowledged_by": sa.Text(),
    "acknowledged_until": sa.BigInteger(),
    "assignee": sa.Text(),
    "snoozed_until": sa.BigInteger(),
}
INDEXES = {"incidents_acknowledged": "acknowledged_until", "incidents_snoozed": "snoozed_until"}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("incidents", sa.Column(name, kind, nullable=True))
    op.add_column(
        "projects",
        sa.Column("acknowledge_minutes", sa.Integer(), nullable=False, server_default="240"),
    )
    for index, instant in INDEXES.items():
        has_end = sa.text(f"{instant} IS NOT NULL")
        op.create_index(
            index,
            "incidents",
            ["project_id", instant, "id"],
            sqlite_where=has_end,
            postgresql_where=has_end,
        )


def downgrade() -> None:
    """Acknowledgements lose their ends and names, snoozes and assignees are lost."""
    for index in INDEXES:
        op.drop_index(index, table_name="incidents")
    op.drop_column("projects", "acknowledge_minutes")
    for name in reversed(COLUMNS):
        op.drop_column("incidents", name)
