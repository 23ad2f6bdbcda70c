"""An attempt of a callback keeps its headers, the beginning of the answer and when the next one is
due; a result keeps its request id. Unresolved incidents are found by their cause.

On PostgreSQL the index blocks writes to `incidents` while it is made, about a second for a million
unresolved ones.
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0025"
branch_labels = None
depends_on = None

IS_UNRESOLVED = sa.text("state <> 'resolved'")


def upgrade() -> None:
    """Attempts and results of before have none of them."""
    op.add_column("attempts", sa.Column("request_headers", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("answer_excerpt", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("next_attempt_at", sa.BigInteger(), nullable=True))
    op.add_column("results", sa.Column("request_id", sa.Text(), nullable=True))
    op.create_index(
        "incidents_by_cause",
        "incidents",
        ["project_id", "effect_type", "reason", "error_code", "id"],
        sqlite_where=IS_UNRESOLVED,
        postgresql_where=IS_UNRESOLVED,
    )


def downgrade() -> None:
    op.drop_index("incidents_by_cause", table_name="incidents")
    with op.batch_alter_table("results") as results:
        results.drop_column("request_id")
    with op.batch_alter_table("attempts") as attempts:
        attempts.drop_column("next_attempt_at")
        attempts.drop_column("answer_excerpt")
        attempts.drop_column("request_headers")
