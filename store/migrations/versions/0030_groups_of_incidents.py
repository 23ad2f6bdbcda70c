"""Groups of incidents, the sums of their amounts, and the windows in which their alerts are
gathered.

Incidents that are not resolved get a group from a loop of the worker; so do those that an earlier
version opens meanwhile.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

_WINDOWS = {"group_window_minutes": "60", "alert_window_minutes": "5"}
_IS_UNGROUPED = sa.text("group_id IS NULL AND state <> 'resolved'")
_TAKES_MORE = sa.text("takes_more")
_HAS_MUTE = sa.text("muted_until IS NOT NULL")


def upgrade() -> None:
    for name, minutes in _WINDOWS.items():
        column = sa.Column(name, sa.Float(), nullable=False, server_default=minutes)
        op.add_column("projects", column)
    op.add_column("incidents", sa.Column("group_id", sa.Text(), nullable=True))
    op.create_index("incidents_by_group", "incidents", ["group_id", "state", "id"])
    op.create_index(
        "incidents_ungrouped",
        "incidents",
        ["id"],
        sqlite_where=_IS_UNGROUPED,
        postgresql_where=_IS_UNGROUPED,
    )
    _create_groups()
    op.create_table(
        "group_amounts",
        *_columns(sa.Text(), "group_id", "currency", primary_key=True),
        *_columns(sa.BigInteger(), "billions", "rest"),
    )
    op.create_table(
        "group_windows",
        *_columns(sa.Text(), "group_id", "kind", primary_key=True),
        *_columns(sa.Text(), "project_id"),
        *_columns(sa.BigInteger(), "due_at"),
        *_columns(sa.Integer(), "gathered"),
        *_columns(sa.Boolean(), "is_pause"),
    )
    op.create_index("group_windows_due", "group_windows", ["project_id", "due_at"])


def downgrade() -> None:
    """Incidents stay. Alerts about groups that were not sent are lost."""
    op.execute(sa.text("DELETE FROM alerts WHERE incident_id LIKE 'grp\\_%' ESCAPE '\\'"))
    for table in ("group_windows", "group_amounts", "incident_groups"):
        op.drop_table(table)
    for index in ("incidents_ungrouped", "incidents_by_group"):
        op.drop_index(index, table_name="incidents")
    op.drop_column("incidents", "group_id")
    for name in reversed(_WINDOWS):
        op.drop_column("projects", name)


def _create_groups() -> None:
    op.create_table(
        "incident_groups",
        *_columns(sa.Text(), "id", primary_key=True),
        *_columns(sa.Text(), "project_id", "effect_type", "reason", "error_code"),
        *_columns(sa.Boolean(), "takes_more"),
        *_columns(sa.Text(), "stage"),
        *_columns(sa.BigInteger(), "first_at", "last_at"),
        *_columns(sa.Integer(), "open_count", "repairing_count", "resolved_count"),
        *_columns(sa.BigInteger(), "muted_until", nullable=True),
    )
    op.create_index(
        "incident_groups_by_cause",
        "incident_groups",
        ["project_id", "effect_type", "reason", "error_code"],
        unique=True,
        sqlite_where=_TAKES_MORE,
        postgresql_where=_TAKES_MORE,
    )
    op.create_index("incident_groups_by_time", "incident_groups", ["project_id", "last_at", "id"])
    op.create_index(
        "incident_groups_by_stage", "incident_groups", ["project_id", "stage", "last_at", "id"]
    )
    op.create_index(
        "incident_groups_muted",
        "incident_groups",
        ["project_id", "muted_until", "id"],
        sqlite_where=_HAS_MUTE,
        postgresql_where=_HAS_MUTE,
    )


def _columns(
    kind: Any, *names: str, nullable: bool = False, primary_key: bool = False
) -> list[Any]:
    return [sa.Column(name, kind, nullable=nullable, primary_key=primary_key) for name in names]
