"""Which `reprocess` signals the store has seen, so that a reset run in Temporal carries none of
them out again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Incidents of earlier versions have seen none."""
    op.add_column("incidents", sa.Column("request_marks", sa.Text(), nullable=True))


def downgrade() -> None:
    """Earlier versions carry out what a reset hands over again."""
    op.drop_column("incidents", "request_marks")
