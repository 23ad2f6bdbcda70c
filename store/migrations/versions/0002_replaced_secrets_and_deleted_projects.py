"""Which root secret digested an API key, and when a project was deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("api_keys") as api_keys:
        api_keys.add_column(sa.Column("digested_with", sa.Text(), nullable=True))
    with op.batch_alter_table("projects") as projects:
        projects.add_column(sa.Column("deleted_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """A deleted project is one like any other to the older version:

    without keys, repair URL and addresses.
    """
    with op.batch_alter_table("projects") as projects:
        projects.drop_column("deleted_at")
    with op.batch_alter_table("api_keys") as api_keys:
        api_keys.drop_column("digested_with")
