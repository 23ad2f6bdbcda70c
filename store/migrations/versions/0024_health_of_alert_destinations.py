"""Alert destinations have a label, can be disabled, and keep what last became of their alerts; the
link in a mail acknowledges once.
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

COLUMNS = (
    ("label", sa.Text()),
    ("disabled_at", sa.BigInteger()),
    ("last_sent_at", sa.BigInteger()),
    ("last_error", sa.Text()),
    ("last_error_at", sa.BigInteger()),
    ("unreached_since", sa.BigInteger()),
    ("failing_since", sa.BigInteger()),
)


def upgrade() -> None:
    for name, kind in COLUMNS:
        op.add_column("alert_destinations", sa.Column(name, kind, nullable=True))
    failing = sa.text("failing_since IS NOT NULL AND disabled_at IS NULL")
    op.create_index(
        "alert_destinations_failing",
        "alert_destinations",
        ["id"],
        sqlite_where=failing,
        postgresql_where=failing,
    )
    op.add_column("alerts", sa.Column("link_used_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """An earlier version sends to disabled destinations again."""
    with op.batch_alter_table("alerts") as alerts:
        alerts.drop_column("link_used_at")
    op.drop_index("alert_destinations_failing", table_name="alert_destinations")
    with op.batch_alter_table("alert_destinations") as destinations:
        for name, _ in COLUMNS:
            destinations.drop_column(name)
