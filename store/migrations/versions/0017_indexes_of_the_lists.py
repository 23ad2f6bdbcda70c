"""Lists are read by indexes in their own order, and texts by a trigram index.

On PostgreSQL each index blocks writes to `receipts` while it is made, some seconds for a million
receipts. The trigram index is made by `makegood migrate` after the revision and filled by the
worker, so that neither waits for it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

KIND = ["project_id", "state", "event_type", "effect_type"]
# Name, table, columns now, and columns before, for those that existed.
INDEXES = (
    ("receipts_by_time", "receipts", ["project_id", "accepted_at", "event_id"], None),
    (
        "receipts_by_state",
        "receipts",
        [*KIND, "accepted_at", "event_id"],
        ["project_id", "state", "event_id"],
    ),
    (
        "receipts_by_reference",
        "receipts",
        ["project_id", "internal_reference", "accepted_at", "event_id"],
        ["project_id", "internal_reference"],
    ),
    ("incidents_by_time", "incidents", ["project_id", "opened_at", "id"], None),
    (
        "incidents_by_state",
        "incidents",
        [*KIND, "opened_at", "id"],
        ["project_id", "state", "id"],
    ),
    ("audit_log_by_action", "audit_log", ["action", "sequence"], None),
    ("audit_log_by_actor", "audit_log", ["actor", "sequence"], None),
)
IS_REPAIRED = sa.text("resolution <> 'manual'")


def upgrade() -> None:
    for name in ("event_type", "effect_type"):
        op.add_column("incidents", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    of_receipt = "(SELECT {0} FROM receipts WHERE receipts.event_id = incidents.event_id)"
    op.execute(
        f"UPDATE incidents SET event_type = {of_receipt.format('event_type')},"
        f" effect_type = {of_receipt.format('effect_type')}"
    )
    for name, table, columns, before in INDEXES:
        if before is not None:
            op.drop_index(name, table_name=table)
        op.create_index(name, table, columns)
    op.create_index(
        "incidents_repaired",
        "incidents",
        ["project_id", "resolved_at"],
        sqlite_where=IS_REPAIRED,
        postgresql_where=IS_REPAIRED,
    )
    op.create_table(
        "search_texts",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("event_id", sa.Text(), nullable=False, unique=True),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
    )
    op.create_table(
        "search_progress",
        sa.Column("project_id", sa.Text(), primary_key=True),
        sa.Column("until_at", sa.BigInteger(), nullable=False),
        sa.Column("until_id", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    """Searches read every row again."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE IF EXISTS search_trigrams")
    op.drop_table("search_progress")
    op.drop_table("search_texts")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION IF EXISTS search_trigrams(text)")
    op.drop_index("incidents_repaired", table_name="incidents")
    for name, table, _, before in reversed(INDEXES):
        op.drop_index(name, table_name=table)
        if before is not None:
            op.create_index(name, table, before)
    with op.batch_alter_table("incidents") as incidents:
        incidents.drop_column("effect_type")
        incidents.drop_column("event_type")
