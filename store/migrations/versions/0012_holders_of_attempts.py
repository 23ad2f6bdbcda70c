"""An attempt of a callback carries the process that holds it, so that no other process sends it
while that one lives.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Attempts of before have no holder: they are sent again as an older version would."""
    op.add_column("attempts", sa.Column("holder", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("attempts") as attempts:
        attempts.drop_column("holder")
