"""Counts of each day and hour, durations, and the silence of projects.

On PostgreSQL the index of ended receipts blocks writes while it reads the receipts once. An earlier
version keeps no counts; the next worker of this version counts what it missed.
"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

HAS_ENDED = "ended_at IS NOT NULL"
IS_SILENT = "silent_since IS NOT NULL"


def upgrade() -> None:
    _index_partly("receipts_ended", "receipts", ["project_id", "ended_at", "event_id"], HAS_ENDED)
    op.create_table(
        "count_progress",
        sa.Column("project_id", sa.Text(), primary_key=True),
        *(
            column
            for stream in ("accepted", "ended", "opened")
            for column in (
                sa.Column(f"{stream}_at", sa.BigInteger(), nullable=False),
                sa.Column(f"{stream}_id", sa.Text(), nullable=False),
            )
        ),
    )
    op.create_table(
        "day_counts",
        sa.Column("project_id", sa.Text(), primary_key=True),
        sa.Column("day", sa.BigInteger(), primary_key=True, autoincrement=False),
        *(
            sa.Column(name, sa.Text(), primary_key=True)
            for name in ("outcome", "effect_type", "provider", "currency")
        ),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("receipts", "billions", "rest")
        ),
    )
    op.create_table(
        "duration_counts",
        sa.Column("project_id", sa.Text(), primary_key=True),
        sa.Column("day", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("measure", sa.Text(), primary_key=True),
        sa.Column("effect_type", sa.Text(), primary_key=True),
        sa.Column("bucket", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("receipts", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "receipt_hours",
        sa.Column("project_id", sa.Text(), primary_key=True),
        sa.Column("hour", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("event_type", sa.Text(), primary_key=True),
        sa.Column("receipts", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
    )
    _create_silence()


def downgrade() -> None:
    """Counts are lost, and are counted again from the receipts. Settings of silence are lost."""
    for name in ("resumed_at", "silent_event_types", "silent_after_minutes"):
        op.drop_column("projects", name)
    op.drop_index("silences_lasting", table_name="silences")
    for name in ("silences", "receipt_hours", "duration_counts", "day_counts", "count_progress"):
        op.drop_table(name)
    op.drop_index("receipts_ended", table_name="receipts")


def _create_silence() -> None:
    op.create_table(
        "silences",
        sa.Column("project_id", sa.Text(), primary_key=True),
        sa.Column("event_type", sa.Text(), primary_key=True),
        sa.Column("learned_minutes", sa.Integer(), nullable=True),
        sa.Column("learned_at", sa.BigInteger(), nullable=True),
        sa.Column("silent_since", sa.BigInteger(), nullable=True),
        sa.Column("noticed_at", sa.BigInteger(), nullable=True),
    )
    _index_partly("silences_lasting", "silences", ["project_id", "silent_since"], IS_SILENT)
    op.add_column("projects", sa.Column("silent_after_minutes", sa.Integer(), nullable=True))
    op.add_column(
        "projects",
        sa.Column("silent_event_types", sa.Text(), nullable=False, server_default=""),
    )
    op.add_column("projects", sa.Column("resumed_at", sa.BigInteger(), nullable=True))


def _index_partly(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
