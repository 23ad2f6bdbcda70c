"""Equal repeats of a result are counted in its row; results, repairs and attempts of an event are
read a page at a time.

On PostgreSQL each index blocks writes to its table while it is made, about a second for a million
rows.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Name, table, columns; and what it takes the place of.
INDEXES = (
    ("results_by_event", "results", ["event_id", "id"], "ix_results_event_id"),
    ("repairs_by_event", "repairs", ["event_id", "replay_id"], "ix_repairs_event_id"),
    ("attempts_by_event", "attempts", ["event_id", "replay_id", "number"], "ix_attempts_event_id"),
)


def upgrade() -> None:
    op.add_column("results", sa.Column("digest", sa.Text(), nullable=False, server_default=""))
    op.add_column("results", sa.Column("repeats", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("results", sa.Column("repeated_at", sa.BigInteger(), nullable=True))
    for name, table, columns, before in INDEXES:
        op.create_index(name, table, columns)
        op.drop_index(before, table_name=table)
    op.create_index("results_by_digest", "results", ["event_id", "status", "digest"])


def downgrade() -> None:
    """How often a result was repeated goes with its column."""
    for name, table, columns, before in INDEXES:
        op.create_index(before, table, columns[:1])
        op.drop_index(name, table_name=table)
    op.drop_index("results_by_digest", table_name="results")
    with op.batch_alter_table("results") as results:
        results.drop_column("digest")
        results.drop_column("repeated_at")
        results.drop_column("repeats")
