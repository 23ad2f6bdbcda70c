"""Runs that cannot go on, and the outbox's indexes:

by turn, and with `restart` among what a person asked for.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BEFORE = "kind IN ('reprocess', 'resolve', 'expire')"
NOW = "kind IN ('reprocess', 'resolve', 'expire', 'restart')"


def upgrade() -> None:
    op.create_table(
        "stuck_runs",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        _instant("suspected_at"),
        _instant("found_at", nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        _instant("look_at"),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("restarts", sa.Integer(), nullable=False),
        _instant("restarted_at", nullable=True),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("stuck_runs_by_turn", "stuck_runs", ["project_id", "look_at"])
    found = sa.text("found_at IS NOT NULL")
    op.create_index(
        "stuck_runs_found", "stuck_runs", ["event_id"], sqlite_where=found, postgresql_where=found
    )
    _replace_urgent(NOW)
    op.drop_index("ix_outbox_claimed_until", "outbox")
    op.create_index("outbox_by_turn", "outbox", ["claimed_until", "id"])


def downgrade() -> None:
    """A restart that waits is forgotten:

    an older version does not know it, and its run can be ended in Temporal.
    """
    op.execute(sa.text("DELETE FROM outbox WHERE kind = 'restart'"))
    op.drop_index("outbox_by_turn", "outbox")
    op.create_index("ix_outbox_claimed_until", "outbox", ["claimed_until"])
    _replace_urgent(BEFORE)
    op.drop_table("stuck_runs")


def _replace_urgent(where: str) -> None:
    kinds = sa.text(where)
    op.drop_index("outbox_urgent", "outbox")
    op.create_index(
        "outbox_urgent", "outbox", ["event_id"], sqlite_where=kinds, postgresql_where=kinds
    )


def _instant(name: str, *, nullable: bool = False) -> sa.Column[int]:
    """Milliseconds since 1970 UTC."""
    return sa.Column(name, sa.BigInteger(), nullable=nullable)
