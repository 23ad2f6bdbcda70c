"""Who belongs to which project, invitations, and where a session was signed in from."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The one user that earlier versions knew is the administrator."""
    op.create_table(
        "administrators", _text("user_id"), _instant("since"), sa.PrimaryKeyConstraint("user_id")
    )
    op.execute(
        "INSERT INTO administrators (user_id, since) SELECT id, created_at FROM users ORDER BY id LIMIT 1"
    )
    op.create_table(
        "members",
        _text("project_id"),
        _text("user_id"),
        _text("role"),
        _instant("since"),
        sa.PrimaryKeyConstraint("project_id", "user_id"),
    )
    op.create_index("ix_members_user_id", "members", ["user_id"])
    op.create_table(
        "invitations",
        _text("digest"),
        _text("id"),
        _text("project_id"),
        _text("email"),
        _text("role"),
        _text("invited_by"),
        _instant("expires_at"),
        _instant("used_at", nullable=True),
        sa.PrimaryKeyConstraint("digest"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("ix_invitations_project_id", "invitations", ["project_id"])
    with op.batch_alter_table("sessions") as sessions:
        sessions.add_column(sa.Column("address", sa.Text(), nullable=False, server_default=""))
        sessions.add_column(sa.Column("user_agent", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("sessions") as sessions:
        sessions.alter_column(
            "address", existing_type=sa.Text(), existing_nullable=False, server_default=None
        )
        sessions.alter_column(
            "user_agent", existing_type=sa.Text(), existing_nullable=False, server_default=None
        )


def downgrade() -> None:
    """Earlier versions show everything to everyone who is signed in:

    only administrators stay, and keep their passwords.
    """
    op.execute(
        "UPDATE users SET password_hash = NULL WHERE id NOT IN (SELECT user_id FROM administrators)"
    )
    for table in ("sessions", "login_links"):
        op.execute(f"DELETE FROM {table} WHERE user_id NOT IN (SELECT user_id FROM administrators)")
    with op.batch_alter_table("sessions") as sessions:
        sessions.drop_column("user_agent")
        sessions.drop_column("address")
    op.drop_table("invitations")
    op.drop_table("members")
    op.drop_table("administrators")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _instant(name: str, *, nullable: bool = False) -> sa.Column[int]:
    """Milliseconds since 1970 UTC."""
    return sa.Column(name, sa.BigInteger(), nullable=nullable)
