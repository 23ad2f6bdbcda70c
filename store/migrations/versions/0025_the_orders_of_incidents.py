"""Incidents are listed by deadline, amount, error, customer and assignee, and found by error.

People save views of the list. The worker fills the index of texts again, since it holds errors and
request ids now; until then a search compares what is not indexed. On PostgreSQL the indexes block
writes to their table while they are made: to `receipts` while it is read once.
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

INDEXES = {
    "incidents_by_opening": ["project_id", "state", "opened_at", "id"],
    "incidents_by_deadline": ["project_id", "state", "deadline_at", "id"],
    "incidents_by_amount": ["project_id", "state", "sort_amount", "id"],
    "incidents_by_error": ["project_id", "state", "error_code", "opened_at", "id"],
}
PARTIAL_INDEXES = {
    "incidents_by_customer": (
        ["project_id", "customer_reference"],
        sa.text("customer_reference IS NOT NULL"),
    ),
    "incidents_looked_at": (
        ["project_id", "id"],
        sa.text("acknowledged_at IS NOT NULL AND state <> 'resolved'"),
    ),
    "incidents_by_assignee": (["project_id", "assignee"], sa.text("assignee IS NOT NULL")),
}
IS_FLAGGED = sa.text("flags <> ''")


def upgrade() -> None:
    for name, default in (("deadline_at", "0"), ("sort_amount", "-1")):
        op.add_column(
            "incidents",
            sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text(default)),
        )
    op.execute(
        "UPDATE incidents SET sort_amount = COALESCE(amount, -1), deadline_at = COALESCE("
        "(SELECT r.deadline_at FROM receipts AS r WHERE r.event_id = incidents.event_id), 0)"
    )
    for name, columns in INDEXES.items():
        op.create_index(name, "incidents", columns)
    for name, (columns, where) in PARTIAL_INDEXES.items():
        op.create_index(name, "incidents", columns, sqlite_where=where, postgresql_where=where)
    op.create_index(
        "receipts_flagged",
        "receipts",
        ["project_id", "accepted_at", "event_id"],
        sqlite_where=IS_FLAGGED,
        postgresql_where=IS_FLAGGED,
    )
    op.add_column(
        "search_progress",
        sa.Column(
            "incidents_until_at", sa.BigInteger(), nullable=False, server_default=sa.text("-1")
        ),
    )
    op.add_column(
        "search_progress",
        sa.Column("incidents_until_id", sa.Text(), nullable=False, server_default=""),
    )
    # Each batch replaces the texts of its receipts.
    op.execute("DELETE FROM search_progress")
    op.create_table(
        "saved_views",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("saved_views_by_user", "saved_views", ["user_id", "id"])
    op.create_index("saved_views_by_project", "saved_views", ["project_id", "id"])


def downgrade() -> None:
    """Saved views are lost. The index of texts keeps errors, which an earlier version does not
    look for."""
    op.drop_table("saved_views")
    for name in ("incidents_until_id", "incidents_until_at"):
        op.drop_column("search_progress", name)
    op.drop_index("receipts_flagged", table_name="receipts")
    for name in (*PARTIAL_INDEXES, *INDEXES):
        op.drop_index(name, table_name="incidents")
    for name in ("sort_amount", "deadline_at"):
        op.drop_column("incidents", name)
