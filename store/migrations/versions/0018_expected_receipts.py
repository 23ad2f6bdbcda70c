"""Receipts that a source expects, and results that came before their receipt.

On PostgreSQL each index blocks writes to `receipts` while it is made. Processes of an earlier
version must be stopped before it: on SQLite they name an index that now has other rows.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

INDEXES = (
    ("receipts_due", ["deadline_at"], "state = 'waiting'", "state IN ('expected', 'waiting')"),
    (
        "receipts_overdue",
        ["project_id", "deadline_at", "event_id"],
        "state = 'waiting'",
        "state IN ('expected', 'waiting')",
    ),
    (
        "receipts_unended",
        ["event_id"],
        "state IN ('waiting', 'incident')",
        "state IN ('expected', 'waiting', 'incident')",
    ),
)


def upgrade() -> None:
    for column in (
        sa.Column("expected_at", sa.BigInteger(), nullable=True),
        sa.Column("lacks_receipt", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("source_id", sa.Text(), nullable=True),
    ):
        op.add_column("receipts", column)
    for name, columns, _, where in INDEXES:
        _replace_index(name, columns, where)
    op.add_column("repairs", sa.Column("callback_body", sa.Text(), nullable=True))
    op.add_column(
        "projects", sa.Column("early_results", sa.Text(), nullable=False, server_default="refuse")
    )
    _create_early_results()


def downgrade() -> None:
    """An expected receipt becomes a waiting one: its incident still opens if nothing comes.

    Held results are deleted.
    """
    op.drop_table("early_results")
    op.drop_column("projects", "early_results")
    op.drop_column("repairs", "callback_body")
    op.execute("UPDATE receipts SET state = 'waiting' WHERE state = 'expected'")
    for name, columns, where, _ in INDEXES:
        _replace_index(name, columns, where)
    for column in ("source_id", "lacks_receipt", "expected_at"):
        op.drop_column("receipts", column)


def _replace_index(name: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.drop_index(name, table_name="receipts")
    op.create_index(name, "receipts", columns, sqlite_where=condition, postgresql_where=condition)


def _create_early_results() -> None:
    texts = ("project_id", "provider", "provider_event_id", "effect_type", "status")
    op.create_table(
        "early_results",
        sa.Column("id", sa.Text(), primary_key=True),
        *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.Column("repeated_at", sa.BigInteger(), nullable=True),
        sa.UniqueConstraint(
            "project_id",
            "provider_event_id",
            "provider",
            "effect_type",
            "digest",
            name="early_results_once",
        ),
    )
    op.create_index("early_results_by_time", "early_results", ["received_at", "id"])
    op.create_index(
        "early_results_by_project", "early_results", ["project_id", "received_at", "id"]
    )
