"""Receipts state what is at risk and who paid; a result may state that it found the effect applied.

A project may widen the sets of providers, event types and effect types. An earlier version neither
reads nor writes the new columns. Incidents have copies of the receipt's, so that their list reads
its own table. On PostgreSQL the indexes block writes while they read the receipts once; no row is
in them then.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

SETS = ("providers", "event_types", "effect_types")
RISKS = ("receipts", "incidents")
RESULTS = ("results", "early_results")
IS_AT_RISK = sa.text("state <> 'resolved' AND amount IS NOT NULL")
OWN_PROVIDER = sa.text("provider NOT IN ('stripe', 'shopify')")
INDEXES = {
    "receipts_by_own_provider": ["project_id", "provider", "event_type"],
    "receipts_of_own_providers": ["project_id", "provider_event_id"],
}


def upgrade() -> None:
    for table in RISKS:
        op.add_column(table, sa.Column("amount", sa.BigInteger(), nullable=True))
        op.add_column(table, sa.Column("currency", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("customer_reference", sa.Text(), nullable=True))
    for table in RESULTS:
        op.add_column(
            table,
            sa.Column("already_applied", sa.Boolean(), nullable=False, server_default=sa.false()),
        )
    for name in SETS:
        op.add_column("projects", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.create_index(
        "incidents_at_risk",
        "incidents",
        ["project_id", "currency", "amount", "state"],
        sqlite_where=IS_AT_RISK,
        postgresql_where=IS_AT_RISK,
    )
    for index, columns in INDEXES.items():
        op.create_index(
            index,
            "receipts",
            columns,
            sqlite_where=OWN_PROVIDER,
            postgresql_where=OWN_PROVIDER,
        )


def downgrade() -> None:
    """Amounts, references of customers and the projects' own sets are lost; receipts stay."""
    op.drop_index("incidents_at_risk", table_name="incidents")
    for index in INDEXES:
        op.drop_index(index, table_name="receipts")
    for name in reversed(SETS):
        op.drop_column("projects", name)
    for table in reversed(RESULTS):
        op.drop_column(table, "already_applied")
    for table in reversed(RISKS):
        for name in ("customer_reference", "currency", "amount"):
            op.drop_column(table, name)
