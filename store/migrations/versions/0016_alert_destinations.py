"""Alert destinations have a table of their own; an alert names the channel that sends it.

Versions before this revision read the addresses from `projects`, so their processes must be stopped
before it.
"""

import json

import sqlalchemy as sa
import uuid_utils
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

EMAIL = "email"
PROJECTS = sa.table("projects", sa.column("id"), sa.column("alert_emails"))
COLUMNS = ("id", "project_id", "channel", "position", "target")
DESTINATIONS = sa.table("alert_destinations", *map(sa.column, COLUMNS))


def upgrade() -> None:
    """Addresses keep their order. They stay as they are: a migration has no key to encrypt with."""
    op.create_table(
        "alert_destinations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("sealed_target", sa.LargeBinary(), nullable=True),
        sa.Column("events", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "channel", "target", name="alert_destinations_once"),
        sa.CheckConstraint(
            "(target IS NULL) <> (sealed_target IS NULL)", name="alert_destinations_target"
        ),
    )
    for project in op.get_bind().execute(sa.select(PROJECTS)).all():
        _insert(project.id, list(dict.fromkeys(json.loads(project.alert_emails))))
    with op.batch_alter_table("projects") as projects:
        projects.drop_column("alert_emails")
    op.add_column("alerts", sa.Column("channel", sa.Text(), nullable=False, server_default=EMAIL))


def downgrade() -> None:
    """An earlier version knows e-mail only: other destinations, and alerts to them, are deleted."""
    op.execute(f"DELETE FROM alerts WHERE channel <> '{EMAIL}'")
    with op.batch_alter_table("alerts") as alerts:
        alerts.drop_column("channel")
    empty = sa.Column("alert_emails", sa.Text(), nullable=False, server_default="[]")
    op.add_column("projects", empty)
    for project_id, addresses in _addresses().items():
        stored = sa.update(PROJECTS).where(PROJECTS.c.id == project_id)
        op.execute(stored.values(alert_emails=json.dumps(addresses)))
    with op.batch_alter_table("projects") as projects:
        projects.alter_column("alert_emails", server_default=None)
    op.drop_table("alert_destinations")


def _insert(project_id: str, addresses: list[str]) -> None:
    rows = [
        dict(zip(COLUMNS, (_new_id(), project_id, EMAIL, position, address), strict=True))
        for position, address in enumerate(addresses)
    ]
    op.bulk_insert(DESTINATIONS, rows)


def _addresses() -> dict[str, list[str]]:
    """The addresses of each project that has any, in their order."""
    of_email = DESTINATIONS.c.channel == EMAIL
    found = sa.select(DESTINATIONS).where(of_email, DESTINATIONS.c.target.is_not(None))
    addresses: dict[str, list[str]] = {}
    for row in op.get_bind().execute(found.order_by(DESTINATIONS.c.position)):
        addresses.setdefault(row.project_id, []).append(row.target)
    return addresses


def _new_id() -> str:
    return f"dst_{uuid_utils.uuid7().hex}"
