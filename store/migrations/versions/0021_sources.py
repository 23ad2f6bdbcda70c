"""Sources, the events that they saw at the provider, and the spans that they could not list."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_sources()
    op.create_table(
        "source_events",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        *_columns(
            sa.Text(),
            *("source_id", "project_id", "event_id", "provider_event_id"),
            *("event_type", "effect_type"),
        ),
        *_columns(sa.BigInteger(), "occurred_at", "seen_at"),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.UniqueConstraint(
            "source_id", "provider_event_id", "effect_type", name="source_events_once"
        ),
    )
    op.create_index("source_events_by_time", "source_events", ["source_id", "occurred_at", "id"])
    op.create_index("source_events_by_event", "source_events", ["event_id", "id"])
    op.create_index("source_events_by_age", "source_events", ["seen_at", "id"])
    op.create_table(
        "source_gaps",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        *_columns(sa.Text(), "source_id", "project_id"),
        *_columns(sa.BigInteger(), "from_at", "until_at", "found_at"),
    )
    op.create_index("source_gaps_by_source", "source_gaps", ["source_id", "id"])
    op.create_index("source_gaps_by_age", "source_gaps", ["found_at", "id"])


def downgrade() -> None:
    """What sources saw is forgotten. The receipts that they expected stay."""
    # An earlier version knows only `expire`, which is the same signal.
    op.execute(sa.text("UPDATE outbox SET kind = 'expire' WHERE kind = 'accepted'"))
    for table in ("source_gaps", "source_events", "sources"):
        op.drop_table(table)


def _create_sources() -> None:
    # In the order of the class, which SQLite keeps.
    op.create_table(
        "sources",
        sa.Column("id", sa.Text(), primary_key=True),
        *_columns(sa.Text(), "project_id", "kind", "name", "expects"),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        *_columns(sa.Integer(), "every_minutes", "silent_after_minutes", nullable=True),
        *_columns(sa.Text(), "shop_domain", "account", nullable=True),
        *_columns(sa.Text(), "identity"),
        *_columns(sa.BigInteger(), "created_at"),
        *_columns(sa.BigInteger(), "paused_at", "resumed_at", "deleted_at", nullable=True),
        *_columns(sa.Integer(), "version", "scheduled_version"),
        *_columns(sa.BigInteger(), "check_requested_at", "last_event_at", nullable=True),
        *_columns(sa.BigInteger(), "last_listed_at", "listed_until", nullable=True),
        *_columns(sa.BigInteger(), "listing_from", "listing_until", nullable=True),
        *_columns(sa.Text(), "listing_cursor", nullable=True),
        *_columns(sa.Integer(), "listing_pages", nullable=True),
        *_columns(sa.BigInteger(), "page_at", "silent_since", nullable=True),
        *_columns(sa.Text(), "problem", "problem_detail", nullable=True),
        *_columns(sa.BigInteger(), "problem_since", "alerted_at", nullable=True),
    )
    op.create_index("sources_by_project", "sources", ["project_id", "id"])
    partial = {
        "sources_to_schedule": "scheduled_version < version",
        "sources_removed": "deleted_at IS NOT NULL",
    }
    for name, condition in partial.items():
        where = sa.text(condition)
        op.create_index(name, "sources", ["id"], sqlite_where=where, postgresql_where=where)
    unwell = sa.text("problem IS NOT NULL OR silent_since IS NOT NULL")
    op.create_index(
        "sources_unwell",
        "sources",
        ["alerted_at", "id"],
        sqlite_where=unwell,
        postgresql_where=unwell,
    )


def _columns(kind: Any, *names: str, nullable: bool = False) -> list[Any]:
    return [sa.Column(name, kind, nullable=nullable) for name in names]
