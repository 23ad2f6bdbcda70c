"""Receipts state what is at risk and who paid; a result may state that it found the effect applied.

A project may widen the sets of providers, event types and effect types. An earlier version neither
reads nor writes the new columns. Incidents have copies of the receipt's, so that their list reads
its own table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0017"
branch_labels = None
depends_on = None

SETS = ("providers", "event_types", "effect_types")
RISKS = ("receipts", "incidents")


def upgrade() -> None:
    for table in RISKS:
        op.add_column(table, sa.Column("amount", sa.BigInteger(), nullable=True))
        op.add_column(table, sa.Column("currency", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("customer_reference", sa.Text(), nullable=True))
    already_applied = sa.Column(
        "already_applied", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("results", already_applied)
    for name in SETS:
        op.add_column("projects", sa.Column(name, sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Amounts, references of customers and the projects' own sets are lost; receipts stay."""
    for name in reversed(SETS):
        op.drop_column("projects", name)
    op.drop_column("results", "already_applied")
    for table in reversed(RISKS):
        for name in ("customer_reference", "currency", "amount"):
            op.drop_column(table, name)
