"""Alerts that end unsent, with their reason; alerts know their project, so that projects take
turns.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

FRESH = "sent_at IS NULL AND ended_at IS NULL AND tries = 0"
RETRIED = "sent_at IS NULL AND ended_at IS NULL AND tries > 0"
UNSENT = "sent_at IS NULL"
INDEXES = (
    ("alerts_fresh", ["project_id", "due_at"], FRESH),
    ("alerts_retried", ["project_id", "due_at"], RETRIED),
    ("alerts_failing", ["failing_since"], RETRIED),
    ("alerts_ended", ["ended_at"], "ended_at IS NOT NULL"),
    ("alerts_notices", ["project_id", "replay_id", "created_at"], "kind = 'destination_failing'"),
)
COLUMNS = ("project_id", "failing_since", "ended_at", "end_reason")


def upgrade() -> None:
    """What failed before counts from its creation: the earliest that its failing may have begun."""
    op.drop_index("alerts_unsent", "alerts")
    with op.batch_alter_table("alerts") as alerts:
        alerts.add_column(sa.Column("project_id", sa.Text(), nullable=True))
        alerts.add_column(sa.Column("failing_since", sa.BigInteger(), nullable=True))
        alerts.add_column(sa.Column("ended_at", sa.BigInteger(), nullable=True))
        alerts.add_column(sa.Column("end_reason", sa.Text(), nullable=True))
    op.execute(
        "UPDATE alerts SET project_id = (SELECT project_id FROM receipts WHERE receipts.event_id = alerts.event_id), "
        "failing_since = CASE WHEN tries > 0 THEN created_at END WHERE sent_at IS NULL"
    )
    for name, columns, where in INDEXES:
        op.create_index(
            name, "alerts", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
        )


def downgrade() -> None:
    """An earlier version tries what has ended again; it knows no alert about a failing destination."""
    op.execute("DELETE FROM alerts WHERE kind = 'destination_failing'")
    for name, _, _ in INDEXES:
        op.drop_index(name, "alerts")
    with op.batch_alter_table("alerts") as alerts:
        for column in COLUMNS:
            alerts.drop_column(column)
    op.create_index(
        "alerts_unsent",
        "alerts",
        ["due_at"],
        sqlite_where=sa.text(UNSENT),
        postgresql_where=sa.text(UNSENT),
    )
