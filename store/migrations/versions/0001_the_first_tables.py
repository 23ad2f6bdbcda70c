"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    *("projects", "api_keys", "signing_secrets", "receipts", "results", "timeline"),
    *("idempotency", "incidents", "repairs", "attempts", "alerts", "outbox"),
    *("heartbeats", "facts", "users", "login_links", "sessions"),
)


def upgrade() -> None:
    _projects()
    _receipts()
    _incidents()
    _engine()
    _people()


def downgrade() -> None:
    """Nothing is left: only tests come here, since an operator names a revision to go back to."""
    for name in reversed(TABLES):
        op.drop_table(name)


def _projects() -> None:
    op.create_table(
        "projects",
        _text("id"),
        _text("name"),
        _text("mode"),
        _text("repair_url", nullable=True),
        sa.Column("repair_url_gone", sa.Boolean(), nullable=False),
        sa.Column("timeout_minutes", sa.Float(), nullable=False),
        _text("late_result"),
        sa.Column("snapshots", sa.Boolean(), nullable=False),
        _text("alert_emails"),
        sa.Column("data_key", sa.LargeBinary(), nullable=False),
        _instant("created_at"),
        _instant("suspended_at", nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "api_keys",
        _text("id"),
        _text("project_id"),
        _text("label"),
        _text("digest"),
        _text("hint"),
        _text("scopes"),
        _instant("created_at"),
        _instant("expires_at", nullable=True),
        _instant("revoked_at", nullable=True),
        _instant("last_used_at", nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    _index("ix_api_keys_project_id", "api_keys", ["project_id"])
    op.create_table(
        "signing_secrets",
        _text("id"),
        _text("project_id"),
        _text("role"),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        _instant("created_at"),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("ix_signing_secrets_project_id", "signing_secrets", ["project_id"])


def _receipts() -> None:
    op.create_table(
        "receipts",
        _text("event_id"),
        _text("project_id"),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        _text("state"),
        _text("provider"),
        _text("provider_event_id"),
        _text("stripe_event_id", nullable=True),
        _text("event_type"),
        _text("effect_type"),
        _text("internal_reference"),
        _text("shopify_shop_domain", nullable=True),
        _instant("occurred_at"),
        _instant("accepted_at"),
        _instant("timeout_at"),
        _instant("deadline_at"),
        _instant("ended_at", nullable=True),
        _text("flags"),
        _text("request_id"),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("event_id"),
        sa.UniqueConstraint(
            "project_id", "provider", "provider_event_id", "effect_type", name="receipts_identity"
        ),
    )
    _index("receipts_by_reference", "receipts", ["project_id", "internal_reference"])
    _index("receipts_by_state", "receipts", ["project_id", "state", "event_id"])
    _index("receipts_due", "receipts", ["deadline_at"], where="state = 'waiting'")
    _index("receipts_unended", "receipts", ["event_id"], where="state IN ('waiting', 'incident')")
    _index("receipts_with_payload", "receipts", ["accepted_at"], where="payload IS NOT NULL")
    op.create_table(
        "results",
        _text("id"),
        _text("event_id"),
        _text("status"),
        _text("replay_id", nullable=True),
        _text("error_code", nullable=True),
        _text("error_message", nullable=True),
        _instant("received_at"),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("ix_results_event_id", "results", ["event_id"])
    op.create_table(
        "timeline",
        _sequence(),
        _text("event_id"),
        _instant("at"),
        _text("kind"),
        _text("fields"),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("timeline_by_event", "timeline", ["event_id", "id"])
    op.create_table(
        "idempotency",
        _text("project_id"),
        _text("endpoint"),
        _text("key"),
        _text("fingerprint"),
        sa.Column("status", sa.Integer(), nullable=False),
        _text("subject", nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        _instant("created_at"),
        sa.PrimaryKeyConstraint("project_id", "endpoint", "key"),
    )
    _index("ix_idempotency_created_at", "idempotency", ["created_at"])


def _incidents() -> None:
    op.create_table(
        "incidents",
        _text("id"),
        _text("event_id"),
        _text("project_id"),
        _text("state"),
        _text("reason"),
        _text("error_code", nullable=True),
        _text("error_message", nullable=True),
        _instant("opened_at"),
        _instant("acknowledged_at", nullable=True),
        _instant("resolved_at", nullable=True),
        _text("resolution", nullable=True),
        _text("resolving_replay_id", nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("event_id"),
    )
    _index("incidents_by_state", "incidents", ["project_id", "state", "id"])
    op.create_table(
        "repairs",
        _text("replay_id"),
        _text("incident_id"),
        _text("event_id"),
        _text("state"),
        _text("cause", nullable=True),
        _text("requested_by"),
        _instant("requested_at"),
        _instant("result_deadline_at", nullable=True),
        sa.PrimaryKeyConstraint("replay_id"),
    )
    _index("ix_repairs_event_id", "repairs", ["event_id"])
    _index("ix_repairs_incident_id", "repairs", ["incident_id"])
    _index(
        "repairs_one_active",
        "repairs",
        ["incident_id"],
        unique=True,
        where="state IN ('calling', 'awaiting_result')",
    )
    op.create_table(
        "attempts",
        _text("replay_id"),
        sa.Column("number", sa.Integer(), nullable=False),
        _text("event_id"),
        _text("state"),
        _instant("at"),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        _text("error_class", nullable=True),
        sa.PrimaryKeyConstraint("replay_id", "number"),
    )
    _index("ix_attempts_event_id", "attempts", ["event_id"])
    op.create_table(
        "alerts",
        _sequence(),
        _text("incident_id"),
        _text("event_id"),
        _text("kind"),
        _text("replay_id"),
        _text("destination"),
        _instant("created_at"),
        _instant("due_at"),
        sa.Column("tries", sa.Integer(), nullable=False),
        _instant("sent_at", nullable=True),
        _text("last_error", nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("incident_id", "kind", "replay_id", "destination", name="alerts_once"),
    )
    _index("alerts_unsent", "alerts", ["due_at"], where="sent_at IS NULL")
    _index("ix_alerts_event_id", "alerts", ["event_id"])


def _engine() -> None:
    op.create_table(
        "outbox",
        _sequence(),
        _text("event_id"),
        _text("kind"),
        _text("fields"),
        _instant("created_at"),
        _instant("claimed_until", nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    _index("ix_outbox_claimed_until", "outbox", ["claimed_until"])
    _index("outbox_by_event", "outbox", ["event_id", "id"])
    _index(
        "outbox_urgent", "outbox", ["event_id"], where="kind IN ('reprocess', 'resolve', 'expire')"
    )
    op.create_table(
        "heartbeats",
        _text("process"),
        _text("role"),
        _instant("started_at"),
        _instant("at"),
        _text("report"),
        sa.PrimaryKeyConstraint("process"),
    )
    op.create_table(
        "facts",
        _text("name"),
        _text("value"),
        sa.PrimaryKeyConstraint("name"),
    )


def _people() -> None:
    op.create_table(
        "users",
        _text("id"),
        _text("email", nullable=True),
        _text("password_hash", nullable=True),
        _instant("created_at"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("email"),
    )
    op.create_table(
        "login_links",
        _text("digest"),
        _text("user_id", nullable=True),
        _instant("expires_at"),
        _instant("used_at", nullable=True),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "sessions",
        _text("digest"),
        _text("user_id"),
        _instant("created_at"),
        _instant("seen_at"),
        _instant("expires_at"),
        sa.PrimaryKeyConstraint("digest"),
    )
    _index("ix_sessions_user_id", "sessions", ["user_id"])


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _instant(name: str, *, nullable: bool = False) -> sa.Column[int]:
    """Milliseconds since 1970 UTC."""
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _sequence() -> sa.Column[int]:
    return sa.Column(
        "id",
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
        autoincrement=True,
        nullable=False,
    )


def _index(
    name: str, table: str, columns: list[str], *, unique: bool = False, where: str | None = None
) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(
        name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition
    )
