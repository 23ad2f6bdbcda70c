"""The keys that sign evidence have a table; audit entries are found by their subject.

On PostgreSQL the index blocks writes to `audit_log` while it is made, about a second for a million
entries.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

IS_CURRENT = sa.text("role = 'current'")


def upgrade() -> None:
    op.create_table(
        "evidence_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("data_key", sa.LargeBinary(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "evidence_keys_current",
        "evidence_keys",
        ["role"],
        unique=True,
        sqlite_where=IS_CURRENT,
        postgresql_where=IS_CURRENT,
    )
    op.create_index("audit_log_by_subject", "audit_log", ["subject_id", "sequence"])


def downgrade() -> None:
    """The keys are lost. Files that they signed can still be verified with the public keys."""
    op.drop_index("audit_log_by_subject", table_name="audit_log")
    op.drop_index("evidence_keys_current", table_name="evidence_keys")
    op.drop_table("evidence_keys")
