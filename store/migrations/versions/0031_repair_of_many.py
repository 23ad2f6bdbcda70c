"""Holds and held repairs, bulk repairs, and rules of automatic repair.

On PostgreSQL the index of active repairs blocks their writes while it is made.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

BEFORE = "state IN ('calling', 'awaiting_result')"
AFTER = "state IN ('held', 'calling', 'awaiting_result')"


def upgrade() -> None:
    op.add_column("repairs", sa.Column("hold_id", sa.Text(), nullable=True))
    op.add_column("repairs", sa.Column("released_at", sa.BigInteger(), nullable=True))
    _index_active_repairs(AFTER)
    _partial("repairs_held", "repairs", ["hold_id", "replay_id"], "state = 'held'")
    _create_holds()
    _create_bulk_repairs()
    _create_rules()


def downgrade() -> None:
    """A held repair ends as closed, and its incident is open again: an operator repairs it.

    An earlier version knows neither holds nor rules.
    """
    op.execute(
        "UPDATE incidents SET state = 'open' WHERE state = 'repairing' AND id IN"
        " (SELECT incident_id FROM repairs WHERE state = 'held')"
    )
    op.execute("UPDATE repairs SET state = 'failed', cause = 'closed' WHERE state = 'held'")
    op.execute("DELETE FROM alerts WHERE kind IN ('bulk_repair_ended', 'rule_disarmed')")
    for table in ("rule_repairs", "rule_turns", "repair_rules"):
        op.drop_table(table)
    for table in ("bulk_repair_items", "bulk_repairs", "holds"):
        op.drop_table(table)
    op.drop_index("repairs_held", table_name="repairs")
    _index_active_repairs(BEFORE)
    op.drop_column("repairs", "released_at")
    op.drop_column("repairs", "hold_id")


def _index_active_repairs(where: str) -> None:
    condition = sa.text(where)
    op.drop_index("repairs_one_active", table_name="repairs")
    op.create_index(
        "repairs_one_active",
        "repairs",
        ["incident_id"],
        unique=True,
        sqlite_where=condition,
        postgresql_where=condition,
    )


def _create_holds() -> None:
    op.create_table(
        "holds",
        sa.Column("id", sa.Text(), primary_key=True),
        *_columns(sa.Text(), "project_id"),
        *_columns(sa.Text(), "effect_type", "internal_reference", nullable=True),
        *_columns(sa.Text(), "reason"),
        *_columns(sa.BigInteger(), "until_at", nullable=True),
        *_columns(sa.BigInteger(), "created_at"),
        *_columns(sa.Text(), "created_by"),
        *_columns(sa.BigInteger(), "ended_at", "released_at", nullable=True),
    )
    _partial("holds_active", "holds", ["project_id", "id"], "ended_at IS NULL")
    _partial("holds_due", "holds", ["until_at"], "ended_at IS NULL")
    _partial("holds_releasing", "holds", ["id"], "ended_at IS NOT NULL AND released_at IS NULL")
    op.create_index("holds_by_project", "holds", ["project_id", "id"])


def _create_bulk_repairs() -> None:
    op.create_table(
        "bulk_repairs",
        sa.Column("id", sa.Text(), primary_key=True),
        *_columns(sa.Text(), "project_id", "state", "reason", "requested_by"),
        *_columns(sa.Integer(), "first_count", "then_count", "per_minute"),
        *_columns(sa.Integer(), "stop_at_failed_percent"),
        *_columns(sa.Boolean(), "include_superseded"),
        *_columns(sa.BigInteger(), "created_at"),
        *_columns(sa.BigInteger(), "ended_at", "done_at", nullable=True),
        *_columns(sa.Text(), "stopped_because", nullable=True),
        *_columns(sa.Integer(), "begun"),
        *_columns(sa.BigInteger(), "paced_at", nullable=True),
        *_columns(sa.BigInteger(), "changed_at"),
        *_columns(sa.BigInteger(), "stepped_at", nullable=True),
        *_columns(sa.Integer(), "version", "delivered_version"),
    )
    op.create_index("bulk_repairs_by_project", "bulk_repairs", ["project_id", "id"])
    _partial("bulk_repairs_to_deliver", "bulk_repairs", ["id"], "delivered_version < version")
    _partial("bulk_repairs_undone", "bulk_repairs", ["id"], "done_at IS NULL")
    of_project = "bulk_repairs_undone_of_project"
    _partial(of_project, "bulk_repairs", ["project_id", "id"], "done_at IS NULL")
    op.create_table(
        "bulk_repair_items",
        sa.Column("bulk_id", sa.Text(), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        *_columns(sa.Text(), "incident_id", "event_id", "state"),
        *_columns(sa.Text(), "replay_id", "skipped_because", nullable=True),
        *_columns(sa.BigInteger(), "begun_at", "decided_at", nullable=True),
        *_columns(sa.Integer(), "tries"),
    )
    by_state = ["bulk_id", "state", "position"]
    op.create_index("bulk_repair_items_by_state", "bulk_repair_items", by_state)
    op.create_index("bulk_repair_items_by_event", "bulk_repair_items", ["event_id"])


def _create_rules() -> None:
    op.create_table(
        "repair_rules",
        sa.Column("id", sa.Text(), primary_key=True),
        *_columns(sa.Text(), "project_id"),
        *_columns(sa.Integer(), "position"),
        *_columns(sa.Text(), "name"),
        *_columns(sa.Text(), "effect_type", "event_type", "reason", "error_code", nullable=True),
        *_columns(sa.Integer(), "delay_seconds", "max_repairs_per_incident", "max_per_hour"),
        *_columns(sa.Integer(), "disarm_after_failures", "failures"),
        *_columns(sa.BigInteger(), "disarmed_at", nullable=True),
        sa.UniqueConstraint("project_id", "name", name="repair_rules_once"),
    )
    op.create_table(
        "rule_turns",
        sa.Column("incident_id", sa.Text(), primary_key=True),
        *_columns(sa.Text(), "event_id", "project_id"),
        *_columns(sa.BigInteger(), "since_at", "due_at"),
    )
    op.create_index("rule_turns_by_due", "rule_turns", ["project_id", "due_at", "incident_id"])
    op.create_index("ix_rule_turns_event_id", "rule_turns", ["event_id"])
    op.create_table(
        "rule_repairs",
        sa.Column("replay_id", sa.Text(), primary_key=True),
        *_columns(sa.Text(), "rule_id", "event_id"),
        *_columns(sa.BigInteger(), "at"),
        *_columns(sa.Text(), "outcome", nullable=True),
    )
    op.create_index("rule_repairs_by_rule", "rule_repairs", ["rule_id", "at"])
    op.create_index("ix_rule_repairs_event_id", "rule_repairs", ["event_id"])
    _partial("rule_repairs_open", "rule_repairs", ["rule_id", "replay_id"], "outcome IS NULL")


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)


# Any: a type of SQLAlchemy.
def _columns(kind: Any, *names: str, nullable: bool = False) -> list[Any]:
    return [sa.Column(name, kind, nullable=nullable) for name in names]
