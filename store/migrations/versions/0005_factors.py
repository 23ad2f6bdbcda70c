"""TOTP, recovery codes, counted tries, identities of an OIDC provider, and when a session proved
whose it is.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("sessions") as sessions:
        sessions.add_column(_instant("proved_at", nullable=True))
    op.create_table(
        "totp_factors",
        _text("user_id"),
        sa.Column("data_key", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        _instant("created_at"),
        _instant("confirmed_at", nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("user_id"),
    )
    op.create_table(
        "recovery_codes",
        _text("user_id"),
        _text("digest"),
        _instant("created_at"),
        _instant("used_at", nullable=True),
        sa.PrimaryKeyConstraint("user_id", "digest"),
    )
    op.create_table(
        "throttles",
        _text("name"),
        sa.Column("failures", sa.Integer(), nullable=False),
        _instant("open_at"),
        _instant("told_until", nullable=True),
        _instant("forgotten_at"),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("ix_throttles_forgotten_at", "throttles", ["forgotten_at"])
    op.create_table(
        "identities",
        _text("issuer"),
        _text("subject"),
        _text("user_id"),
        _instant("created_at"),
        sa.PrimaryKeyConstraint("issuer", "subject"),
    )
    op.create_index("ix_identities_user_id", "identities", ["user_id"])


def downgrade() -> None:
    """Second factors go with their tables:

    who had one signs in without it, and must set it up again after coming back.
    """
    for name in ("identities", "throttles", "recovery_codes", "totp_factors"):
        op.drop_table(name)
    with op.batch_alter_table("sessions") as sessions:
        sessions.drop_column("proved_at")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _instant(name: str, *, nullable: bool = False) -> sa.Column[int]:
    """Milliseconds since 1970 UTC."""
    return sa.Column(name, sa.BigInteger(), nullable=nullable)
