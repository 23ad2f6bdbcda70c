"""Outages of ingest as rows, the last one that a deadline has, and beats of ingest apart from those
of processes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The last that an API said counts as the last beat of ingest: the time of the upgrade is
    credited like any outage.

    PostgreSQL adds a column with a constant default at once; SQLite copies the table.
    """
    op.create_table(
        "outages",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        _instant("down_from"),
        _instant("up_at"),
        _instant("accepted_until"),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("has_skipped", sa.Boolean(), nullable=False, server_default=sa.false()),
        _instant("done_at", nullable=True),
        sqlite_autoincrement=True,
    )
    pending = sa.text("done_at IS NULL")
    op.create_index(
        "outages_pending", "outages", ["id"], sqlite_where=pending, postgresql_where=pending
    )
    for table in ("receipts", "repairs"):
        with op.batch_alter_table(table) as altered:
            altered.add_column(
                sa.Column(
                    "credited_outage", sa.BigInteger(), nullable=False, server_default=sa.text("0")
                )
            )
    op.execute(
        "INSERT INTO heartbeats (process, role, started_at, at, report) "
        "SELECT 'ingest_' || process, 'ingest', started_at, at, report FROM heartbeats WHERE role = 'api'"
    )


def downgrade() -> None:
    """Earlier versions credit at once or not at all:

    what is pending is applied first, without a word on the timelines.
    """
    connection = op.get_bind()
    pending = sa.text(
        "SELECT id, down_from, up_at, accepted_until FROM outages WHERE done_at IS NULL ORDER BY id"
    )
    for outage in connection.execute(pending).mappings().all():
        connection.execute(
            sa.text(
                "UPDATE receipts SET deadline_at = deadline_at + :up_at "
                "- CASE WHEN accepted_at > :down_from THEN accepted_at ELSE :down_from END "
                "WHERE state = 'waiting' AND credited_outage < :id AND deadline_at > :down_from "
                "AND accepted_at <= :accepted_until"
            ),
            dict(outage),
        )
        connection.execute(
            sa.text(
                "UPDATE repairs SET result_deadline_at = result_deadline_at + :up_at - :down_from "
                "WHERE state = 'awaiting_result' AND credited_outage < :id AND result_deadline_at > :down_from"
            ),
            dict(outage),
        )
    op.execute("DELETE FROM heartbeats WHERE role = 'ingest'")
    for table in ("repairs", "receipts"):
        with op.batch_alter_table(table) as altered:
            altered.drop_column("credited_outage")
    op.drop_table("outages")


def _instant(name: str, *, nullable: bool = False) -> sa.Column[int]:
    """Milliseconds since 1970 UTC."""
    return sa.Column(name, sa.BigInteger(), nullable=nullable)
